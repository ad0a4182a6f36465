"""Boxes that share stored answers over a real Valkey or Redis: what one stored the others give; what happens to the
server costs hits and nothing else; what one purged is given by none."""

import concurrent.futures
import itertools
import json
import threading
import time
import urllib.error
import urllib.request

import openai
import pytest

from processes import PATIENCE, Gateway, Provider, fixture_of
from redis_server import RedisServer
from test_cache import ASK, CONFIG, KEYS, claude, plain, said, sdk, streamed
from test_remote import is_up, wait_until

REMOTE = """
[cache.remote]
url = "redis://127.0.0.1:{port}/0"
deadline = "250ms"

[[keys]]
"""
MODELS = """
[models.five]
targets = [{{ provider = "p", model = "sim/events-5" }}]

[models.six]
targets = [{{ provider = "p", model = "sim/events-6" }}]
"""
FRESH = itertools.count(1)


provider = fixture_of(Provider)


@pytest.fixture
def server(tmp_path):
    running = RedisServer(tmp_path)
    yield running
    running.resume()
    running.kill()


class Boxes(list):
    """Gateways with one configuration, connected to the server."""

    def __init__(self, provider, server, folder, sockets):
        self.config = CONFIG.replace("[[keys]]\n", REMOTE.format(port=server.port), 1) + MODELS
        self.provider, self.server, self.folder, self.sockets = provider, server, folder, sockets

    def start(self, shards=1, cache="") -> Gateway:
        folder = self.folder / f"box-{next(FRESH)}"
        folder.mkdir()
        config = self.config.format(provider=self.provider.address, cache=cache, shards=shards)
        self.append(Gateway(folder, config, KEYS, sockets=self.sockets))
        return self[-1]

    def stop(self, gateway) -> None:
        gateway.end()
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


def is_stored(gateway, seed, model="p/sim/events-5", key="KEY_A") -> bool:
    """Whether the gateway gives a stored answer; if not, nothing is asked for."""
    with sdk(gateway, key) as client:
        try:
            client.chat.completions.create(
                model=model, messages=ASK, seed=seed, extra_headers={"x-shardgate-cache": "only-if-cached"})
        except openai.InternalServerError as refused:
            assert refused.code == "not_cached", refused
            return False
    return True


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


def test_an_answer_is_shared_whoever_hears_its_end(boxes, provider):
    """Goal: an exchange of several clients is stored on the server, too, however many follow and whether the one
    that caused it is still there."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    model = "p/sim/ttft-2s/rate-100/events-30"
    for number in range(3):
        seed = next(FRESH)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: streamed(one, model, seed=seed), range(1 + number)))
        assert len({text for text, _ in answers}) == 1
        assert sorted(use for _, use in answers) == ["coalesced"] * number + ["miss"]
        assert boxes.has(key_of(one, seed, model))
        assert use_of(other, seed, model) == "hit"


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


def purge(gateway, query="") -> tuple:
    """The status and the answer of a purge."""
    request = urllib.request.Request(f"http://{gateway.admin}/api/cache/purge{query}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def wait_for(is_so, what="", within=PATIENCE) -> None:
    until = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.05)


@pytest.mark.parametrize("what", ["all", "model", "client", "key"])
def test_a_purge_is_for_all_boxes(boxes, provider, what):
    """Goal: what was purged on one box is not given there once that is answered, nor fetched from the server; the
    other forgets its copies by itself; what was not purged stays on both; what is stored after it is shared as ever.
    Method: the other box may only look (only-if-cached), so that nothing new is stored."""
    one, other = boxes.start(), boxes.start(shards=2)
    boxes.settle()
    seed = next(FRESH)
    models = ("five", "six")
    keys = [key_of(one, seed, model) for model in models]
    assert all(boxes.has(key) for key in keys)
    assert [use_of(gateway, seed, model) for gateway in boxes for model in models] == ["hit"] * 4

    query = {"all": "", "model": f"?model={models[0]}", "client": "?client=team-a", "key": f"?key={keys[0]}"}[what]
    status, said = purge(one, query)
    assert status == 200 and said["purge"] >= 1
    stays = what in ("model", "key")

    def has(gateway, model) -> bool:
        return is_stored(gateway, seed, model)

    assert not has(one, models[0])
    wait_for(lambda: not has(other, models[0]), "the other box heeds it")
    for _ in range(20):
        assert not has(one, models[0]) and not has(other, models[0])
        assert has(one, models[1]) == has(other, models[1]) == stays
    boxes.stop(one)
    anew = boxes.start()
    boxes.settle()
    assert has(anew, models[1]) == stays and not has(anew, models[0])
    wait_for(lambda: (use_of(other, seed, models[0]), has(anew, models[0]))[1], "it is shared again")


def test_a_copy_belongs_to_who_made_it(boxes):
    """Goal: what one client key's request made and another's fetched, both of one scope, goes with the first one's."""
    one, other = [boxes.start(cache='scope = "shared"') for _ in range(2)]
    boxes.settle()
    seed = next(FRESH)
    assert boxes.has(key_of(one, seed))
    assert plain(other, key="KEY_B", seed=seed)[1] == "hit"
    assert purge(one, "?client=team-a")[0] == 200

    wait_for(lambda: not is_stored(other, seed, key="KEY_B"), "the copy goes, too")


