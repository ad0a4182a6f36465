"""Comments on silent streams: `stream.keepalive`."""

import concurrent.futures
import json
import socket
import time

import openai
import pytest
from google import genai

from processes import Gateway, Provider, fixture_of
from sayer import Sayer

MESSAGES = [{"role": "user", "content": "Hello"}]
COMMENT = b": keep-alive\n\n"

CONFIG = """
[breaker]
mode = "off"

[timeouts]
first_token = "5s"
idle = "900ms"

[stream]
keepalive = "200ms"

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[models.quiet]
targets = [{{ provider = "p", model = "sim/ttft-900ms/events-3" }}]
stream = {{ keepalive = "off" }}

[models.slow]
targets = [{{ provider = "p", model = "sim/ttft-900ms/events-3" }}]

[models.gaps]
targets = [{{ provider = "p", model = "sim/rate-2/events-4" }}]

[models.late]
strategy = "priority"
targets = [{{ provider = "p", model = "sim/ttft-5s" }}, {{ provider = "p", model = "sim/events-4" }}]
timeouts = {{ first_token = "500ms" }}

[models.broken]
targets = [{{ provider = "p", model = "sim/delay-600ms/status-400" }}]

[models.dead]
targets = [{{ provider = "p", model = "sim/ttft-5s" }}]
timeouts = {{ first_token = "500ms" }}

[models.stalls]
targets = [{{ provider = "p", model = "sim/events-9/stall-3" }}]
"""


provider = fixture_of(Provider, "module")


@pytest.fixture(scope="module", params=["auto", "poll"])
def gateway(request, provider, tmp_path_factory):
    config = CONFIG.format(provider=provider.address)
    running = Gateway(tmp_path_factory.mktemp("keepalive"), config, sockets=request.param)
    yield running
    assert running.total("panics_total") == 0
    running.stop()


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20) as sdk:
        yield sdk


def raw(gateway, model, version="1.1", after=b"") -> tuple[bytes, bytes]:
    """Head and body, as they came."""
    body = json.dumps({"model": model, "stream": True, "messages": MESSAGES}).encode()
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: g\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((gateway.host, gateway.port), timeout=20) as link:
        link.sendall(head.encode() + body + after)
        came = b""
        while piece := link.recv(65536):
            came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    return head, body


def unchunked(body: bytes) -> bytes:
    """The body without its framing; it must end with the last chunk."""
    data = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            assert body == b"\r\n", body
            return data
        data, body = data + body[:length], body[length + 2 :]


def test_a_slow_first_token_is_preceded_by_the_head_and_comments(gateway):
    """Goal: after 200 ms the head and a comment, then one each 200 ms, then the whole answer,
    whose head is not sent a second time."""
    head, body = raw(gateway, "slow")
    data = unchunked(body)
    assert head.startswith(b"HTTP/1.1 200 ") and b"text/event-stream" in head
    assert b"x-shardgate-model: slow" in head and b"x-shardgate-target" not in head
    assert 3 <= data.count(COMMENT) <= 5, data
    assert data.startswith(COMMENT) and data.endswith(b"data: [DONE]\n\n")
    assert b"HTTP/1.1" not in data
    assert all(part.startswith((b"data: ", b": ")) for part in data.split(b"\n\n") if part)


def test_an_old_client_gets_them_without_chunks(gateway):
    head, body = raw(gateway, "slow", version="1.0")
    assert b"transfer-encoding" not in head and b"connection: close" in head
    assert body.startswith(COMMENT) and body.endswith(b"data: [DONE]\n\n")


def test_googles_sdk_gets_none(gateway):
    """Goal: a stream through Google's SDK, which takes comments for data, is whole after a long silence."""
    options = genai.types.HttpOptions(base_url=f"http://{gateway.address}")
    client = genai.Client(api_key="any", http_options=options)
    chunks = list(client.models.generate_content_stream(model="slow", contents="x"))
    assert "".join(chunk.text or "" for chunk in chunks)


def test_off_for_a_model_is_off(gateway):
    head, body = raw(gateway, "quiet")
    assert COMMENT not in body and b"x-shardgate-target: p" in head


def test_gaps_between_events_are_filled(gateway):
    head, body = raw(gateway, "gaps")
    data = unchunked(body)
    assert b"x-shardgate-target: p" in head or data.startswith(COMMENT)
    assert data.count(COMMENT) >= 4, data
    assert data.endswith(b"data: [DONE]\n\n")


def test_the_sdk_does_not_notice(client):
    for model, events in (("slow", 3), ("gaps", 4)):
        stream = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        words = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
        assert len([word for word in words if word]) == events


