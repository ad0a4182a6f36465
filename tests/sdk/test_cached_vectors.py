"""Embeddings of a model with a cache: the same request gets the stored vectors, of whole answers alone, in its own coding."""

import base64
import concurrent.futures
import json
import struct
import threading
import time

import openai
import pytest

from listening import Listening
from processes import fixture_of
from tenants import KEYS, TENANTS

CONFIG = """shards = {shards}

[cache]
mode = "{mode}"
temperature_max = 0.0

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.cohere]
dialect = "cohere"
base_url = "http://{provider}"
""" + TENANTS


class Vectors(Listening):
    """Embeds: each text becomes its length and how many requests there were. `asked`: their bodies."""

    def __init__(self):
        self.asked: list[dict] = []
        self.does = ""
        self.release = threading.Event()
        super().__init__()

    def stop(self):
        self.release.set()
        super().stop()

    def _answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        self.asked.append(body)
        if self.does == "hold":
            self.release.wait(20)
        texts = body.get("texts") or body["input"]
        texts = [texts] if isinstance(texts, str) or isinstance(texts[0], int) else texts
        numbers = [[len(text) / 4, float(len(self.asked))] for text in texts]
        if self.does == "one too few":
            numbers = numbers[1:]
        if handler.path == "/v2/embed":
            out = {"id": "x", "embeddings": {"float": numbers}, "texts": texts, "response_type": "embeddings_by_type"}
            out["meta"] = {"billed_units": {"input_tokens": 5}}
        else:
            if body.get("encoding_format") == "base64":
                numbers = [base64.b64encode(struct.pack(f"<{len(it)}f", *it)).decode() for it in numbers]
            data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(numbers)]
            usage = {"prompt_tokens": 5, "total_tokens": 5}
            out = {"object": "list", "data": data, "model": body["model"], "usage": usage}
        status = 500 if self.does == "fail" else 200
        if self.does in ("fail", "error in a 200"):
            out = {"error": {"message": "no", "type": "server_error", "code": None}}
        out = json.dumps(out).encode()
        if self.does == "half":
            out = out[:-20]
        fields = f"content-type: application/json\r\ncontent-length: {len(out)}\r\n"
        handler.wfile.write(f"HTTP/1.1 {status} X\r\n{fields}\r\n".encode() + out)


provider = fixture_of(Vectors)


@pytest.fixture
def start(provider, begin):
    def start(mode="exact", shards=1):
        return begin(CONFIG.format(provider=provider.address, mode=mode, shards=shards), KEYS)

    yield start
    provider.release.set()


def embed(gateway, texts, key="KEY_A", model="p/e", headers=None, **more):
    """The vectors, their tokens, and how the cache was used."""
    with openai.OpenAI(base_url=gateway.url, api_key=KEYS[key], max_retries=0, timeout=20) as client:
        raw = client.embeddings.with_raw_response.create(model=model, input=texts, extra_headers=headers or {}, **more)
        got = raw.parse()
    return [one.embedding for one in got.data], got.usage.prompt_tokens, raw.headers.get("x-shardgate-cache")


@pytest.mark.parametrize("mode", ["exact", "semantic"])
@pytest.mark.parametrize("texts", ["one", ["one", "four"], [1, 2, 3], [[1, 2], [3]]])
def test_the_same_texts_are_embedded_once(start, provider, texts, mode):
    """Goal: the official SDK gets the same vectors and tokens again, from memory, whichever coding it asks for; `user` and the
    order of members make no difference, and an embedding has no temperature that a limit could be about."""
    gateway = start(mode)
    first = embed(gateway, texts)
    assert first[1:] == (5, "miss")
    again = embed(gateway, texts)
    assert again == (first[0], 5, "hit") and len(provider.asked) == 1
    assert embed(gateway, texts, user="somebody") == again
    other = embed(gateway, texts, encoding_format="float")
    assert other[2] == "miss" and len(provider.asked) == 2
    assert embed(gateway, texts, encoding_format="float") == (other[0], 5, "hit")
    assert len(provider.asked) == 2


def test_what_changes_vectors_is_another_request(start, provider):
    """Goal: texts, their order and number, length, purpose, model, client key and namespace are what an entry belongs to; a
    request's own wishes are heeded."""
    gateway = start()
    embed(gateway, ["a", "bb"])
    for change in (
        {"texts": ["bb", "a"]},
        {"texts": ["a", "bb "]},
        {"texts": ["a"]},
        {"dimensions": 2},
        {"extra_body": {"input_type": "query"}},
        {"extra_body": {"cache": {"namespace": "n"}}},
        {"model": "p/f"},
        {"key": "KEY_B"},
        {"headers": {"x-shardgate-cache": "no-cache"}},
        {"headers": {"x-shardgate-cache": "no-store"}},
    ):
        asked = len(provider.asked)
        assert embed(gateway, **{"texts": ["a", "bb"], **change})[2] in ("miss", "bypass"), change
        assert len(provider.asked) == asked + 1, change
    assert "cache" not in provider.asked[-1] and embed(gateway, ["a", "bb"])[2] == "hit"


@pytest.mark.parametrize("does", ["fail", "error in a 200", "one too few", "half"])
def test_what_is_no_whole_answer_is_not_stored(start, provider, does):
    """Goal: errors, and answers that lack a vector or their end, are never given again."""
    gateway = start()
    provider.does = does
    for _ in range(2):
        try:
            embed(gateway, ["one", "four"])
        except (openai.APIError, ValueError):
            pass
    assert len(provider.asked) == 2
    provider.does = ""
    assert embed(gateway, ["one", "four"])[2] == "miss"
    assert embed(gateway, ["one", "four"])[2] == "hit"


@pytest.mark.parametrize("model", ["p/e", "cohere/e"])
def test_vectors_of_another_dialect(start, provider, model):
    """Goal: what a provider of another dialect answers is stored in its words, and told again in the client's."""
    gateway = start(shards=2)
    first = embed(gateway, ["one", "four"], model=model)
    assert first[1:] == (5, "miss")
    for _ in range(6):  # either shard
        assert embed(gateway, ["one", "four"], model=model) == (first[0], 5, "hit")
    assert len(provider.asked) == 1


@pytest.mark.parametrize("model", ["p/e", "cohere/e"])
def test_the_same_at_once_is_embedded_once(start, provider, model):
    """Goal: one call for all, and all get its vectors. Method: the provider holds it until all have come."""
    gateway = start()
    provider.does = "hold"
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(embed, gateway, ["one", "four"], model=model) for _ in range(6)]
        until = time.monotonic() + 15
        while gateway.total("exchanges_open") < 6:
            assert time.monotonic() < until
            time.sleep(0.01)
        provider.release.set()
        answers = [answer.result() for answer in answers]
    uses = [use for _, _, use in answers]
    assert uses.count("miss") == 1 and set(uses) <= {"miss", "coalesced", "hit"}  # a hit came after the answer
    assert len(provider.asked) == 1
    assert all(answer[:2] == answers[0][:2] for answer in answers)
