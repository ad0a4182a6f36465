"""Providers that speak a dialect with the URLs and the credentials of a cloud.

    official SDK ─► gateway ─► Replay, which keeps what it heard ─► `shardgate simulate`

The simulator refuses a path, a key or a body that the cloud would refuse; what it was asked is
looked at once more here, signatures by AWS's own signer.
"""

import json

import anthropic
import openai
import pytest
from botocore.credentials import Credentials
from google.genai import errors as genai_errors

from aws_provider import authorization_of
from fronts import FRONTS, Call, Question, Tool, front
from processes import PROVIDER_KEY, Gateway, Provider
from replay import Replay
from test_matrix import words

ID, SECRET = "AKIDFLAVOUR", "flavour/secret+of-aws"
SIGNATURE = "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="  # the simulator's
VERTEX = "/v1/projects/pr/locations/us-east5/publishers"
CONFIG = """
[breaker]
mode = "off"

[providers.gemini-vertex]
dialect = "gemini"
flavour = "vertex"
base_url = "http://{ear}/v1/projects/pr/locations/us-east5/publishers/google"
api_key = {{ env = "PROVIDER_KEY" }}

[providers.claude-vertex]
dialect = "anthropic"
flavour = "vertex"
base_url = "http://{ear}/v1/projects/pr/locations/us-east5/publishers/anthropic"
api_key = {{ env = "PROVIDER_KEY" }}

[providers.azure]
dialect = "responses"
flavour = "azure"
base_url = "http://{ear}"
api_key = {{ env = "PROVIDER_KEY" }}

[providers.azure-whole]
dialect = "responses"
flavour = "azure"
base_url = "http://{ear}/openai/v1"
api_key = {{ env = "PROVIDER_KEY" }}

[providers.claude-bedrock]
dialect = "anthropic"
flavour = "bedrock"
base_url = "http://{ear}"
api_key = {{ env = "PROVIDER_KEY" }}

[providers.claude-signed]
dialect = "anthropic"
flavour = "bedrock"
base_url = "http://{signed_ear}"
aws = {{ region = "eu-west-1", access_key_id = {{ env = "UP_ID" }}, secret_access_key = {{ env = "UP_SECRET" }} }}

[providers.wrong-vertex]
dialect = "anthropic"
flavour = "vertex"
base_url = "http://{ear}/v1/projects/pr/locations/us-east5/publishers/anthropic"
api_key = {{ env = "UP_SECRET" }}

[models.falls]
strategy = "priority"
targets = [
  {{ provider = "claude-bedrock", model = "sim/status-503" }},
  {{ provider = "claude-vertex", model = "sim/status-429" }},
  {{ provider = "gemini-vertex", model = "sim/events-4" }},
]

[models.cut]
strategy = "priority"
targets = [
  {{ provider = "claude-bedrock", model = "sim/error-event-0" }},
  {{ provider = "claude-signed", model = "sim/events-4" }},
]
"""
FLAVOURS = ["gemini-vertex", "claude-vertex", "azure", "azure-whole", "claude-bedrock", "claude-signed"]
WEATHER = Tool("get_weather", "Tells the weather.", {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
})  # fmt: skip


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """The gateway, and what its providers were asked: `ear` with a key, `signed_ear` with signatures."""
    keyed, signed = Provider("--api-key", PROVIDER_KEY), Provider("--api-key", ID)
    ear, signed_ear = Replay([], keyed.address), Replay([], signed.address)
    config = CONFIG.format(ear=ear.address, signed_ear=signed_ear.address)
    keys = {"PROVIDER_KEY": PROVIDER_KEY, "UP_ID": ID, "UP_SECRET": SECRET}
    gateway = Gateway(tmp_path_factory.mktemp("flavours"), config, keys)
    yield gateway, ear, signed_ear
    panics, lines = gateway.total("panics_total"), "\n".join(gateway.lines)
    gateway.stop()
    for running in (ear, signed_ear, keyed, signed):
        running.stop()
    assert panics == 0, lines
    assert PROVIDER_KEY not in lines and SECRET not in lines


def heard(setting, flavour, name):
    """Path, headers and body of the last request for the model `name`."""
    _, ear, signed_ear = setting
    return (signed_ear if flavour == "claude-signed" else ear).last[name]


