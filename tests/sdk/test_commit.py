"""The commit rule: nothing of an answer reaches the client before its first content, and what is held until then is
bounded in time and in bytes. Providers that say much and nothing, in each dialect."""

import http.client
import json
import time

import openai
import pytest

from listening import Listening
from processes import Gateway, fixture_of

MODEL = """
[providers.{dialect}]
dialect = "{dialect}"
base_url = "http://{provider}{path}"

[models.{dialect}]
targets = [{{ provider = "{dialect}", model = "bad" }}]
fallbacks = ["good"]

[models.lonely-{dialect}]
targets = [{{ provider = "{dialect}", model = "bad" }}]
"""

CONFIG = """
[breaker]
mode = "off"

[timeouts]
first_token = "600ms"
idle = "5s"

[models.good]
targets = [{ provider = "openai", model = "good" }]
"""

PATHS = {"openai": "/v1", "anthropic": "", "responses": "/v1", "gemini": "", "cohere": ""}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up"}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "up", "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 0}}
RESPONSE = {"id": "r", "object": "response", "created_at": 1, "status": "in_progress", "model": "up", "output": []}


def event(data, name=None) -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(data)}\n\n".encode()


def chunk(delta, end=None):
    return event({**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]})


# What each dialect says before it says anything.
LIFECYCLE = {
    "openai": [chunk({"role": "assistant", "content": ""})],
    "anthropic": [
        event({"type": "message_start", "message": MESSAGE}, "message_start"),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, "content_block_start"),
    ],
    "responses": [
        event({"type": "response.created", "sequence_number": 0, "response": RESPONSE}, "response.created"),
        event({"type": "response.in_progress", "sequence_number": 1, "response": RESPONSE}, "response.in_progress"),
    ],
    "gemini": [event({"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0}]})],
    "cohere": [
        event({"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant", "content": []}}}, "message-start"),
        event({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}, "content-start"),
    ],
}
PING = {"anthropic": event({"type": "ping"}, "ping")}
COMMENT = b": still here\n\n"
GOOD = chunk({"role": "assistant"}) + chunk({"content": "fine"}) + chunk({}, "stop") + b"data: [DONE]\n\n"


class Provider(Listening):
    """Model `good` answers; `bad` begins and then does as `how` says."""

    def __init__(self):
        self.asked, self.how = [], "cut"
        super().__init__()

    def begin(self, how):
        self.asked, self.how = [], how

    def _answer(self, handler):
        handler.rfile.read(int(handler.headers["content-length"]))
        found = handler.path.split("/")[1]
        self.asked.append(found)
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.close_connection = True
        write = handler.wfile.write
        if found == "good":
            return write(GOOD)
        if self.how == "comments first":
            return write(COMMENT * (96 * 1024 // len(COMMENT)) + GOOD)
        if self.how == "comments then cut":
            return write(COMMENT * (96 * 1024 // len(COMMENT)))
        for frame in LIFECYCLE[found]:
            write(frame)
        if self.how == "pings":
            until = time.monotonic() + 20
            while time.monotonic() < until:
                write(PING.get(found, COMMENT))
                handler.wfile.flush()
                time.sleep(0.02)
        return None


provider = fixture_of(Provider, "module")


@pytest.fixture(scope="module", params=["auto", "poll"])
def gateway(request, provider, tmp_path_factory):
    config = CONFIG.replace('provider = "openai"', 'provider = "spare"')
    config += f'\n[providers.spare]\ndialect = "openai"\nbase_url = "http://{provider.address}/good/v1"\n'
    for dialect in PATHS:
        path = f"/{dialect}{PATHS[dialect]}"
        config += MODEL.format(dialect=dialect, provider=provider.address, path=path)
    running = Gateway(tmp_path_factory.mktemp("gateway"), config, sockets=request.param)
    yield running
    running.end()


def ask(gateway, model):
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20) as sdk:
        create = sdk.chat.completions.with_raw_response.create
        answer = create(model=model, messages=[{"role": "user", "content": "Hello"}], stream=True)
        chunks = [chunk.choices[0] for chunk in answer.parse() if chunk.choices]
        return "".join(choice.delta.content or "" for choice in chunks), chunks[-1].finish_reason, answer.headers


def ask_raw(gateway, path, body):
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=20)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


FRONTS = {
    "openai": lambda model: ("/v1/chat/completions", {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]}),
    "anthropic": lambda model: ("/v1/messages", {"model": model, "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
    "responses": lambda model: ("/v1/responses", {"model": model, "stream": True, "input": "x"}),
    "gemini": lambda model: (f"/v1beta/models/{model}:streamGenerateContent?alt=sse", {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
    "cohere": lambda model: ("/v2/chat", {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]}),
}


@pytest.mark.parametrize("how", ["pings", "cut"])
@pytest.mark.parametrize("dialect", PATHS)
def test_a_client_never_sees_what_came_before_content(gateway, provider, dialect, how):
    """Goal: lifecycle frames, pings and comments are no content: after them silence is given up at `first_token`,
    and a cut is another attempt; the official SDK sees one clean answer."""
    provider.begin(how)
    text, end, headers = ask(gateway, dialect)
    assert (text, end) == ("fine", "stop")
    assert (headers["x-shardgate-fallbacks"], provider.asked) == ("good", [dialect, "good"])
    reason = "upstream_first_token_timeout" if how == "pings" else "upstream_cut"
    assert f'shardgate_fallbacks_total{{from="{dialect}",to="good",reason="{reason}"}}' in gateway.get_admin("/metrics")


@pytest.mark.parametrize("how", ["pings", "cut"])
@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("dialect", PATHS)
def test_every_front_and_dialect_holds_what_is_no_content(gateway, provider, dialect, front, how):
    """Goal: the same for every pair, and without a fallback: an error with its status, since nothing went out."""
    provider.begin(how)
    path, body = FRONTS[front](f"lonely-{dialect}")
    status, headers, said = ask_raw(gateway, path, body)
    code = "upstream_first_token_timeout" if how == "pings" else "upstream_cut"
    assert (status, headers["x-shardgate-code"]) == (504 if how == "pings" else 502, code), said
    assert headers["content-type"].startswith("application/json")
    provider.begin(how)
    path, body = FRONTS[front](dialect)
    status, headers, said = ask_raw(gateway, path, body)
    assert (status, headers["x-shardgate-fallbacks"]) == (200, "good")
    assert b"fine" in said and b"upstream_" not in said and b"event: error" not in said


def test_what_is_held_is_bounded_in_bytes(gateway, provider):
    """Goal: comments beyond 64 KiB are the client's; what follows then is an answer, or a cut that is told."""
    provider.begin("comments first")
    text, end, headers = ask(gateway, "openai")
    assert (text, end, provider.asked) == ("fine", "stop", ["openai"])
    provider.begin("comments then cut")
    path, body = FRONTS["openai"]("openai")
    status, headers, said = ask_raw(gateway, path, body)
    assert (status, provider.asked) == (200, ["openai"])
    assert said.count(COMMENT) == 96 * 1024 // len(COMMENT)
    assert b"upstream_cut" in said and b"[DONE]" not in said
