"""What became of every attempt: in the access log, the head of the answer, the metrics and the status."""

import time

import openai
import pytest

from listening import Listening
from processes import Gateway, Provider, fixture_of

CONFIG = """shards = 1

[providers.a]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.b]
dialect = "anthropic"
base_url = "http://{provider}"

[models.tried]
strategy = "priority"
targets = [{{ provider = "a", model = "sim/status-503" }}, {{ provider = "a", model = "sim/ttft-20s" }}]
timeouts = {{ first_token = "300ms" }}
fallbacks = ["good"]

[models.good]
targets = [{{ provider = "b", model = "sim/events-2" }}]

[models.limited]
targets = [{{ provider = "a", model = "sim/status-429/retry-after-60s" }}]
fallbacks = ["good"]

[models.choices]
strategy = "priority"
targets = [{{ provider = "a", model = "sim/status-503" }}, {{ provider = "b", model = "sim/events-2" }}]

[models.counted]
targets = [{{ provider = "b", model = "sim/error-event-0/prompt-tokens-17" }}]
fallbacks = ["refused"]

[models.refused]
targets = [{{ provider = "a", model = "sim/status-500" }}]

[models.cut]
targets = [{{ provider = "a", model = "sim/events-9/cut-3" }}]
"""


provider = fixture_of(Provider, "module")


@pytest.fixture(params=["auto", "poll"])
def gateway(request, provider, tmp_path):
    config = CONFIG.format(provider=provider.address)
    running = Gateway(tmp_path, config, sockets=request.param)
    yield running
    assert running.total("panics_total") == 0 and running.total("exchanges_open") == 0
    running.stop()


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20) as sdk:
        yield sdk


def ask(client, model, stream=False, **more):
    """The raw answer, and its events."""
    create = client.chat.completions.with_raw_response.create
    raw = create(model=model, stream=stream, messages=[{"role": "user", "content": "Hello"}], **more)
    parsed = raw.parse()
    return raw, list(parsed) if stream else parsed


def samples(gateway, name) -> set:
    """The lines of a metric that are not 0."""
    lines = gateway.get_admin("/metrics").splitlines()
    return {line.removeprefix(name) for line in lines if line.startswith(name + "{") and not line.endswith(" 0")}


def test_the_log_has_every_attempt_with_its_end_and_its_time(gateway, client):
    """Goal: one line says whom the gateway asked, what came of it and how long each took; head and metrics say
    the same. Method: a refusal, a silence and a fallback of another dialect, then an exchange with one attempt."""
    raw, _ = ask(client, "tried", stream=True)
    fields = ("x-shardgate-model", "x-shardgate-target", "x-shardgate-attempts", "x-shardgate-fallbacks")
    assert [raw.headers.get(field) for field in fields] == ["good", "b", "3", "good"]
    line = gateway.receipt(raw.headers["x-request-id"])
    assert (line["model"], line["target"], line["attempts"], line["end"]) == ("tried", "b", 3, "done")
    tries = line["tries"]
    assert [(one["target"], one["end"], one["why"]) for one in tries] == [
        ("a/sim/status-503", "refused", "503"),
        ("a/sim/ttft-20s", "failed", "upstream_first_token_timeout"),
        ("b/sim/events-2", "done", "-"),
    ]
    assert tries[1]["ms"] >= 295 and tries[0]["ms"] < tries[1]["ms"]
    assert sum(one["ms"] for one in tries) * 1000 <= line["duration_us"]
    assert samples(gateway, "shardgate_attempts_total") == {
        '{target="a/sim/status-503",outcome="refused"} 1',
        '{target="a/sim/ttft-20s",outcome="failed"} 1',
        '{target="b/sim/events-2",outcome="done"} 1',
    }
    assert samples(gateway, "shardgate_fallbacks_total") == {
        '{from="tried",to="good",reason="upstream_first_token_timeout"} 1'
    }

    raw, _ = ask(client, "good")
    assert "x-shardgate-fallbacks" not in raw.headers
    [one] = gateway.receipt(raw.headers["x-request-id"])["tries"]
    assert (one["target"], one["end"], one["why"]) == ("b/sim/events-2", "done", "-") and one["ms"] > 0


