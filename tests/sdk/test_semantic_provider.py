"""Answers by meaning where a provider's embeddings find the candidates: one call a text, never on an exact hit's way, and
whatever goes wrong with it costs a stored answer at most."""

import concurrent.futures
import hashlib
import http.client
import itertools
import json
import math
import re
import signal
import ssl
import struct
import threading
import time

import pytest

from listening import Listening
from processes import Gateway, Provider, fixture_of
from tenants import KEYS, TENANTS
from test_semantic import FRANCE, REWORDED, Echo, ask, looked, row, use
from tls_files import Authority

CONFIG = """shards = {shards}

[cache]
mode = "semantic"

[cache.semantic]
audit = "off"
embedder = {{ provider = "vectors", model = "small", timeout = "{timeout}" }}

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.vectors]
dialect = "openai"
base_url = "http://{vectors}/deep/v1"
api_key = {{ env = "VECTORS" }}

[breaker]
{breaker}
""" + TENANTS
SECRET = "sk-vectors-0123456789abcdef012345"


def vector(text: str, dims: int) -> list[float]:
    """Texts of the same words have the same one, whatever their case; of other words another."""
    numbers = [0.0] * dims
    for word in re.findall(r"\w+", text.lower()):
        seed = hashlib.sha256(word.encode()).digest()
        for at in range(dims):
            seed = hashlib.sha256(seed).digest() if at % 8 == 0 else seed
            numbers[at] += struct.unpack("<8i", seed)[at % 8] / 2**31
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


class Vectors(Listening):
    """An embeddings endpoint; `asked`: path, key, body and fields of each call. `does`: how it answers, if not well."""

    def __init__(self):
        self.asked: list[dict] = []
        self.does = ""
        self.dims = 384
        self.release = threading.Event()
        super().__init__()

    @property
    def texts(self) -> list[str]:
        return [call["body"]["input"] for call in self.asked]

    def stop(self):
        self.release.set()
        super().stop()

    def _answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        head = {name.lower(): value for name, value in handler.headers.items()}
        self.asked.append({"path": handler.path, "body": body, "head": head})
        numbers = vector(body["input"], self.dims)
        match self.does:
            case "hold":
                self.release.wait(20)
            case "hang up":
                handler.close_connection = True
                return
            case "empty":
                numbers = []
            case "too many":
                numbers = [0.5] * 4097
            case "zeros":
                numbers = [0.0] * 64
            case "base64":
                numbers = "AACAPwAAgD8="
            case "texts":
                numbers = ["one", "two"]
        data = [{"object": "embedding", "index": 0, "embedding": numbers}]
        if self.does == "two":
            data *= 2
        usage = {"prompt_tokens": 9, "total_tokens": 9}
        out = json.dumps({"object": "list", "data": data, "model": "small", "usage": usage})
        out = {"garbage": "<html>oops</html>", "large": json.dumps(out) + " " * 300_000}.get(self.does, out).encode()
        status = {"refuse": 401, "fail": 500}.get(self.does, 200)
        length = len(out) + (10 if self.does == "cut" else 0)
        fields = f"content-type: application/json\r\ncontent-length: {length}\r\n"
        try:
            handler.wfile.write(f"HTTP/1.1 {status} X\r\n{fields}\r\n".encode() + out)
        except OSError:
            pass  # it was told of no more than it takes
        handler.close_connection = self.does in ("cut", "close")


provider = fixture_of(Echo)


vectors = fixture_of(Vectors)


@pytest.fixture
def start(provider, vectors, begin):
    def start(timeout="2s", breaker="consecutive = 100", shards=1, address=None, change=("", "")):
        config = CONFIG.format(
            provider=provider.address,
            vectors=address or vectors.address,
            timeout=timeout,
            breaker=breaker,
            shards=shards,
        ).replace(*change)
        return begin(config, {**KEYS, "VECTORS": SECRET})

    yield start
    vectors.release.set()


def wait_until(is_so) -> None:
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def wanted(gateway) -> dict[str, int]:
    """What requests came to that wanted a vector, but for zeros."""
    rows = re.findall(r'shardgate_cache_vectors_total\{result="(\w+)"\} (\d+)', gateway.get_admin("/metrics"))
    assert len(rows) == 7
    return {result: int(count) for result, count in rows if count != "0"}


