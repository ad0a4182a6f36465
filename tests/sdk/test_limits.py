"""Limits that providers announce: who says so is left alone, by both shards, until its time."""

import json
import time

import pytest

from listening import Listening
from processes import Gateway, fixture_of
from test_breaker import ask, connect

CONFIG = """shards = 2

[providers.a]
dialect = "{dialect}"
base_url = "http://{provider}/a"

[providers.b]
dialect = "openai"
base_url = "http://{provider}/b"

[models.pair]
strategy = "priority"
targets = [{{ provider = "a", model = "one" }}, {{ provider = "b", model = "one" }}]

[models.other]
strategy = "priority"
targets = [{{ provider = "a", model = "two" }}, {{ provider = "b", model = "one" }}]

[models.alone]
targets = [{{ provider = "a", model = "one" }}]
"""

GOOD = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
GOOGLE = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.2s"}


class Provider(Listening):
    """Answers well, but provider `a` with `self.says`: status, fields and body."""

    def __init__(self):
        self.asked, self.says, self.is_chunked = [], (200, {}, GOOD), False
        super().__init__()

    def _answer(self, handler):
        handler.rfile.read(int(handler.headers["content-length"]))
        at = handler.path.split("/")[1]
        self.asked.append(at)
        status, fields, body = self.says if at == "a" else (200, {}, GOOD)
        body = json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"content-type": "application/json", **fields}.items():
            handler.send_header(name, value)
        if self.is_chunked:
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            handler.wfile.flush()
            handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)


provider = fixture_of(Provider)


@pytest.fixture
def gateway(request, provider, tmp_path):
    dialect = getattr(request, "param", "openai")
    running = Gateway(tmp_path, CONFIG.format(provider=provider.address, dialect=dialect))
    yield running
    assert running.total("panics_total") == 0 and running.total("exchanges_open") == 0
    running.stop()


def cooling(gateway, target="a/one") -> list[float]:
    """For how many milliseconds more each shard leaves it alone, as far as it says."""
    shards = gateway.status()["shards"]
    of = [[t["own"]["cooling_ms"] for t in shard["targets"] if t["target"] == target] for shard in shards]
    return [found[0] if found else 0 for found in of]


@pytest.mark.parametrize(
    "fields",
    [
        {"retry-after": "1"},
        {"retry-after-ms": "1200"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.2s"},
        {},
    ],
)
def test_a_refusal_is_repeated_only_after_its_time(gateway, provider, fields):
    """Goal: after one 429 nobody asks that target, on any connection, hence any shard, until its time; then
    it is asked again, and its breaker never opened."""
    provider.says = (429, fields, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
    answer = ask(connect(gateway), "pair")
    assert (answer.status, answer.headers["x-shardgate-attempts"]) == (200, "2")
    began = time.monotonic()
    time.sleep(0.1)
    for _ in range(8):
        answer = ask(connect(gateway), "pair")
        assert (answer.status, answer.headers["x-shardgate-attempts"]) == (200, "1")
    assert provider.asked.count("a") == 1
    assert 'shardgate_target_cooling_seconds{target="a/one"} 0.' in gateway.get_admin("/metrics")
    provider.says = (200, {}, GOOD)
    while ask(connect(gateway), "pair").headers["x-shardgate-target"] != "a":
        assert time.monotonic() - began < 3
        time.sleep(0.02)
    assert time.monotonic() - began > 0.8
    assert 'shardgate_breaker_trips_total{target="a/one"} 0' in gateway.get_admin("/metrics")


@pytest.mark.parametrize("gateway", ["gemini"], indirect=True)
def test_googles_words_are_heeded(gateway, provider):
    error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [GOOGLE]}
    provider.says = (429, {}, {"error": error})
    assert ask(connect(gateway), "pair").headers["x-shardgate-attempts"] == "2"
    assert 900 < max(cooling(gateway)) <= 1200


def test_what_is_spent_is_not_asked_for(gateway, provider):
    """Goal: an answer that says that it was the last one steers the next one away, before it is refused."""
    fields = {"anthropic-ratelimit-requests-remaining": "0"}
    fields["anthropic-ratelimit-requests-reset"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30))
    provider.says = (200, fields, GOOD)
    assert ask(connect(gateway), "pair").headers["x-shardgate-target"] == "a"
    time.sleep(0.1)
    for _ in range(6):
        assert ask(connect(gateway), "pair").headers["x-shardgate-target"] == "b"
    assert 25_000 < max(cooling(gateway)) <= 30_000


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_spent_quota_is_not_retried_with_the_same_key(gateway, provider, is_chunked):
    """Goal: all targets of that key are left alone, those of other models too."""
    provider.is_chunked = is_chunked
    provider.says = (429, {}, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}})
    assert ask(connect(gateway), "pair").headers["x-shardgate-attempts"] == "2"
    time.sleep(0.1)
    for model in ("pair", "other", "pair", "other"):
        assert ask(connect(gateway), model).headers["x-shardgate-target"] == "b"
    assert provider.asked.count("a") == 1
    assert 50_000 < max(cooling(gateway, "a/two")) <= 60_000


def test_the_only_target_is_asked_all_the_same(gateway, provider):
    """Goal: the client sees the provider's own refusal, whole, with the time to wait."""
    said = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    provider.says = (429, {"retry-after": "7"}, said)
    for count in range(1, 4):
        answer = ask(connect(gateway), "alone")
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")
        assert json.loads(answer.body) == said
        assert provider.asked.count("a") == count


def test_a_refused_key_is_left_alone(gateway, provider):
    """Goal: with 401 all targets of that key are passed over for a while, with 403 only the one."""
    provider.says = (403, {}, {"error": {"message": "not for you", "code": "permission"}})
    assert ask(connect(gateway), "pair").headers["x-shardgate-attempts"] == "2"
    time.sleep(0.1)
    assert ask(connect(gateway), "pair").headers["x-shardgate-attempts"] == "1"
    provider.says = (401, {}, {"error": {"message": "no such key", "code": "invalid_api_key"}})
    assert ask(connect(gateway), "other").headers["x-shardgate-attempts"] == "2"
    time.sleep(0.1)
    assert ask(connect(gateway), "other").headers["x-shardgate-attempts"] == "1"
    assert provider.asked.count("a") == 2
    assert 8_000 < max(cooling(gateway, "a/two")) <= 10_000
    answer = ask(connect(gateway), "alone")
    assert answer.status == 502 and answer.headers["x-shardgate-code"] == "upstream_refused_key"