def path_of(flavour, name, stream) -> str:
    """Where the cloud has the model."""
    name = name.replace("/", "%2F")
    return {
        "gemini-vertex": f"{VERTEX}/google/models/{name}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent"),
        "claude-vertex": f"{VERTEX}/anthropic/models/{name}:" + ("streamRawPredict" if stream else "rawPredict"),
        "azure": "/openai/v1/responses",
        "azure-whole": "/openai/v1/responses",
        "claude-bedrock": f"/model/{name}/" + ("invoke-with-response-stream" if stream else "invoke"),
        "claude-signed": f"/model/{name}/" + ("invoke-with-response-stream" if stream else "invoke"),
    }[flavour]


def check(setting, flavour, name, stream):
    """What the provider was asked is what the cloud wants."""
    path, headers, body = heard(setting, flavour, name)
    assert path == path_of(flavour, name, stream)
    assert "x-api-key" not in headers and "x-goog-api-key" not in headers and "anthropic-version" not in headers
    if flavour == "claude-signed":
        keys = Credentials(ID, SECRET)
        assert headers["authorization"] == authorization_of(keys, "eu-west-1", path, headers, body)
    elif flavour.startswith("azure"):
        assert headers["api-key"] == PROVIDER_KEY and "authorization" not in headers
    else:
        assert headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    said = json.loads(body)
    if flavour == "claude-vertex":
        assert said["anthropic_version"] == "vertex-2023-10-16"
        assert "model" not in said and said.get("stream", False) == stream
    elif flavour in ("claude-bedrock", "claude-signed"):
        assert said["anthropic_version"] == "bedrock-2023-05-31"
        assert "model" not in said and "stream" not in said
        assert headers["accept"] == "application/json"
    elif flavour.startswith("azure"):
        assert said["model"] == name
    else:
        assert "anthropic_version" not in said and "model" not in said
    return said


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", FRONTS)
def test_every_front_reaches_every_flavour(setting, name, flavour, stream):
    """Goal: text, a call and its result, usage, the reason for the end."""
    sdk = front(name, setting[0].address, "any")
    ask = sdk.stream if stream else sdk.plain
    model = "sim/events-7/prompt-tokens-31"
    answer = ask(Question(model=f"{flavour}/{model}", system="Be brief."))
    assert answer.text.strip() == words(7).strip()
    assert answer.stop == "end" and answer.usage[:1] == (31,)
    check(setting, flavour, model, stream)
    model = "sim/tools-1"
    answer = ask(Question(model=f"{flavour}/{model}", tools=[WEATHER]))
    assert answer.stop == "tool" and len(answer.calls) == 1
    (call,) = answer.calls
    assert call.name == "get_weather" and list(call.arguments) == ["city"]
    turns = [("user", "?"), ("calls", [Call(call.id, call.name, call.arguments)]), ("results", [(call, "sunny")])]
    answer = ask(Question(model=f"{flavour}/{model}", tools=[WEATHER], turns=turns))
    assert answer.text.startswith("The result of get_weather is: sunny.")
    check(setting, flavour, model, stream)


@pytest.mark.parametrize("flavour", ["claude-vertex", "claude-bedrock", "claude-signed"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_anthropics_own_client_loses_nothing(setting, flavour, stream):
    """Goal: between two sides of the same dialect all members and events keep their bytes: thinking with
    its signature, betas, members that the gateway does not know."""
    client = anthropic.Anthropic(base_url=f"http://{setting[0].address}", api_key="any", max_retries=0, timeout=20)
    model = "sim/events-5/thinking-3"
    with client.messages.with_streaming_response.create(
        model=f"{flavour}/{model}", max_tokens=4000, stream=stream, thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "é \u2028"}], metadata={"user_id": "u"},
        extra_body={"unknown_member": {"model": [1.50, None]}}, extra_headers={"anthropic-beta": "one-1, two-2"},
    ) as raw:  # fmt: skip
        assert raw.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
        text = raw.read().decode()
    if stream:
        events = [dict(line.split(": ", 1) for line in event.split("\n")) for event in text.strip().split("\n\n")]
        assert [json.loads(event["data"])["type"] for event in events] == [event["event"] for event in events]
        kinds = [event["event"] for event in events]
        assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
        deltas = [json.loads(event["data"]).get("delta", {}) for event in events]
        assert [delta["signature"] for delta in deltas if delta.get("type") == "signature_delta"] == [SIGNATURE]
        assert "".join(delta.get("text", "") for delta in deltas) == words(5)
    else:
        blocks = json.loads(text)["content"]
        assert [block["type"] for block in blocks] == ["thinking", "text"]
        assert blocks[0]["signature"] == SIGNATURE
    said = check(setting, flavour, model, stream)
    assert said["unknown_member"] == {"model": [1.5, None]} and said["messages"][0]["content"] == "é \u2028"
    headers = heard(setting, flavour, model)[1]
    if flavour == "claude-vertex":
        assert headers["anthropic-beta"] == "one-1, two-2" and "anthropic_beta" not in said
    else:
        assert said["anthropic_beta"] == ["one-1", "two-2"] and "anthropic-beta" not in headers


