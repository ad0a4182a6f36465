"""Stored answers: the same request again is answered from memory, in any dialect and either shape, and only when that
is right."""

import asyncio
import json
import os
import pathlib
import signal
import time
import urllib.error
import urllib.request

import anthropic
import openai
import pytest

from processes import Provider, fixture_of
from sayer import Sayer
from tenants import KEYS, TENANTS
from test_coalesce import body_of, field, request

CONFIG = """shards = {shards}

[cache]
mode = "exact"
{cache}

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.q]
dialect = "anthropic"
base_url = "http://{provider}"
""" + TENANTS
ASK = [{"role": "user", "content": "Which are the three dimensions?"}]


provider = fixture_of(Provider)


@pytest.fixture
def start(provider, begin):
    def start(cache="", shards=1):
        return begin(CONFIG.format(provider=provider.address, cache=cache, shards=shards), KEYS)

    return start


@pytest.fixture
def gateway(start):
    return start()


def sdk(gateway, key="KEY_A", **more):
    return openai.OpenAI(base_url=gateway.url, api_key=KEYS[key], max_retries=0, timeout=20, **more)


def claude(gateway, key="KEY_A"):
    return anthropic.Anthropic(base_url=f"http://{gateway.address}", api_key=KEYS[key], max_retries=0, timeout=20)


def plain(gateway, model="p/sim/events-5", key="KEY_A", headers=None, **more):
    """The text of a plain answer, and what the cache did for it."""
    with sdk(gateway, key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=ASK, extra_headers=headers or {}, **more
        )
    return raw.parse().choices[0].message.content, raw.headers.get("x-shardgate-cache")