def test_a_purge_that_the_server_did_not_take_is_told(boxes, server, provider):
    """Goal: without a server a purge is done here and answered with 503; when the server is back, empty, no box gives
    what it had from before, as nobody knows what was purged meanwhile."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    seed = next(FRESH)
    assert boxes.has(key_of(one, seed))
    assert use_of(other, seed) == "hit"
    server.kill()
    wait_until(one, lambda tier: tier["connections_up"] == 0)
    status, said = purge(one)
    assert status == 503 and said["purge"] >= 1 and "again" in said["error"]["message"]
    assert use_of(one, seed) == "miss"
    server.start()
    before = provider.at_rest()["requests"]
    boxes.settle()
    wait_for(lambda: use_of(other, seed) != "hit" or provider.at_rest()["requests"] > before, "forgotten there")
    assert purge(one)[0] == 200


class Load:
    """Clients that ask all boxes, half of it again and again, until it ends; what failed."""

    def __init__(self, boxes):
        self.failed, self.asked, self.longest, self.is_over = [], 0, 0.0, False
        self.threads = [threading.Thread(target=self._run, args=(box, at)) for box in boxes for at in range(2)]
        for thread in self.threads:
            thread.start()

    def _run(self, box, at):
        with sdk(box) as client:
            for turn in itertools.count():
                if self.is_over:
                    return
                began = time.monotonic()
                seed = 10_000 + turn % 7 if turn % 2 else 1_000_000 * (at + 1) + turn
                try:
                    answer = client.chat.completions.create(
                        model="p/sim/events-4", messages=ASK, seed=seed, stream=turn % 3 == 0)
                    words = [chunk.choices[0].delta.content for chunk in answer] if turn % 3 == 0 else [
                        answer.choices[0].message.content]
                    assert any(words)
                except Exception as error:  # all of them are the finding
                    self.failed.append(repr(error))
                self.asked += 1
                self.longest = max(self.longest, time.monotonic() - began)

    def more(self, count=40) -> None:
        goal = self.asked + count
        wait_for(lambda: self.asked >= goal, "it goes on")

    def end(self) -> list:
        self.is_over = True
        for thread in self.threads:
            thread.join(PATIENCE)
        return self.failed


def troubles(server) -> list:
    """What may happen to the server, and how it is over."""
    return [
        (server.stall, server.resume),
        (server.kill, server.start),
        (lambda: server.ask("FLUSHALL"), lambda: None),
    ]


def test_trouble_with_the_server_costs_hits_only(boxes, server):
    """Goal: while the server stalls, is killed, comes back empty and is flushed, under load, no request fails and none
    waits for long; afterwards boxes share again by themselves."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()

    def share_again():
        seed = next(FRESH)
        return boxes.has(key_of(one, seed), within=0.3) and use_of(other, seed) == "hit"

    load = Load(boxes)
    try:
        load.more()
        for trouble, mend in troubles(server):
            trouble()
            load.more()
            mend()
            load.more()
            wait_for(share_again, "they share again")
    finally:
        failed = load.end()
    assert failed == []
    assert load.longest < 10, "the deadline is 250 ms"
    assert looks(other)["error"] >= 1 and looks(other)["hit"] >= 3


def test_a_reload_brings_the_server(boxes, server):
    """Goal: a box that gets its server by a reload shares from then on, purges included."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    with_server = other.config_path.read_text()
    start, end = with_server.index("[cache.remote]"), with_server.index("[[keys]]")

    def reload(config):
        other.config_path.write_text(config)
        request = urllib.request.Request(f"http://{other.admin}/api/reload", method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200

    reload(with_server[:start] + with_server[end:])
    seed = next(FRESH)
    assert boxes.has(key_of(one, seed))
    assert use_of(other, seed) == "miss"
    assert purge(other)[0] == 200 and use_of(one, seed) == "hit", "a purge is its own"
    reload(with_server)
    boxes.settle(other)
    assert use_of(other, seed) == "hit", "of the other box"
    assert purge(other)[0] == 200
    before = looks(other)["hit"]
    wait_for(lambda: not is_stored(one, seed), "the other heeds it")
    assert not is_stored(other, seed) and looks(other)["hit"] == before


def test_without_a_server_nothing_waits(boxes, server):
    """Goal: a server that was never there is as none."""
    server.kill()
    one = boxes.start()
    seed = next(FRESH)
    began = time.monotonic()
    assert [use_of(one, seed) for _ in range(3)] == ["miss", "hit", "hit"]
    assert time.monotonic() - began < 10
    server.start()
    boxes.settle()
