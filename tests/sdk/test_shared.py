"""Boxes that share stored answers over a real Valkey or Redis: what one stored the others give; what happens to the
server costs hits and nothing else; what one purged is given by none."""

import itertools
import json
import threading
import time
import urllib.error
import urllib.request

import pytest

from processes import PATIENCE, Gateway, Provider
from redis_server import RedisServer
from test_cache import ASK, CONFIG, KEYS, claude, plain, said, sdk, streamed
from test_remote import is_up, wait_until

REMOTE = """
[cache.remote]
url = "redis://127.0.0.1:{port}/0"
deadline = "250ms"

[[keys]]
"""
FRESH = itertools.count(1)


@pytest.fixture
def provider():
    running = Provider()
    yield running
    running.stop()


@pytest.fixture
def server(tmp_path):
    running = RedisServer(tmp_path)
    yield running
    running.resume()
    running.kill()


class Boxes(list):
    """Gateways with one configuration, connected to the server."""

    def __init__(self, provider, server, folder, sockets):
        self.config = CONFIG.replace("[[keys]]\n", REMOTE.format(port=server.port), 1)
        self.provider, self.server, self.folder, self.sockets = provider, server, folder, sockets

    def start(self, shards=1) -> Gateway:
        folder = self.folder / f"box-{next(FRESH)}"
        folder.mkdir()
        config = self.config.format(provider=self.provider.address, cache="", shards=shards)
        self.append(Gateway(folder, config, KEYS, sockets=self.sockets))
        return self[-1]

    def stop(self, gateway) -> None:
        gateway.at_rest()
        assert gateway.total("panics_total") == 0
        gateway.stop()
        self.remove(gateway)

    def settle(self, *gateways) -> None:
        """Waits until what each stores is put on the server: connected, and aware of what was purged."""
        for gateway in gateways or self:
            wait_until(gateway, is_up)
            until = time.monotonic() + PATIENCE
            while not self.has(key_of(gateway, next(FRESH)), within=0.3):
                assert time.monotonic() < until, gateway.status()

    def has(self, key: str, within=PATIENCE) -> bool:
        """Whether the server gets the entry."""
        until = time.monotonic() + within
        while self.server.ask("EXISTS", f"shardgate:v1:e{key}") != b":1\r\n":
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


@pytest.fixture
def boxes(provider, server, tmp_path, sockets):
    running = Boxes(provider, server, tmp_path, sockets)
    yield running
    server.resume()
    for gateway in list(running):
        running.stop(gateway)


def asked(gateway, seed, model="p/sim/events-5"):
    with sdk(gateway) as client:
        return client.chat.completions.with_raw_response.create(model=model, messages=ASK, seed=seed)


def key_of(gateway, seed, model="p/sim/events-5") -> str:
    return asked(gateway, seed, model).headers["x-shardgate-cache-key"]


def use_of(gateway, seed, model="p/sim/events-5") -> str:
    return asked(gateway, seed, model).headers["x-shardgate-cache"]


def looks(gateway) -> dict:
    """How often the shared tier was asked, by what came of it."""
    start = 'shardgate_cache_requests_total{tier="remote",result="'
    lines = [line for line in gateway.get_admin("/metrics").splitlines() if line.startswith(start)]
    return {line[len(start):].split('"')[0]: int(line.rsplit(" ", 1)[1]) for line in lines}


def test_what_one_box_stored_the_other_gives(boxes, provider):
    """Goal: an answer, plain or a stream, of a provider of either dialect, that one box stored is a hit on another
    the first time that it is asked for there, in either shape and dialect, as old as it is; then it is there."""
    one, other = boxes.start(), boxes.start(shards=2)
    boxes.settle()
    asks = {
        "stream": lambda gateway, model: streamed(gateway, model, max_tokens=100),
        "plain": lambda gateway, model: plain(gateway, model, max_tokens=100),
    }
    for number, (model, first, second) in enumerate(itertools.product("pq", asks, asks)):
        model = f"{model}/sim/events-{20 + number}"
        before, met = provider.at_rest()["requests"], looks(other)["hit"]
        text, use = asks[first](one, model)
        assert use == "miss" and text
        with sdk(one) as client:
            raw = client.chat.completions.with_raw_response.create(model=model, messages=ASK, max_tokens=100)
        assert boxes.has(raw.headers["x-shardgate-cache-key"])
        assert asks[second](other, model) == (text, "hit")
        assert looks(other)["hit"] == met + 1
        with claude(other) as client:
            raw = client.messages.with_raw_response.create(model=model, max_tokens=100, messages=ASK)
            assert said(raw.parse()) == text and raw.headers["x-shardgate-cache"] == "hit"
            with client.messages.stream(model=model, max_tokens=100, messages=ASK) as stream:
                assert said(stream.get_final_message()) == text
                assert stream.response.headers["x-shardgate-cache"] == "hit"
        assert provider.at_rest()["requests"] == before + 1


def test_a_request_says_what_it_takes_of_it(boxes, provider):
    """Goal: age and directives hold for what another box stored: max-age, no-cache, only-if-cached, the key."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    seed = next(FRESH)
    key = key_of(one, seed)
    assert boxes.has(key)
    time.sleep(2.1)

    def use(gateway, directive=None, key="KEY_A"):
        headers = {"x-shardgate-cache": directive} if directive else {}
        return plain(gateway, key=key, headers=headers, seed=seed)[1]

    assert use(other, key="KEY_B") == "miss"
    raw = None
    with sdk(other) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="p/sim/events-5", messages=ASK, seed=seed, extra_headers={"x-shardgate-cache": "only-if-cached"})
    assert raw.headers["x-shardgate-cache"] == "hit" and int(raw.headers["age"]) >= 2
    assert raw.headers["x-shardgate-cache-key"] == key
    third = boxes.start()
    boxes.settle(third)
    before = provider.at_rest()["requests"]
    assert use(third, "max-age=1s") == "miss"
    assert use(third, "no-cache") == "miss"
    assert provider.at_rest()["requests"] == before + 2


def test_a_restart_loses_nothing(boxes, provider):
    """Goal: what the server holds is given by a gateway that begins anew; who waits for the same at once gets it,
    too."""
    first = boxes.start()
    boxes.settle()
    seeds = [next(FRESH) for _ in range(6)]
    assert all(boxes.has(key_of(first, seed)) for seed in seeds)
    boxes.stop(first)
    anew = boxes.start(shards=2)
    boxes.settle()
    before = provider.at_rest()["requests"]
    uses = []
    crowd = [threading.Thread(target=lambda: uses.append(use_of(anew, seeds[0]))) for _ in range(8)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert uses == ["hit"] * 8
    assert [use_of(anew, seed) for seed in seeds] == ["hit"] * 6
    assert provider.at_rest()["requests"] == before