def test_a_cut_and_a_client_that_left_are_told_apart(gateway, client):
    create = client.chat.completions.with_raw_response.create
    raw = create(model="cut", stream=True, messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(openai.APIError):
        list(raw.parse())
    [one] = gateway.receipt(raw.headers["x-request-id"])["tries"]
    assert (one["end"], one["why"]) == ("cut", "upstream_cut")
    with client.with_options(timeout=0.2) as hasty, pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(model="a/sim/ttft-20s", messages=[{"role": "user", "content": "Hello"}])
    until = time.monotonic() + 5
    while not (left := [line for line in gateway.receipts() if line["model"] == "a/*"]):
        assert time.monotonic() < until
        time.sleep(0.02)
    [one] = left[0]["tries"]
    assert (one["target"], one["end"], one["why"]) == ("a/*", "cancelled", "-") and left[0]["status"] == 499
    assert one["ms"] >= 150


def test_a_limit_that_was_announced_is_the_reason_for_the_next_fallback(gateway, client):
    """Goal: who was passed over since its provider wants to be left alone did not break."""
    assert ask(client, "limited")[0].headers["x-shardgate-attempts"] == "2"
    raw, _ = ask(client, "limited")
    assert raw.headers["x-shardgate-attempts"] == "1" and raw.headers["x-shardgate-fallbacks"] == "good"
    assert samples(gateway, "shardgate_fallbacks_total") == {
        '{from="limited",to="good",reason="refused"} 1',
        '{from="limited",to="good",reason="cooling"} 1',
    }
    seen = {one["target"]: one["own"] for one in gateway.status()["shards"][0]["targets"]}
    limited = seen["a/sim/status-429/retry-after-60s"]
    assert limited["breaker"] == "closed" and 0 < limited["cooling_ms"] <= 60_000


def test_who_could_not_be_asked_is_not_the_reason_for_a_failure(gateway, client):
    """Goal: the one target that can honour the request failed: that is the provider's fault and not the caller's."""
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, "choices", n=2)
    error = raised.value
    assert (error.status_code, error.code) == (502, "upstream_error")
    headers = error.response.headers
    fields = ("x-shardgate-model", "x-shardgate-target", "x-shardgate-attempts", "x-should-retry")
    assert [headers[field] for field in fields] == ["choices", "a", "1", "false"]
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, "good", n=2)
    assert raised.value.code == "unsupported_field" and "x-shardgate-attempts" not in raised.value.response.headers


def test_tokens_of_an_attempt_that_failed_are_not_the_next_ones(gateway, client):
    """Goal: what one provider reported before it broke is not counted for the one that was asked after it."""
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, "counted", stream=True)
    line = gateway.receipt(raised.value.response.headers["x-request-id"])
    assert (line["attempts"], line["target"], line["tokens_in"]) == (2, "a", 0)
    assert samples(gateway, "gen_ai_client_token_usage_count") == set()


class Hesitant(Listening):
    """Wants each second request to come again after a second."""

    def __init__(self):
        self.count = 0
        super().__init__()

    def _answer(self, handler):
        handler.rfile.read(int(handler.headers["content-length"]))
        self.count += 1
        good = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
        body = b'{"error":{"message":"Busy","type":"server_error"}}' if self.count % 2 else good
        handler.send_response(503 if self.count % 2 else 200)
        for field in (("content-type", "application/json"), ("content-length", str(len(body)))):
            handler.send_header(*field)
        if self.count % 2:
            handler.send_header("retry-after", "1")
        handler.end_headers()
        handler.wfile.write(body)


def test_a_pause_is_no_attempts_time_and_not_the_gateways(tmp_path):
    """Goal: what is waited before a target is asked again is neither the time of an attempt nor overhead."""
    provider = Hesitant()
    config = f'[providers.a]\ndialect = "openai"\nbase_url = "http://{provider.address}/v1"\n'
    gateway = Gateway(tmp_path, config + '[retry]\nwait_max = "3s"\n')
    try:
        with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20) as sdk:
            raw, _ = ask(sdk, "a/m")
        line = gateway.receipt(raw.headers["x-request-id"])
    finally:
        gateway.stop()
        provider.stop()
    assert [(one["target"], one["end"], one["why"]) for one in line["tries"]] == [
        ("a/*", "refused", "503"),
        ("a/*", "done", "-"),
    ]
    assert line["duration_us"] >= 990_000
    assert sum(one["ms"] for one in line["tries"]) < 900
    assert line["overhead_us"] < 900_000 and int(raw.headers["x-shardgate-overhead-us"]) < 900_000