def streamed(gateway, model="p/sim/events-5", key="KEY_A", **more):
    with sdk(gateway, key) as client:
        options = {"include_usage": True}
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=ASK, stream=True, stream_options=options, **more
        )
        chunks = list(raw.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.completion_tokens > 0
    return text, raw.headers.get("x-shardgate-cache")


def said(message) -> str:
    return "".join(block.text for block in message.content)


def test_the_same_again_is_a_hit(gateway, provider):
    """Goal: the provider is asked once; the second answer says that it was stored, and how old it is."""
    first, use = plain(gateway)
    assert use == "miss"
    with sdk(gateway) as client:
        raw = client.chat.completions.with_raw_response.create(model="p/sim/events-5", messages=ASK)
    assert raw.parse().choices[0].message.content == first
    assert raw.headers["x-shardgate-cache"] == "hit"
    assert raw.headers["x-shardgate-attempts"] == "0"
    assert 0 <= int(raw.headers["age"]) < 60
    assert raw.parse().usage.completion_tokens > 0
    assert provider.at_rest()["requests"] == 1


def test_either_shape_and_either_dialect(gateway, provider):
    """Goal: a stored stream is answered whole and a stored answer streamed, to both SDKs, with equal content and
    usage."""
    for model in ("p/sim/events-7", "q/sim/events-8"):
        before = provider.at_rest()["requests"]
        text, use = streamed(gateway, model, max_tokens=100) if model[0] == "p" else plain(gateway, model, max_tokens=100)
        assert use == "miss" and text
        assert plain(gateway, model, max_tokens=100) == (text, "hit")
        assert streamed(gateway, model, max_tokens=100) == (text, "hit")
        with claude(gateway) as client:
            raw = client.messages.with_raw_response.create(model=model, max_tokens=100, messages=ASK)
            assert said(raw.parse()) == text and raw.headers["x-shardgate-cache"] == "hit"
            assert raw.parse().usage.output_tokens > 0
            with client.messages.stream(model=model, max_tokens=100, messages=ASK) as stream:
                assert said(stream.get_final_message()) == text
                assert stream.response.headers["x-shardgate-cache"] == "hit"
        assert provider.at_rest()["requests"] == before + 1


def test_another_tenant_gets_nothing(gateway, provider):
    """Goal: what team A was told is not told to team B."""
    assert plain(gateway)[1] == "miss"
    assert plain(gateway, key="KEY_B")[1] == "miss"
    assert plain(gateway, key="KEY_B")[1] == "hit"
    assert provider.at_rest()["requests"] == 2


def test_a_shared_scope_has_to_be_asked_for(start, provider):
    """Goal: with scope = "shared" all keys share entries."""
    gateway = start('scope = "shared"')
    assert plain(gateway)[1] == "miss"
    assert plain(gateway, key="KEY_B")[1] == "hit"


def test_what_a_request_may_decline(gateway, provider):
    """Goal: no-cache asks anew and stores; no-store does neither; only-if-cached asks nobody."""
    assert plain(gateway, headers={"x-shardgate-cache": "no-store"})[1] == "miss"
    with pytest.raises(openai.InternalServerError) as refused:
        plain(gateway, headers={"cache-control": "only-if-cached"})
    assert refused.value.status_code == 504 and refused.value.code == "not_cached"
    assert plain(gateway)[1] == "miss"
    assert plain(gateway, headers={"cache-control": "no-cache"})[1] == "miss"
    assert plain(gateway, headers={"x-shardgate-cache": "only-if-cached"})[1] == "hit"
    assert plain(gateway, extra_body={"cache": {"no-cache": True}})[1] == "miss"
    assert plain(gateway)[1] == "hit"
    with pytest.raises(openai.BadRequestError) as refused:
        plain(gateway, headers={"x-shardgate-cache": "ttl=soon"})
    assert "x-shardgate-cache" in str(refused.value)
    assert provider.at_rest()["requests"] == 4


def test_an_entry_ends(start, provider):
    """Goal: a request may shorten the life of what it stores."""
    gateway = start()
    assert plain(gateway, headers={"x-shardgate-cache": "ttl=1s"})[1] == "miss"
    assert plain(gateway)[1] == "hit"
    time.sleep(1.3)
    assert plain(gateway)[1] == "miss"


@pytest.mark.parametrize(
    "model",
    ["p/sim/status-500", "p/sim/status-400", "p/sim/status-429", "p/sim/events-4/cut-2", "p/sim/events-4/finish-content_filter"],
)
def test_what_is_never_stored(gateway, provider, model):
    """Goal: errors, cut streams and filtered answers are not replayed."""
    for _ in range(2):
        try:
            assert streamed(gateway, model)[1] == "miss"
        except (openai.APIError, AssertionError):
            pass
    assert provider.at_rest()["requests"] == 2


EMPTY = {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]}
SHORT = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "It"}],
    "stop_reason": "model_context_window_exceeded", "usage": {"input_tokens": 1, "output_tokens": 1},
}


saying = fixture_of(lambda: Sayer({"nothing": (200, {}, EMPTY), "short": (200, {}, SHORT)}))


@pytest.mark.parametrize("model, reason", [("p/nothing", "empty"), ("q/short", "unfinished")])
def test_what_is_no_whole_answer_is_never_stored(begin, saying, model, reason):
    """Goal: an answer without a word, or one that ended at the context's limit, is not replayed, though it ended well
    and the request limits it."""
    gateway = begin(CONFIG.format(provider=saying.address, cache="", shards=1), KEYS)
    assert [plain(gateway, model, max_tokens=500)[1] for _ in range(2)] == ["miss"] * 2
    assert len(saying.asked) == 2
    assert f'shardgate_cache_refused_total{{reason="{reason}"}} 2' in gateway.get_admin("/metrics")


def test_another_question_is_another_answer(gateway, provider):
    """Goal: anything that changes the answer changes the key."""
    plain(gateway)
    for more in ({"temperature": 0.5}, {"max_tokens": 7}, {"seed": 1}, {"top_p": 0.5}, {"stop": ["x"]}, {"logit_bias": {"5": 1}}):
        assert plain(gateway, **more)[1] == "miss", more
        assert plain(gateway, **more)[1] == "hit", more


