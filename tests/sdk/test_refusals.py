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
# model → (dialect of the provider, what it says)
SAYS = {
    "busy": ("openai", (429, {**LIMITS, "retry-after": "17"}, chat("rate_limit_exceeded", "Too fast."))),
    "bad": ("openai", (400, LIMITS, chat("invalid_value", "The words of the provider."))),
    "late-busy": ("openai", (429, {}, chat("rate_limit_exceeded", "Too fast, \"says\" the provider."))),
    "late-claude": ("anthropic", (529, {}, claude("overloaded_error", "Too fast, \"says\" the provider."))),
    "late-page": ("openai", (502, {"content-type": "text/html"}, b"<html>secret page</html>")),
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
    "gemini": ("/v1beta/models/{}:streamGenerateContent?alt=sse", {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}),
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
    """Goal: in the words of the provider, as an event of the front; a page's words are told to nobody."""
    path, body = STREAMS[name]
    status, text = raw(setting[0], path.format(model), {**body, "model": model} if "{}" not in path else body)
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
        "gemini": lambda: said[0]["error"]["status"],
        "cohere": lambda: said[0].get("type") == "message-end" or "message" in str(said[0]),
    }
    assert kinds[name]()