STATUSES = [(400, "bad_request"), (404, "not_found"), (429, "rate_limit"), (503, "server")]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", FRONTS)
def test_an_error_of_the_cloud_is_the_sdks_exception(setting, name, flavour, stream):
    sdk = front(name, setting[0].address, "any")
    for status, kind in STATUSES:
        with pytest.raises(getattr(sdk, kind)):
            (sdk.stream if stream else sdk.plain)(Question(model=f"{flavour}/sim/status-{status}"))


@pytest.mark.parametrize("flavour", ["claude-bedrock", "claude-vertex", "gemini-vertex"])
def test_a_stream_that_breaks_ends_with_an_error(setting, flavour):
    """Goal: the client sees what came before, then an error and no end; the provider's words are told
    where it has some."""
    ask = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 50}
    client = anthropic.Anthropic(base_url=f"http://{setting[0].address}", api_key="any", max_retries=0, timeout=20)
    # What is garbled passes between two sides of Anthropic's dialect that have the same frames.
    for fault in ("error-event-3", "cut-3", *(["malformed-3"] if flavour != "claude-vertex" else [])):
        kinds, got = [], ""
        with pytest.raises(anthropic.APIError) as caught:
            for event in client.messages.create(model=f"{flavour}/sim/events-9/{fault}", stream=True, **ask):
                kinds.append(event.type)
                got += getattr(getattr(event, "delta", None), "text", None) or ""
        assert got == words(3) and "message_stop" not in kinds
        if fault == "error-event-3":
            assert "had an error while processing" in str(caught.value)
    with openai.OpenAI(base_url=setting[0].url, api_key="any", max_retries=0, timeout=20) as chat:
        with pytest.raises(openai.APIError):
            list(chat.chat.completions.create(
                model=f"{flavour}/sim/events-9/cut-3", messages=ask["messages"], stream=True,
            ))  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", FRONTS)
def test_another_target_answers_when_a_cloud_does_not(setting, name, stream):
    """Goal: one request goes to clouds that want different bodies, each in its own form."""
    sdk = front(name, setting[0].address, "any")
    ask = sdk.stream if stream else sdk.plain
    assert ask(Question(model="falls")).text.strip() == words(4).strip()
    for flavour, model in (("claude-bedrock", "sim/status-503"), ("claude-vertex", "sim/status-429"), ("gemini-vertex", "sim/events-4")):
        check(setting, flavour, model, stream)
    assert ask(Question(model="cut")).text.strip() == words(4).strip()


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
def test_a_refused_token_is_the_gateways_own_trouble(setting, name):
    sdk = front(name, setting[0].address, "any")
    with pytest.raises((anthropic.InternalServerError, genai_errors.ServerError)) as caught:
        sdk.plain(Question(model="wrong-vertex/sim/events-3"))
    assert "credentials" in str(caught.value) and SECRET not in str(caught.value)


def test_tokens_for_a_cloud_are_counted_here(setting):
    """Goal: the clouds have no count_tokens under that name; the gateway's estimate is said to be one."""
    client = anthropic.Anthropic(base_url=f"http://{setting[0].address}", api_key="any", max_retries=0, timeout=20)
    for flavour in ("claude-vertex", "claude-bedrock"):
        raw = client.messages.with_raw_response.count_tokens(
            model=f"{flavour}/sim/events-3", messages=[{"role": "user", "content": "Count this, please."}],
        )  # fmt: skip
        assert raw.parse().input_tokens > 0 and raw.headers["x-shardgate-estimated"]