def test_every_shard_has_what_one_stored(start, provider):
    """Goal: an entry is on all shards at once. Method: connections until both shards have answered."""
    gateway = start(shards=2)
    assert plain(gateway)[1] == "miss"
    time.sleep(0.1)
    assert {plain(gateway)[1] for _ in range(16)} == {"hit"}
    assert provider.at_rest()["requests"] == 1


def test_what_is_purged_is_asked_for_anew(start, provider):
    """Goal: everything, a model's, a client's, one key's; and nothing else."""
    gateway = start(shards=2)
    other = "p/sim/events-6"
    for query, goes, stays in (
        ("", [("p/sim/events-5", "KEY_A"), (other, "KEY_B")], []),
        ("?client=team-b", [(other, "KEY_B")], [("p/sim/events-5", "KEY_A")]),
    ):
        for model, key in goes + stays:
            plain(gateway, model, key)
            assert plain(gateway, model, key)[1] in ("hit", "coalesced")
        time.sleep(0.3)
        assert gateway.purge(query) > 0
        assert [plain(gateway, *one)[1] for one in stays] == ["hit"] * len(stays)
        assert [plain(gateway, *one)[1] for one in goes] == ["miss"] * len(goes)
    with sdk(gateway) as client:
        raw = client.chat.completions.with_raw_response.create(model="p/sim/events-5", messages=ASK)
    time.sleep(0.3)
    gateway.purge("?key=" + raw.headers["x-shardgate-cache-key"])
    assert plain(gateway)[1] == "miss"
    with pytest.raises(urllib.error.HTTPError) as refused:
        gateway.purge("?everything")
    assert refused.value.code == 400


def memory(gateway) -> int:
    lines = pathlib.Path(f"/proc/{gateway.child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) << 10


def test_memory_stays_within_its_limit(start, provider):
    """Goal: stored answers take no more than `memory_max`, however many come. Method: distinct questions for some
    seconds (CHURN_SECONDS), several times as much as there is room for; what is counted, and what the process holds."""
    most = 4 << 20
    gateway = start('memory_max = "4MiB"', shards=2)
    counted = []

    async def asker(name, until):
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        number = 0
        while time.monotonic() < until:
            number += 1
            auth = f"Authorization: Bearer {KEYS['KEY_A']}\r\n"
            sent = request(gateway, "p/sim/events-60", False, text=f"{name} {number}", extra=auth)
            writer.write(sent.replace(b"Connection: close\r\n", b""))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(field(head, "content-length")))
        writer.close()
        return number

    async def run(seconds):
        until = time.monotonic() + seconds
        asking = [asyncio.create_task(asker(name, until)) for name in range(8)]
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            status = await asyncio.to_thread(gateway.status)
            counted.append(sum(shard["cache"]["bytes"] for shard in status["shards"]))
        return sum([await one for one in asking])

    asyncio.run(run(1))
    before = memory(gateway)
    total = asyncio.run(run(float(os.environ.get("CHURN_SECONDS", "8"))))
    print(f"{total} answers, {max(counted)} bytes counted, {memory(gateway) - before} more held")
    assert total > 2000 and max(counted) > most / 4
    assert max(counted) <= most
    assert memory(gateway) - before < most * 1.05 + (8 << 20)


def test_off_means_off(start, provider, tmp_path):
    """Goal: without a mode nothing is stored, and no header speaks of it."""
    gateway = start()
    config = gateway.config_path.read_text().replace('mode = "exact"', 'mode = "off"')
    gateway.config_path.write_text(config)
    gateway.child.send_signal(signal.SIGHUP)
    until = time.monotonic() + 5
    while plain(gateway)[1] is not None:
        assert time.monotonic() < until
    before = provider.at_rest()["requests"]
    assert plain(gateway)[1] is None
    assert provider.at_rest()["requests"] == before + 1