def called(gateway) -> dict[str, int]:
    """How calls ended, but for zeros."""
    rows = re.findall(r'shardgate_cache_embedding_calls_total\{result="(\w+)"\} (\d+)', gateway.get_admin("/metrics"))
    assert len(rows) == 5
    return {result: int(count) for result, count in rows if count != "0"}


@pytest.mark.parametrize("dims", [8, 256, 384, 1536, 4096])
def test_a_rewording_is_found_by_a_providers_vectors(start, provider, vectors, dims):
    """Goal: the stored answer for a rewording, with how sure that is; the endpoint is asked once for each of the two, as an
    OpenAI-compatible one is, and with its own key; its tokens are counted apart and are not the client's."""
    gateway = start()
    vectors.dims = dims
    first = ask(gateway, FRANCE, headers={"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"})
    assert use(first) == "miss"
    text, head = ask(gateway, REWORDED)
    assert (text, head["x-shardgate-cache"]) == (first[0], "semantic-hit")
    assert 0.5 < float(head["x-shardgate-cache-similarity"]) <= 1 and head["age"].isdigit()
    assert len(provider.asked) == 1
    assert vectors.texts == [FRANCE, REWORDED]
    call = vectors.asked[0]
    assert call["path"] == "/deep/v1/embeddings"
    assert call["body"] == {"model": "small", "input": FRANCE, "encoding_format": "float"}
    assert call["head"]["authorization"] == f"Bearer {SECRET}"
    assert "traceparent" not in call["head"]
    assert wanted(gateway) == {"asked": 2} and called(gateway) == {"done": 2}
    assert row(gateway, "embedding_tokens_total") == 18
    receipt = gateway.receipt(head["x-request-id"])
    assert receipt["tokens_in"] == 5  # the stored answer's
    assert 'provider_name="vectors"' not in gateway.get_admin("/metrics")


def test_the_verifier_decides_not_the_vectors(start, provider, vectors):
    """Goal: what only looks alike is a miss, also where the endpoint says that all texts are the same."""
    gateway = start()
    vectors.dims = 1
    for text in (FRANCE, "What is the capital of Germany?", "What is not the capital of France?", "Who won in 2023?"):
        assert use(ask(gateway, text)) == "miss"
    assert use(ask(gateway, "Who won in 2024?")) == "miss"
    assert use(ask(gateway, REWORDED)) == "semantic-hit"
    assert len(provider.asked) == 5


def test_a_text_is_asked_for_once(start, provider, vectors):
    """Goal: an exact hit asks nothing; the same text of another key, of another model or in another conversation is known
    already; what may not be compared is not asked for."""
    gateway = start()
    ask(gateway, FRANCE)
    for _ in range(3):
        assert use(ask(gateway, FRANCE)) == "hit"
    assert vectors.texts == [FRANCE]
    assert use(ask(gateway, FRANCE, key="KEY_B")) == "miss"
    assert use(ask(gateway, FRANCE, model="p/other")) == "miss"
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": FRANCE}]
    assert use(ask(gateway, "", messages=talk)) == "miss"
    assert vectors.texts == [FRANCE]
    assert wanted(gateway) == {"asked": 1, "known": 3}
    ask(gateway, "What is the weather in Rome today?")
    ask(gateway, "What is the capital of Spain?", headers={"x-shardgate-cache": "no-store"})
    ask(gateway, "What is the capital of Spain?", temperature=1.5)
    assert vectors.texts == [FRANCE]
    assert use(ask(gateway, REWORDED, key="KEY_B")) == "semantic-hit"
    assert vectors.texts == [FRANCE, REWORDED]


def test_requests_at_once_share_a_call(start, provider, vectors):
    """Goal: many that ask the same at once make one call. Method: the endpoint holds it until all have come."""
    gateway = start()
    vectors.does = "hold"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, gateway, FRANCE) for _ in range(8)]
        wait_until(lambda: gateway.total("exchanges_open") == 8)
        vectors.release.set()
        texts = {answer.result()[0] for answer in answers}
    assert vectors.texts == [FRANCE] and len(texts) == 1 and len(provider.asked) == 1
    ways = wanted(gateway)  # known: it came after the answer
    assert ways.pop("asked") == 1 and sum(ways.values()) == 7 and set(ways) <= {"joined", "known"}