def test_a_fallback_stays_possible_after_the_head(gateway, client):
    """Goal: a target that is silent too long is replaced although comments went out."""
    stream = client.chat.completions.create(model="late", messages=MESSAGES, stream=True)
    assert len([c for c in stream if c.choices and c.choices[0].delta.content]) == 4
    _, body = raw(gateway, "late")
    data = unchunked(body)
    assert data.count(COMMENT) == 2 and data.count(b'"role"') == 1, data
    assert data.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("model, says", [("broken", "invalid_value"), ("dead", "upstream_first_token_timeout")])
def test_errors_come_as_an_event_without_end_marker(gateway, client, model, says):
    """Goal: after the head an error can only be an event: the provider's words when it
    refuses, else the gateway's; no [DONE], and the SDK raises."""
    head, body = raw(gateway, model)
    data = unchunked(body)
    assert head.startswith(b"HTTP/1.1 200 ") and b"[DONE]" not in data
    last = data.split(b"\n\n")[-2]
    text = b"\n".join(line.removeprefix(b"data: ") for line in last.split(b"\n"))
    error = json.loads(text)["error"]
    assert says in json.dumps(error), error
    with pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(model=model, messages=MESSAGES, stream=True))
    assert not isinstance(raised.value, openai.APIStatusError)
    gateway.at_rest()
    line = gateway.receipts()[-1]
    assert (line["status"], line["end"]) == (200, "error")


def test_a_stall_after_content_still_ends_with_an_error(gateway):
    """Goal: comments do not put off `idle`."""
    began = time.monotonic()
    _, body = raw(gateway, "stalls")
    data = unchunked(body)
    assert time.monotonic() - began < 5
    assert data.count(COMMENT) >= 3 and b"upstream_idle_timeout" in data and b"[DONE]" not in data


def test_a_client_that_leaves_in_the_silence_takes_the_provider_along(gateway, provider):
    before = provider.at_rest()["cancelled"]
    body = json.dumps({"model": "slow", "stream": True, "messages": MESSAGES}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((gateway.host, gateway.port), timeout=20) as link:
        link.sendall(head.encode() + body)
        assert link.recv(65536).startswith(b"HTTP/1.1 200 ")
    provider.wait_until(lambda stats: stats["cancelled"] == before + 1)
    gateway.at_rest()
    assert gateway.receipts()[-1]["end"] == "cancelled"


SAID = """
[cache]
mode = "exact"

[stream]
keepalive = "200ms"

[providers.g]
dialect = "gemini"
base_url = "http://{provider}"
api_key = {{ env = "KEY" }}

[providers.o]
dialect = "openai"
base_url = "http://{provider}/v1"

[models.nothing]
targets = [{{ provider = "g", model = "late-nothing" }}]

[models.likely]
targets = [{{ provider = "o", model = "late-likely" }}]
"""
# All of its tokens went into thoughts.
NOTHING = b'data: {"candidates":[{"index":0,"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":3}}\n\n'
LIKELY = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a"},
        "logprobs": {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]},
    }],
}


@pytest.fixture
def saying(begin):
    sayer = Sayer({
        "late-nothing": (200, {"content-type": "text/event-stream"}, NOTHING),
        "late-likely": (200, {}, LIKELY),
    })
    yield begin(SAID.format(provider=sayer.address), {"KEY": "k"}), sayer
    sayer.stop()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_translated_stream_may_end_without_a_word(saying, version):
    """Goal: a stream that says only at its end that there is no content is whole, behind a head that went out before
    it, and is one exchange for all who asked the same."""
    gateway, sayer = saying
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: raw(gateway, "nothing", version), range(3)))
    for head, body in answers:
        assert head.count(b"HTTP/1.1 200 ") == 1
        data = unchunked(body) if version == "1.1" else body
        events = [event for event in data.split(b"\n\n") if event and not event.startswith(b":")]
        assert all(event.startswith(b"data: ") for event in events), data
        last = json.loads(events[-2][6:])
        assert events[-1] == b"data: [DONE]" and last["choices"][0]["finish_reason"] == "length"
    assert sayer.asked == ["late-nothing"]


def test_who_followed_and_asks_for_itself_has_one_head(saying):
    """Goal: an answer that cannot be told in the shape of who follows is asked for once more, behind the head that
    went out while it was waited for. Method: an answer with probabilities, which a stream is not made of."""
    gateway, sayer = saying
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20) as sdk:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            first = pool.submit(sdk.chat.completions.create, model="likely", messages=MESSAGES)
            while not sayer.asked:
                time.sleep(0.01)
            head, body = raw(gateway, "likely")
            assert first.result().choices[0].message.content == "a"
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1" not in unchunked(body), body
    assert sayer.asked == ["late-likely"] * 2
