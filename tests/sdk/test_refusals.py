"""What a client is told of a provider's error, and who is asked next: what the error says decides.

    official SDK ─► gateway ─► Sayer, which gives the error that a model's name stands for
"""

import contextlib
import http.client
import json

import pytest

from fronts import FRONTS, Question, front
from processes import Gateway, Provider
from sayer import Sayer
from test_matrix import header, words


def chat(code, message, kind="invalid_request_error"):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def claude(kind, message):
    return {"type": "error", "error": {"type": kind, "message": message}}


def google(code, status, message, *details):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


LIMITS = {"x-ratelimit-remaining-requests": "7", "openai-version": "2020-10-01", "anthropic-ratelimit-requests-limit": "9"}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "21.5s"}
EVENTS = {"content-type": "text/event-stream"}
# model → (dialect of the provider, what it says)
SAYS = {
    "busy": ("openai", (429, {**LIMITS, "retry-after": "17"}, chat("rate_limit_exceeded", "Too fast."))),
    "bad": ("openai", (400, LIMITS, chat("invalid_value", "The words of the provider."))),
    "late-busy": ("openai", (429, {}, chat("rate_limit_exceeded", "Too fast, \"says\" the provider."))),
    "late-claude": ("anthropic", (529, {}, claude("overloaded_error", "Too fast, \"says\" the provider."))),
    "late-page": ("openai", (502, {"content-type": "text/html"}, b"<html>secret page</html>")),
    # Errors in a 200.
    "in-200-chat": ("openai", (200, {}, chat("rate_limit_exceeded", "Said in a 200."))),
    "in-200-responses": ("responses", (200, {}, chat("rate_limit_exceeded", "Said in a 200."))),
    "in-200-claude": ("anthropic", (200, {}, claude("rate_limit_error", "Said in a 200."))),
    "in-200-gemini": ("gemini", (200, {}, google(429, "RESOURCE_EXHAUSTED", "Said in a 200.", WAIT))),
    "in-200-bad": ("openai", (200, {}, chat("invalid_value", "Said in a 200."))),
    "in-200-long": ("anthropic", (200, {}, claude("invalid_request_error", "prompt is too long: 9 > 8"))),
    "in-200-key": ("openai", (200, {}, chat("invalid_api_key", "Incorrect API key provided: sk-secret."))),
    # The status says one thing, the words another.
    "400-busy": ("anthropic", (400, {}, claude("overloaded_error", "Overloaded"))),
    "400-rate": ("openai", (400, {}, chat("rate_limit_exceeded", "Too fast."))),
    "400-spent": ("anthropic", (400, {}, claude("invalid_request_error", "Your credit balance is too low."))),
    "400-key": ("gemini", (400, {}, google(400, "INVALID_ARGUMENT", "API key not valid. It is sk-secret."))),
    "429-spent": ("openai", (429, {}, chat("insufficient_quota", "You exceeded your current quota.", "insufficient_quota"))),
    "400-long": ("openai", (400, {}, chat("context_length_exceeded", "This model's maximum context length is 9."))),
    "429-long": ("openai", (429, {}, chat("context_length_exceeded", "This model's maximum context length is 9."))),
    "500-long": ("bedrock", (500, {}, {"__type": "ValidationException", "message": "Input is too long for requested model."})),
    "400-bad": ("gemini", (400, {}, google(400, "INVALID_ARGUMENT", "No."))),
    "404": ("openai", (404, {}, chat("model_not_found", "No such model."))),
    # Streams that end well and say nothing: whoever should have, died.
    "empty-chat": ("openai", (200, EVENTS, b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,'
        b'"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\ndata: [DONE]\n\n')),
    "empty-claude": ("anthropic", (200, EVENTS, b'event: message_start\ndata: {"type":"message_start","message":{"id":"m",'
        b'"type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":1,'
        b'"output_tokens":0}}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n')),
    "waits": ("gemini", (429, {}, google(429, "RESOURCE_EXHAUSTED", "Slowly.", WAIT))),
}
CONFIG = """
[breaker]
mode = "off"

[stream]
keepalive = "off"

"""


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A gateway whose models are those of SAYS, each with another target behind it as `x-then`."""
    simulated = Provider()
    sayer = Sayer({name: said for name, (_, said) in SAYS.items()})
    config = CONFIG
    for dialect in ("openai", "anthropic", "gemini", "responses", "cohere", "bedrock"):
        config += f'[providers.{dialect}]\ndialect = "{dialect}"\nbase_url = "http://{sayer.address}"\n'
    config += f'[providers.sim]\ndialect = "openai"\nbase_url = "http://{simulated.address}/v1"\n'
    for name, (dialect, _) in SAYS.items():
        target = f'{{ provider = "{dialect}", model = "{name}" }}'
        config += f'[models."{name}"]\ntargets = [{target}]\n'
        config += 'stream = { keepalive = "200ms" }\n' if "late" in name else ""
        config += f'[models."{name}-then"]\nstrategy = "priority"\n'
        config += f'targets = [{target}, {{ provider = "sim", model = "sim/events-4" }}]\n'
    gateway = Gateway(tmp_path_factory.mktemp("refusals"), config)
    yield gateway, sayer
    panics = gateway.total("panics_total")
    gateway.stop()
    sayer.stop()
    simulated.stop()
    assert panics == 0


@pytest.fixture(params=FRONTS)
def sdk(request, setting):
    return front(request.param, setting[0].address, "any")


@pytest.fixture(params=[False, True], ids=["plain", "stream"])
def ask(request, sdk):
    return sdk.stream if request.param else sdk.plain


def refused(sdk, ask, model):
    """The exception that asking for `model` is."""
    with pytest.raises(sdk.errors) as caught:
        ask(Question(model=model))
    return caught.value


def test_limits_and_versions_are_for_clients_of_the_same_dialect(sdk, ask):
    """Goal: what a provider says of its own limits would mean something else in another API."""
    for model, kind in (("busy", sdk.rate_limit), ("bad", sdk.bad_request)):
        error = refused(sdk, ask, model)
        assert isinstance(error, kind)
        assert [header(error, name) for name in LIMITS] == (list(LIMITS.values()) if sdk.name == "chat" else [None] * 3)
        assert header(error, "retry-after") == ("17" if model == "busy" else None)


STREAMS = {
    "chat": ("/v1/chat/completions", {"stream": True, "messages": [{"role": "user", "content": "?"}]}),
    "responses": ("/v1/responses", {"stream": True, "input": "?"}),
    "anthropic": ("/v1/messages", {"stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}),
    "cohere": ("/v2/chat", {"stream": True, "messages": [{"role": "user", "content": "?"}]}),
}  # fmt: skip


def raw(gateway, path, body) -> tuple:
    """Status and text of an answer."""
    with contextlib.closing(http.client.HTTPConnection(gateway.host, gateway.port, timeout=20)) as connection:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize("model", ["late-busy", "late-claude", "late-page"])
@pytest.mark.parametrize("name", STREAMS)
def test_an_error_behind_an_early_head_is_told_in_the_clients_dialect(setting, name, model):
    """Goal: in the words of the provider, as an event of the front; a page's words are told to nobody.
    (Clients of Gemini get no early head: test_keepalive.)"""
    path, body = STREAMS[name]
    status, text = raw(setting[0], path, {**body, "model": model})
    assert status == 200 and text.startswith(": keep-alive\n\n")
    events = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    said = [json.loads(event) for event in events]
    assert len(said) == (2 if name == "responses" else 1), text
    assert "secret page" not in text
    if model != "late-page":
        assert "Too fast, \\\"says\\\" the provider." in text
    kinds = {
        "chat": lambda: said[0]["error"]["message"],
        "responses": lambda: [one["type"] for one in said] == ["error", "response.failed"],
        "anthropic": lambda: said[0]["type"] == "error",
        "cohere": lambda: said[0].get("type") == "message-end" or "message" in str(said[0]),
    }
    assert kinds[name]()


@pytest.mark.parametrize("model", ["in-200-chat", "in-200-responses", "in-200-claude", "in-200-gemini"])
def test_an_error_in_a_200_is_what_it_says(setting, sdk, model):
    """Goal: status and words of the error, in the front's dialect, not those of a broken provider."""
    error = refused(sdk, sdk.plain, model)
    assert isinstance(error, sdk.rate_limit) and "Said in a 200." in str(error) + str(vars(error))
    if model == "in-200-gemini":
        assert header(error, "retry-after") == "21"
    assert isinstance(refused(sdk, sdk.plain, "in-200-bad"), sdk.bad_request)
    assert isinstance(refused(sdk, sdk.plain, "in-200-long"), sdk.bad_request)
    error = refused(sdk, sdk.plain, "in-200-key")
    assert isinstance(error, sdk.server) and "sk-secret" not in str(error) + str(vars(error))