@pytest.mark.parametrize(
    "does, how",
    [
        ("fail", "status"),
        ("refuse", "status"),
        ("garbage", "unreadable"),
        ("base64", "unreadable"),
        ("texts", "unreadable"),
        ("empty", "unreadable"),
        ("zeros", "unreadable"),
        ("two", "unreadable"),
        ("too many", "unreadable"),
        ("large", "unreadable"),
        ("cut", "unreachable"),
        ("hang up", "unreachable"),
    ],
)
def test_what_the_endpoint_does_harms_nobody(start, provider, vectors, does, how):
    """Goal: each fault of the endpoint is a miss that is counted with its reason; the request is answered, exact hits are
    as before, and the endpoint is asked again, with success, once it is well."""
    gateway = start()
    vectors.does = does
    assert use(ask(gateway, FRANCE)) == "miss"
    assert use(ask(gateway, REWORDED)) == "miss"
    assert use(ask(gateway, FRANCE)) == "hit"
    assert wanted(gateway) == {"failed": 2} and called(gateway) == {how: 2}
    assert (looked(gateway, "miss"), looked(gateway, "hit")) == (2, 0)
    vectors.does = ""
    assert use(ask(gateway, "How do I boil an egg?")) == "miss"
    assert use(ask(gateway, "Please, how do I boil an egg? Thanks!")) == "semantic-hit"
    assert called(gateway) == {how: 2, "done": 2}
    assert not [line for line in gateway.receipts() if line.get("level") in ("WARN", "ERROR")]


def test_a_connection_that_was_closed_meanwhile_is_no_fault(start, provider, vectors):
    """Goal: an endpoint that closes after each answer without saying so is asked over a fresh connection."""
    gateway = start()
    vectors.does = "close"
    for at in range(6):
        ask(gateway, f"What is the capital of country {at}?")
    assert called(gateway) == {"done": 6}


def test_a_slow_endpoint_costs_its_timeout_at_most(start, provider, vectors):
    """Goal: requests are answered while the endpoint still holds their texts, and what comes late is known from then on.
    Method: it holds them until all are answered."""
    gateway = start(timeout="50ms")
    vectors.does = "hold"
    assert use(ask(gateway, FRANCE)) == "miss"
    assert use(ask(gateway, FRANCE, key="KEY_B")) == "miss"
    assert use(ask(gateway, FRANCE)) == "hit"
    assert wanted(gateway) == {"late": 2} and vectors.texts == [FRANCE]
    vectors.does = ""
    vectors.release.set()
    wait_until(lambda: called(gateway) == {"late": 1})
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": FRANCE}]
    assert use(ask(gateway, "", messages=talk)) == "miss"
    assert wanted(gateway) == {"late": 2, "known": 1} and vectors.texts == [FRANCE]


@pytest.mark.parametrize("does", ["fail", "hold", "dead"])
def test_a_dead_endpoint_costs_nothing(start, provider, vectors, does):
    """Goal: after some failures in a row nobody asks, or waits, any more. Method: a breaker that opens at three, for longer than the test."""
    gateway = start(
        timeout="50ms",
        breaker='consecutive = 3\nopen = "10m"\nopen_max = "10m"',
        address="127.0.0.1:1" if does == "dead" else None,
    )
    vectors.does = does
    for at in range(8):
        assert use(ask(gateway, f"What is the capital of country {at}?")) == "miss"
    assert len(vectors.texts) == (0 if does == "dead" else 3)
    assert wanted(gateway) == {"late" if does == "hold" else "failed": 3, "breaker": 5}
    assert use(ask(gateway, "What is the capital of country 2?")) == "hit"


def test_an_endpoint_that_is_back_is_asked_again(start, provider, vectors):
    """Goal: the probe closes the breaker, and no request waits for it. Method: the endpoint holds the probe until its
    request was answered."""
    gateway = start(breaker='consecutive = 1\nopen = "1s"\nopen_max = "1s"\nramp = "0s"')
    vectors.does = "fail"
    ask(gateway, "What is the capital of Peru?")
    vectors.does = "hold"
    texts = itertools.count()

    def is_probed():
        assert use(ask(gateway, f"What is the capital of country {next(texts)}?")) == "miss"
        return len(vectors.asked) == 2

    wait_until(is_probed)
    assert use(ask(gateway, vectors.texts[1], key="KEY_B")) == "miss"  # nor who wants the same
    assert set(wanted(gateway)) == {"failed", "breaker"}
    vectors.does = ""
    vectors.release.set()
    wait_until(lambda: called(gateway).get("done") == 1)
    assert use(ask(gateway, FRANCE)) == "miss"
    assert use(ask(gateway, REWORDED)) == "semantic-hit"


