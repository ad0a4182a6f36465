"""A stream that is cut at any of its bytes goes on without a seam."""

import concurrent.futures
import json

import openai
import pytest

from listening import Listening
from processes import Gateway

TEXT = 'Once "upon"\n\na 🦊 time, \\ the  quick brown fox é jumped over 漢字 dogs.\n  - and so\n'
PIECE = 7
ASK = [{"role": "user", "content": "Tell."}]

CONFIG = """
[breaker]
mode = "off"

[retry]
budget = "off"

[timeouts]
total = "30s"

[providers.chat]
dialect = "openai"
base_url = "http://{address}/v1"

[providers.claude]
dialect = "anthropic"
base_url = "http://{address}/v1"

[models."*"]
strategy = "priority"
continuation = "prefill"
targets = [{{ provider = "{first}" }}, {{ provider = "{second}" }}, {{ provider = "chat", model = "whole" }}]
"""


def pieces(text: str) -> list[str]:
    """The text as insides of JSON strings; the halves of the fox come apart."""
    raw = []
    for at in range(0, len(text), PIECE):
        inside = json.dumps(text[at : at + PIECE])[1:-1]
        front, fox, back = inside.partition("\\ud83e")
        raw += [front + fox, back] if fox else [inside]
    return [piece for piece in raw if piece]


def chat_stream(text: str) -> bytes:
    def chunk(delta, finish="null"):
        choice = '{"index":0,"delta":{%s},"finish_reason":%s}' % (delta, finish)
        return 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}' % choice

    events = [chunk('"role":"assistant","content":""')]
    events += [chunk('"content":"%s"' % piece) for piece in pieces(text)]
    events += [chunk("", '"stop"'), "data: [DONE]"]
    return "".join(event + "\n\n" for event in events).encode()


def claude_stream(text: str) -> bytes:
    def event(kind, more):
        return 'event: %s\ndata: {"type":"%s",%s}\n\n' % (kind, kind, more)

    usage = '"usage":{"input_tokens":9,"output_tokens":%d}'
    message = '"message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],%s}'
    said = event("message_start", message % (usage % 1))
    said += event("content_block_start", '"index":0,"content_block":{"type":"text","text":""}')
    for piece in pieces(text):
        said += event("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"%s"}' % piece)
    said += event("content_block_stop", '"index":0')
    said += event("message_delta", '"delta":{"stop_reason":"end_turn","stop_sequence":null},' + usage % 30)
    return (said + 'event: message_stop\ndata: {"type":"message_stop"}\n\n').encode()


class Teller(Listening):
    """Tells the text; of the stream of `cut-K` only the first K bytes, unless asked to go on."""

    def _answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        stream = claude_stream if handler.path.endswith("/messages") else chat_stream
        turns = [(turn["role"], text_of(turn["content"])) for turn in body["messages"]]
        begun = [said for role, said in turns[-2:] if role == "assistant"]
        assert all(TEXT.startswith(said) and said == said.rstrip() for said in begun), turns
        rest = TEXT[len(begun[0]) :] if begun else TEXT
        said = stream(rest)
        until = len(said) if begun or body["model"] == "whole" else int(body["model"].removeprefix("cut-"))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(said)}\r\n\r\n"
        handler.wfile.write(head.encode() + said[:until])
        handler.close_connection = until < len(said)


def text_of(content) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


@pytest.fixture(scope="module")
def teller():
    running = Teller()
    yield running
    running.stop()


@pytest.mark.parametrize("first, second", [("chat", "claude"), ("claude", "chat")])
def test_a_stream_may_be_cut_at_every_byte(teller, tmp_path, first, second):
    """Goal: the client hears the whole text, or an error behind a true beginning of it; the latter
    only where the cut leaves half a character, or where the provider has said why it ended."""
    gateway = Gateway(tmp_path, CONFIG.format(address=teller.address, first=first, second=second))
    stream = {"chat": chat_stream, "claude": claude_stream}[first](TEXT)
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=30) as client:

        def hear(cut):
            said = []
            try:
                for chunk in client.chat.completions.create(model=f"cut-{cut}", messages=ASK, stream=True):
                    if chunk.choices:
                        said.append(chunk.choices[0].delta.content or "")
            except openai.APIError as error:
                return cut, "".join(said), str(error)
            return cut, "".join(said), None

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            heard = list(pool.map(hear, range(len(stream) + 1)))
    panics = gateway.total("panics_total")
    gateway.stop()
    assert panics == 0
    failed = []
    for cut, said, error in heard:
        said = said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if error is None:
            assert said == TEXT, (cut, said)
        else:
            failed.append((cut, said, error))
    halves = [cut for cut, said, _ in failed if said.endswith("\ufffd")]
    ends = [cut for cut, said, _ in failed if said == TEXT]
    assert len(halves) + len(ends) == len(failed), failed
    # The half of a character stands in one event, the reason for the end before the last one.
    assert 0 < len(halves) < 200 and 0 < len(ends) < 200
    print(f"{len(heard)} cuts, {len(halves)} within a character, {len(ends)} behind the reason for the end")