def test_geminis_clients_read_in_the_body_when_to_come_back(setting):
    """Goal: RetryInfo, from the words of any provider: a header, a body of another dialect, a sentence."""
    for model, want in (("busy", "17s"), ("waits", "21.5s")):
        body = {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}
        status, text = raw(setting[0], f"/v1beta/models/{model}:generateContent", body)
        infos = [one for one in json.loads(text)["error"]["details"] if one["@type"].endswith("RetryInfo")]
        assert (status, [info["retryDelay"] for info in infos]) == (429, [want]), text
    status, text = raw(setting[0], "/v1beta/models/bad:generateContent", body)
    assert status == 400 and "RetryInfo" not in text


def test_anthropics_errors_name_the_request(setting):
    """Goal: `request_id` is that of the header, in bodies and in events: of the gateway's own errors and of
    those that come from other dialects. What passes between equal dialects keeps the provider's."""
    sdk = front("anthropic", setting[0].address, "any")
    for model in ("nobody", "bad", "in-200-claude", "in-200-chat"):
        error = refused(sdk, sdk.plain, model)
        assert error.body["request_id"] == error.request_id == error.response.headers["x-request-id"], model
    path, body = STREAMS["anthropic"]
    _, text = raw(setting[0], path, {**body, "model": "late-busy"})
    assert len(json.loads(text.split("data: ")[1])["request_id"]) == 32


