"""Strategies: which target is asked, through the official SDK and two shards."""

import collections
import concurrent.futures
import json
import time

import openai
import pytest

from processes import Gateway, Provider, fixture_of

CONFIG = """shards = 2

[providers.a]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.b]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.c]
dialect = "openai"
base_url = "http://{provider}/v1"

[models.latency]
strategy = "least_latency"
targets = [{{ provider = "a", model = "sim/ttft-20ms/events-2" }}, {{ provider = "b", model = "sim/ttft-2s/events-2" }}]

[models.tokens]
strategy = "least_tokens"
targets = [{{ provider = "a", model = "sim/ttft-4s" }}, {{ provider = "b", model = "sim/ttft-4s" }}]

[models.conversation]
strategy = "prefix_affinity"
targets = [{{ provider = "a", model = "sim/events-1" }}, {{ provider = "b", model = "sim/events-1" }}, {{ provider = "c", model = "sim/events-1" }}]

[models.price]
strategy = "cheapest"
targets = [{{ provider = "a", model = "sim/events-1" }}, {{ provider = "b", model = "sim/events-1", price = {{ input = 2, output = 8 }} }}, {{ provider = "c", model = "sim/events-1", price = {{ input = 1, output = 2 }} }}]

[models.tiers]
strategy = "priority"
targets = [{{ provider = "a", model = "sim/status-503", tier = 1 }}, {{ provider = "b", model = "sim/events-1", tier = 2, weight = 3 }}, {{ provider = "c", model = "sim/events-1", tier = 2 }}]
"""


provider = fixture_of(Provider, "module")


@pytest.fixture(scope="module", params=["auto", "poll"])
def gateway(request, provider, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), CONFIG.format(provider=provider.address), sockets=request.param)
    yield running
    assert running.total("panics_total") == 0
    running.stop()


def user(text):
    return [{"role": "user", "content": text}]


def ask(gateway, model, messages=None, stream=False, **more) -> str:
    """The provider that answered. A client of its own each time, so that both shards are asked."""
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20) as sdk:
        create = sdk.chat.completions.with_raw_response.create
        answer = create(model=model, messages=messages or user("Hello"), stream=stream, **more)
        parsed = answer.parse()
        if stream:
            assert [chunk for chunk in parsed]
        return answer.headers["x-shardgate-target"]


def ask_many(gateway, count, at_once, **what):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return collections.Counter(pool.map(lambda _: ask(gateway, **what), range(count)))


@pytest.mark.parametrize("stream", [True, False])
def test_the_slow_target_gets_few_requests(gateway, stream):
    """Goal: least_latency, with streams and with plain answers."""
    ask_many(gateway, 12, 4, model="latency", stream=stream)
    counts = ask_many(gateway, 60, 4, model="latency", stream=stream)
    assert counts["b"] <= 8, counts
    lines = gateway.get_admin("/metrics").splitlines()
    name = 'shardgate_target_ttft_seconds{target="%s"} '
    fast, slow = (
        float(next(line for line in lines if line.startswith(name % target)).split()[-1])
        for target in ("a/sim/ttft-20ms/events-2", "b/sim/ttft-2s/events-2")
    )
    assert 0.01 < fast < slow


def tokens_in_flight(gateway) -> float:
    lines = gateway.get_admin("/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("shardgate_tokens_in_flight{"))


def test_a_long_prompt_weighs_what_it_costs(gateway):
    """Goal: least_tokens: while a long prompt is under way at one target, short ones go to the other, whatever
    the shard that they come to."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        long = pool.submit(ask, gateway, "tokens", user("word " * 50_000), True)
        until = time.monotonic() + 10
        while tokens_in_flight(gateway) < 10_000:
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.2)  # the other shard hears of it
        short = [pool.submit(ask, gateway, "tokens", user("word"), True) for _ in range(3)]
        others = {future.result() for future in short}
        assert others == {"a", "b"} - {long.result()}


def test_a_conversation_stays_where_it_is(gateway):
    homes = collections.Counter()
    # A home goes by the provider's address, so by its port here: of 12 conversations one of three
    # got none in every 43rd run, of 40 in every 3,700,000th.
    for number in range(40):
        messages = user(f"Question {number}")
        home = ask(gateway, "conversation", messages)
        for turn in range(3 if number < 12 else 0):
            messages += [{"role": "assistant", "content": f"Answer {turn}"}, *user(f"More {turn}")]
            assert ask(gateway, "conversation", messages) == home
        homes[home] += 1
    assert len(homes) == 3, homes


def test_a_session_stays_where_it_is(gateway):
    homes = set()
    for session in "abcdefghij":
        named = {"x-shardgate-session": session}
        asked = {ask(gateway, "conversation", user(text), extra_headers=named) for text in "xyz"}
        assert len(asked) == 1
        homes |= asked
    assert len(homes) > 1


def test_the_cheapest_is_asked(gateway):
    assert ask_many(gateway, 6, 1, model="price") == {"c": 6}


def test_the_second_tier_shares_what_the_first_cannot_take(gateway):
    """Goal: tiers, and that weights count within one, over both shards."""
    ask_many(gateway, 16, 1, model="tiers")  # the breaker of the first tier opens
    while {t["own"]["breaker"] for s in gateway.status()["shards"] for t in s["targets"] if t["target"] == "a/sim/status-503"} != {"open"}:
        time.sleep(0.01)
    counts = ask_many(gateway, 40, 1, model="tiers")
    assert set(counts) == {"b", "c"} and 27 <= counts["b"] <= 33, counts
    assert json.dumps(gateway.status())