def test_the_endpoint_is_reached_as_its_provider_is(start, provider, vectors, tmp_path):
    """Goal: TLS with the provider's own authority, and Azure's path and key. Method: both at once."""
    authority = Authority(tmp_path, "vectors-ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("vectors"))
    vectors.server.socket = context.wrap_socket(vectors.server.socket, server_side=True)
    plain = f'[providers.vectors]\ndialect = "openai"\nbase_url = "http://{vectors.address}/deep/v1"\n'
    azure = plain.replace("openai", "azure").replace("http://127.0.0.1", "https://localhost")
    azure += f'api_version = "2024-10-21"\ntls = {{ ca = "{authority.path}" }}\n'
    gateway = start(change=(plain, azure))
    ask(gateway, FRANCE)
    assert use(ask(gateway, REWORDED)) == "semantic-hit"
    call = vectors.asked[0]
    assert call["path"] == "/deep/v1/openai/deployments/small/embeddings?api-version=2024-10-21"
    assert call["head"]["api-key"] == SECRET and "authorization" not in call["head"]


def test_a_client_that_leaves_takes_nothing_with_it(start, provider, vectors):
    """Goal: who waits for a vector and leaves is no more asked for anything, and the vector is known when it comes."""
    gateway = start()
    vectors.does = "hold"
    body = json.dumps({"model": "p/m", "messages": [{"role": "user", "content": FRANCE}]})
    head = {"authorization": f"Bearer {KEYS['KEY_A']}", "content-type": "application/json"}
    client = http.client.HTTPConnection(gateway.host, gateway.port)
    client.request("POST", "/v1/chat/completions", body, head)
    wait_until(lambda: len(vectors.asked) == 1)
    client.close()
    wait_until(lambda: gateway.total("exchanges_open") == 0)
    vectors.does = ""
    vectors.release.set()
    wait_until(lambda: called(gateway) == {"done": 1})
    assert provider.asked == []
    assert use(ask(gateway, FRANCE)) == "miss"
    assert wanted(gateway) == {"known": 1}


def test_a_reload_changes_the_model(start, provider, vectors):
    """Goal: what was found by the vectors of one model is not found by those of another, and is again by its own."""
    gateway = start()
    ask(gateway, FRANCE)
    before = gateway.config_path.read_text()

    def reload(text):
        epoch = gateway.status()["config"]["epoch"]
        gateway.config_path.write_text(text)
        gateway.child.send_signal(signal.SIGHUP)
        wait_until(lambda: gateway.status()["config"]["epoch"] == epoch + 1)

    reload(before.replace('model = "small"', 'model = "large"'))
    assert use(ask(gateway, REWORDED)) == "miss"
    assert use(ask(gateway, "please: what is the capital of france")) == "semantic-hit"
    reload(before)
    assert use(ask(gateway, "what is the capital of France, please")) == "semantic-hit"
    assert [call["body"]["model"] for call in vectors.asked] == ["small", "large", "large", "small"]
    assert len(provider.asked) == 2


def test_vectors_of_other_lengths_are_never_compared(start, provider, vectors):
    """Goal: an endpoint that begins to give other vectors finds nothing that was stored with the old ones."""
    gateway = start()
    ask(gateway, FRANCE)
    vectors.dims = 385
    assert use(ask(gateway, REWORDED)) == "miss"
    vectors.dims = 384
    assert use(ask(gateway, "please: what is the capital of france")) == "semantic-hit"


def test_the_simulated_provider_embeds(provider, tmp_path, sockets):
    """Goal: `shardgate simulate` serves as the endpoint, on two shards, too."""
    endpoint = Provider()
    config = CONFIG.format(
        provider=provider.address, vectors=endpoint.address, timeout="2s", breaker="consecutive = 100", shards=2
    ).replace('model = "small"', 'model = "sim/by-text/dims-1024"')
    gateway = Gateway(tmp_path, config, {**KEYS, "VECTORS": SECRET}, sockets=sockets)
    try:
        for at in range(20):
            ask(gateway, f"How do I get from Rome to city number {at}?")
        assert use(ask(gateway, FRANCE)) == "miss"
        assert use(ask(gateway, REWORDED)) == "semantic-hit"
        assert use(ask(gateway, "What is the capital of Germany?")) == "miss"
        gateway.at_rest()
    finally:
        gateway.stop()
        endpoint.stop()