NEXT = ["busy", "400-busy", "400-rate", "400-spent", "400-key", "429-spent", "in-200-chat", "in-200-gemini", "in-200-key"]
NOT_NEXT = ["bad", "400-bad", "404", "400-long", "429-long", "500-long", "in-200-bad", "in-200-long"]


@pytest.mark.parametrize("model", ["empty-chat", "empty-claude"])
def test_a_stream_that_says_nothing_is_no_answer(setting, sdk, model):
    """Goal: an end without a word, and without a reason to end, is a target's failure to clients of every dialect:
    another one is asked, and where there is none they hear of it."""
    assert sdk.stream(Question(model=f"{model}-then")).text
    assert isinstance(refused(sdk, sdk.stream, model), sdk.server)


@pytest.mark.parametrize("model", NEXT)
def test_what_another_target_may_do_better_is_asked_of_it(setting, ask, model):
    """Goal: the words decide, whatever the status."""
    sayer = setting[1]
    before = len(sayer.asked)
    answer = ask(Question(model=f"{model}-then"))
    assert answer.text.strip() == words(4).strip()
    assert sayer.asked[before:] == [model]


@pytest.mark.parametrize("model", NOT_NEXT)
def test_what_every_target_would_refuse_is_told_at_once(setting, sdk, ask, model):
    """Goal: the caller's mistakes, and a prompt that is too long for the model, are not tried again."""
    error = refused(sdk, ask, f"{model}-then")
    if "500" not in model and "429" not in model:
        assert isinstance(error, sdk.not_found if model == "404" else sdk.bad_request)
    assert header(error, "x-shardgate-attempts") == "1"
