"""`/v1/completions` before models that only chat, and before those that go on from a text.

    openai ─► gateway ─► Ear, which keeps what it heard ─► `shardgate simulate`
"""

import json

import openai
import pytest

from fronts import front
from processes import KEY, Gateway, Provider
from replay import Replay

OTHERS = ("responses", "anthropic", "gemini", "cohere", "bedrock")
CONFIG = """
[breaker]
mode = "off"

[models.told]
targets = [{ provider = "openai", model = "sim/events-3", abilities = { completions = false } }]

[models.can]
targets = [{ provider = "openai", model = "gpt-4.1", abilities = { completions = true } }]

[models.falls]
strategy = "priority"
targets = [
  { provider = "openai", model = "gpt-4o" },
  { provider = "openai", model = "my-llama" },
]
"""


@pytest.fixture(scope="module")
def ear():
    simulated = Provider()
    running = Replay([], forward=simulated.address)
    yield running
    running.stop()
    simulated.stop()


@pytest.fixture(scope="module")
def gateway(ear, tmp_path_factory):
    config = CONFIG
    for name in ("openai", *OTHERS):
        path = "/v1" if name in ("openai", "responses") else ""
        config += f'[providers.{name}]\ndialect = "{name}"\nbase_url = "http://{ear.address}{path}"\n'
    running = Gateway(tmp_path_factory.mktemp("completions"), config)
    yield running
    panics = running.total("panics_total")
    running.stop()
    assert panics == 0


@pytest.fixture(scope="module")
def sdk(gateway):
    return front("chat", gateway.address, KEY).sdk


@pytest.mark.parametrize(
    ("model", "upstream", "chats"),
    (
        ("openai/gpt-4o", "gpt-4o", True),
        ("told", "sim/events-3", True),
        ("openai/my-llama", "my-llama", False),
        ("openai/gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct", False),
        ("can", "gpt-4.1", False),
    ),
)
@pytest.mark.parametrize("stream", (False, True))
def test_models_that_only_chat_are_asked_in_a_chat(sdk, ear, gateway, model, upstream, chats, stream):
    """Goal: the same `text_completion` either way, and the tokens in the log."""
    raw = sdk.completions.with_raw_response.create(
        model=model, prompt="Once", max_tokens=9, stream=stream, stop="\n\n", seed=4
    )
    got = raw.parse()
    chunks = list(got) if stream else [got]
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.text for choice in choices).strip()
    assert choices[-1].finish_reason in ("stop", "length")
    assert [choice.finish_reason for choice in choices[:-1]] == [None] * (len(choices) - 1)
    path, _, body = ear.last[upstream]
    told = json.loads(body)
    assert told["model"] == upstream and bool(told.get("stream")) == stream
    assert told["stop"] in ("\n\n", ["\n\n"]) and told["seed"] == 4
    if chats:
        assert path == "/v1/chat/completions" and "prompt" not in told
        assert told["messages"] == [{"role": "user", "content": "Once"}]
        assert 9 in (told.get("max_tokens"), told.get("max_completion_tokens"))
        assert {chunk.id[:5] for chunk in chunks} == {"cmpl-"}
    else:
        assert path == "/v1/completions" and told["prompt"] == "Once" and told["max_tokens"] == 9
    line = gateway.receipt(raw.headers["x-request-id"])
    assert line["tokens_out"] > 0 and line["end"] == "done" and line["route"] == "completions"


@pytest.mark.parametrize("stream", (False, True))
def test_usage_comes_when_it_was_asked_for(sdk, stream):
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    got = sdk.completions.create(model="told", prompt="Once", max_tokens=9, **more)
    usages = [chunk.usage for chunk in got] if stream else [got.usage]
    assert usages[-1].completion_tokens == 3 and usages[:-1] == [None] * (len(usages) - 1)


@pytest.mark.parametrize("provider", (*OTHERS, "told"))
def test_what_a_chat_cannot_do_is_refused_by_name(sdk, provider):
    model = provider if provider == "told" else f"{provider}/sim/events-3"
    for field, value in (
        ("prompt", ["a", "b"]),
        ("prompt", [1, 2]),
        ("echo", True),
        ("suffix", "end"),
        ("best_of", 2),
        ("n", 2),
        ("logprobs", 1),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.completions.create(**({"model": model, "prompt": "Once", "max_tokens": 9} | {field: value}))
        assert caught.value.param == field and caught.value.code == "unsupported_field"


def test_what_a_chat_cannot_do_goes_to_a_model_that_can(sdk, ear):
    """Goal: the next target gets the client's own bytes; nothing is said to be left out."""
    raw = sdk.completions.with_raw_response.create(model="falls", prompt=["a", "b"], max_tokens=9, seed=4)
    assert "x-shardgate-dropped" not in raw.headers
    path, _, body = ear.last["my-llama"]
    assert path == "/v1/completions" and json.loads(body)["prompt"] == ["a", "b"]


def test_a_refusal_is_the_sdks_own_exception(sdk):
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.completions.create(model="told", prompt="Once", user="sim/status-429", stream=stream)
        assert caught.value.status_code == 429


def test_a_stream_that_breaks_off_does_not_end_like_a_whole_one(sdk):
    with pytest.raises(openai.APIError):
        list(sdk.completions.create(model="told", prompt="Once", user="sim/events-9/cut-4", stream=True))
