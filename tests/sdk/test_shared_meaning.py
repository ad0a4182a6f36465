"""Boxes that share what is found by meaning over a real Valkey or Redis: what one stored the others give to whoever asks for
it in other words; what looks alike, another tenant's, purged or found wrong is given by none; who starts anew learns what
the server has."""

import itertools
import threading
import time
import urllib.request

import pytest

from processes import PATIENCE, Gateway, fixture_of
from tenants import KEYS
from test_semantic import CONFIG, FRANCE, REWORDED, Echo, ask, looked, row, use
from test_semantic_provider import vectors  # noqa: F401  a fixture
from test_shared import FRESH, REMOTE, Boxes, purge, server, troubles, wait_for  # noqa: F401  server is a fixture

NEWS = "shardgate:v1:news"
EGG = "How do I boil an egg?"
EGG_REWORDED = "Please, how do I boil an egg? Thanks!"
ONLY = {"cache-control": "only-if-cached"}


provider = fixture_of(Echo)


class Meaning(Boxes):
    """Gateways that compare by meaning, with one server."""

    def start(self, shards=1, cache="", semantic="", mode="semantic", more="") -> Gateway:
        folder = self.folder / f"box-{next(FRESH)}"
        folder.mkdir()
        config = CONFIG.replace("[[keys]]\n", REMOTE.format(port=self.server.port), 1)
        if "audit" in semantic:
            config = config.replace('audit = "off"\n', "")
        config = config.format(
            provider=self.provider.address, cache=cache, semantic=semantic, shards=shards, mode=mode)
        self.append(Gateway(folder, config + more, KEYS, sockets=self.sockets))
        return self[-1]

    def settle(self, *gateways) -> None:
        """As for any boxes; and each has forgotten what it had from before it knew the server."""
        super().settle(*gateways)
        for gateway in gateways or self:
            assert purge(gateway, f"?key={'00' * 32}")[0] == 200  # waits for that

    def store(self, gateway, text, **more) -> tuple:
        """What a box says to `text`, which is on the server then."""
        until = time.monotonic() + PATIENCE
        while True:
            answered = ask(gateway, text, **more)
            if self.has(answered[1]["x-shardgate-cache-key"], within=0.5):
                return answered
            assert time.monotonic() < until, gateway.status()


@pytest.fixture
def boxes(provider, server, tmp_path, sockets):  # noqa: F811
    running = Meaning(provider, server, tmp_path, sockets)
    yield running
    server.resume()
    for gateway in list(running):
        running.stop(gateway)


def news(gateway, result) -> int:
    return row(gateway, "remote_news_total", result=result)


def stored_for(one, others, boxes, text, again, **more) -> tuple:
    """Stores the answer to `text` on one box, until the others find it by `again`, which is the same in other words."""
    answered = boxes.store(one, text, **more)
    for other in others:
        wait_for(lambda other=other: found(other, again), f"it is learnt, {other.status()['shards']}")
    return answered


def found(gateway, text, **more):
    """What a box has stored that answers `text`; None: nothing. No provider is asked."""
    try:
        return ask(gateway, text, headers=ONLY, **more)
    except Exception as refused:
        assert getattr(refused, "code", None) == "not_cached", refused
        return None


@pytest.mark.parametrize("shards", [1, 2])
def test_what_one_box_stored_the_other_gives_by_meaning(boxes, provider, shards):
    """Goal: a rewording gets, on another box, what the first one stored, with the head of any answer by meaning, in either
    shape; the provider is not asked, nor the server when it is hit. What only looks alike, and whatever differs in more than
    the last text, is asked for."""
    one, other = boxes.start(), boxes.start(shards=shards)
    boxes.settle()
    said, _ = stored_for(one, [other], boxes, FRANCE, REWORDED)
    asked, before = len(provider.asked), looked(other, "hit")
    time.sleep(1.1)
    for stream in (True, False):
        text, head = ask(other, REWORDED, stream=stream)
        assert (text, head["x-shardgate-cache"]) == (said, "semantic-hit")
        assert 0.9 <= float(head["x-shardgate-cache-similarity"]) <= 1 and 1 <= int(head["age"]) < 60
        assert head["x-shardgate-attempts"] == "0"
    assert len(provider.asked) == asked and looked(other, "hit") == before + 2
    assert use(ask(other, FRANCE)) == "hit", "it is here under its own key, too"
    assert row(other, "remote_gets_total", result="hit") == 0

    for alike in ("What is the capital of Germany?", "What is not the capital of France?"):
        assert use(ask(other, alike)) == "miss"
    last = [{"role": "user", "content": REWORDED}]
    for more in ({"key": "KEY_B"}, {"model": "p/n"}, {"seed": 1},
                 {"messages": [{"role": "system", "content": "Answer in German."}, *last]}):
        assert use(ask(other, REWORDED, **more)) == "miss", more
    assert len(provider.asked) == asked + 6

    # And the other way round; what was translated for its client is the provider's own on the way.
    back, _ = stored_for(other, [one], boxes, EGG, EGG_REWORDED, stream=True)
    assert ask(one, EGG_REWORDED)[0] == back and use(ask(one, EGG_REWORDED)) == "semantic-hit"


def test_vectors_of_a_provider_go_over(boxes, provider, vectors):  # noqa: F811
    """Goal: with a provider as embedder the other boxes find what one stored by the vector that it was stored with: none of
    them asks for it again, only for that of the question; and the vectors of another model find none of it."""
    embedder = 'embedder = {{ provider = "vectors", model = "{}", timeout = "2s" }}\n'
    place = f'\n[providers.vectors]\ndialect = "openai"\nbase_url = "http://{vectors.address}/v1"\n'
    one, other = (boxes.start(semantic=embedder.format("small"), more=place) for _ in range(2))
    elsewhere = boxes.start(semantic=embedder.format("large"), more=place)
    boxes.settle()
    said, _ = stored_for(one, [other], boxes, FRANCE, REWORDED)
    wait_for(lambda: news(elsewhere, "learnt") >= 1, "the third one hears of it")
    assert vectors.texts.count(FRANCE) == 1
    text, head = ask(other, REWORDED)
    assert (text, head["x-shardgate-cache"]) == (said, "semantic-hit")
    assert found(elsewhere, REWORDED) is None
    assert vectors.texts.count(FRANCE) == 1


def test_a_shared_scope_is_shared_by_meaning(boxes, provider):
    """Goal: with `scope = "shared"` another client key on another box gets it, too."""
    one, other = [boxes.start(cache='scope = "shared"') for _ in range(2)]
    boxes.settle()
    said, _ = stored_for(one, [other], boxes, FRANCE, REWORDED)
    text, head = ask(other, REWORDED, key="KEY_B")
    assert (text, head["x-shardgate-cache"]) == (said, "semantic-hit")


def test_who_starts_anew_learns_what_there_is(boxes, provider):
    """Goal: with every box gone, one that starts gives by meaning what they stored, as old as it is. Method: it may only look,
    so that nothing new is stored."""
    questions = [FRANCE, EGG, "Who wrote Hamlet?", "Convert 5 km to miles", "Why is the sky blue?"]
    first = boxes.start()
    boxes.settle()
    said = {question: boxes.store(first, question)[0] for question in questions}
    boxes.stop(first)
    anew = boxes.start(shards=2)
    before = len(provider.asked)
    for question, answer in said.items():
        again = f"please, {question.lower()}"
        wait_for(lambda again=again: found(anew, again), f"{question} is learnt")
        text, head = found(anew, again)
        assert (text, head["x-shardgate-cache"]) == (answer, "semantic-hit")
    assert len(provider.asked) == before


def test_an_entry_that_is_fetched_is_found_by_meaning(boxes, provider, server):  # noqa: F811
    """Goal: what a box fetched under its own key is found by meaning from then on, without any announcement."""
    one = boxes.start()
    boxes.settle()
    said, _ = boxes.store(one, FRANCE)
    wait_for(lambda: row(one, "remote_announcements_total", result="done") == row(one, "stored_total"), "all is told")
    server.ask("DEL", NEWS)
    other = boxes.start()
    boxes.settle(other)
    assert found(other, REWORDED) is None
    assert use(ask(other, FRANCE)) == "hit"
    before = len(provider.asked)
    assert found(other, REWORDED)[0] == said
    assert len(provider.asked) == before


@pytest.mark.parametrize("what", ["all", "model", "client", "key"])
def test_what_was_purged_is_found_by_none(boxes, provider, what):
    """Goal: what was purged on one box is not given by meaning there once that is answered, nor on the other as soon as it
    heeds it, nor by one that starts then and reads of it; what is stored after it is shared at once."""
    one, other = boxes.start(), boxes.start(shards=2)
    boxes.settle()
    _, head = stored_for(one, [other], boxes, FRANCE, REWORDED)
    assert use(ask(other, REWORDED)) == "semantic-hit"
    key = head["x-shardgate-cache-key"]
    assert purge(one, {"all": "", "model": "?model=p/*", "client": "?client=team-a", "key": f"?key={key}"}[what])[0] == 200
    assert found(one, REWORDED) is None
    wait_for(lambda: found(other, REWORDED) is None, "the other heeds it")
    anew = boxes.start()
    wait_for(lambda: news(anew, "gone") >= 1, "it reads of it")
    for _ in range(10):
        assert [found(box, REWORDED) for box in boxes] == [None] * 3

    # Stored while the others may not have heeded the purge yet.
    assert purge(one)[0] == 200
    said, head = ask(one, FRANCE)
    assert head["x-shardgate-cache"] == "miss"
    for at, box in enumerate(boxes):
        wait_for(lambda box=box: found(box, REWORDED), f"box {at} has it")
        time.sleep(0.5)
        assert found(box, REWORDED)[0] == said


def test_an_entry_ends_everywhere(boxes, provider):
    """Goal: an entry lives on another box as long as on its own, and no longer."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    stored_for(one, [other], boxes, FRANCE, REWORDED, headers={"x-shardgate-cache": "ttl=4s"})
    assert use(ask(other, REWORDED)) == "semantic-hit"
    wait_for(lambda: found(other, REWORDED) is None, "it is over", within=8)


def test_what_an_audit_found_wrong_is_wrong_everywhere(boxes, provider):
    """Goal: an entry that an audit on one box found wrong is found by meaning on none, nor on one that starts later, by its own
    key where it is in memory; the new answer is."""
    one = boxes.start(semantic='audit = "100%"')
    other = boxes.start(shards=2)
    boxes.settle()
    provider.says = {FRANCE: "It is 1 of them.", REWORDED: "Nobody knows anything about that, sadly: 77."}
    stored_for(one, [other], boxes, FRANCE, REWORDED)
    third = "please tell me, what is the capital of France?"
    assert found(other, third)[0] == provider.says[FRANCE]
    assert use(ask(one, REWORDED)) == "miss"
    wait_for(lambda: row(one, "audits_total", result="other") == 1, "it is compared")
    for box, rows in ((one, 1), (other, 1)):
        wait_for(lambda box=box, rows=rows: row(box, "evictions_total", reason="demoted") == rows, "it hears of it")
    wait_for(lambda: (found(other, third) or [""])[0] == provider.says[REWORDED], "the new one is learnt")
    assert found(other, FRANCE)[0] == provider.says[FRANCE], "by its own key"
    anew = boxes.start()
    boxes.settle(anew)
    wait_for(lambda: found(anew, third), "the new one is learnt there, too")
    assert found(anew, third)[0] == provider.says[REWORDED]
    assert use(found(anew, FRANCE)) == "semantic-hit" and found(anew, FRANCE)[0] == provider.says[REWORDED]


def test_what_goes_over(boxes, provider, server):  # noqa: F811
    """Goal: an announcement has nothing of prompt or answer in it; the stored value has both, in mode "semantic" alone; no log
    has any."""
    one, exact = boxes.start(), boxes.start(mode="exact")
    boxes.settle()
    values = []
    for box, text in ((one, "What is the capital of Ruritania?"), (exact, "Who rules Ruritania?")):
        said, head = boxes.store(box, text)
        values.append(server.ask("GET", f"shardgate:v1:e{head['x-shardgate-cache-key']}"))
        assert b"Ruritania" in values[-1]
    assert [b"\x2b\0\0\0" in value or b"What is the capital of Ruritania?" in value for value in values]
    said = [value.count(b"Ruritania") for value in values]
    assert said == [2, 1], "the answer says it, too"
    told = server.ask("XRANGE", NEWS, "-", "+")
    assert b"\r\nd\r\n" in told
    for word in (b"capital", b"ruritania", b"rules"):
        assert word not in told.lower()
    for box in boxes:
        assert not any("ruritania" in line.lower() for line in box.lines)


def test_announcements_that_are_none(boxes, server):  # noqa: F811
    """Goal: what cannot be read, and entries that are not there, are counted, and what comes behind them is learnt."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    until = "\x7f" * 8

    def tell(number, text):
        server.ask("XADD", NEWS, "*", "o", "7", "n", str(number), "d", text)

    tell(1, "x")
    tell(2, "\1\1" + "k" * 32 + "\0" * 8 + until)
    server.ask("SET", f"shardgate:v1:e{b'w'.hex() * 32}", "no envelope")
    tell(3, "\1\1" + "w" * 32 + "\0" * 8 + until)
    server.ask("LPUSH", f"shardgate:v1:e{b'l'.hex() * 32}", "not even a string")
    tell(4, "\1\1" + "l" * 32 + "\0" * 8 + until)  # the server refuses it each time
    wait_for(lambda: row(other, "remote_events_total", event="missed") >= 1, "it is given up")
    assert (news(other, "bad"), news(other, "gone")) == (2, 1)
    stored_for(one, [other], boxes, FRANCE, REWORDED)
    assert use(ask(other, REWORDED)) == "semantic-hit"


def test_a_box_that_compares_nothing_by_meaning_learns_nothing(boxes, provider):
    """Goal: mode "exact" fetches what it is asked for alone; a reload to "semantic" makes it learn what was announced before."""
    one, other = boxes.start(), boxes.start(mode="exact")
    boxes.settle()
    said, _ = boxes.store(one, FRANCE)
    assert use(ask(other, FRANCE)) == "hit"
    assert found(other, REWORDED) is None
    assert news(other, "learnt") == 0
    other.config_path.write_text(other.config_path.read_text().replace('mode = "exact"', 'mode = "semantic"'))
    request = urllib.request.Request(f"http://{other.admin}/api/reload", method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200
    wait_for(lambda: found(other, REWORDED), "it is learnt")
    assert found(other, REWORDED)[0] == said


def test_what_is_of_no_use_is_not_learnt(boxes, provider):
    """Goal: entries of a model that is not compared by meaning on a box, or not there, or has another target, are not taken in,
    and counted; those of others are."""
    model = '[models.five]\ntargets = [{ provider = "p", model = "five" }]\n'
    one = boxes.start(more=model)
    others = [boxes.start(more=more) for more in (
        model + 'cache = { mode = "exact" }\n', "", model.replace('model = "five"', 'model = "six"'))]
    boxes.settle()
    boxes.store(one, FRANCE, model="five")
    boxes.store(one, EGG)
    for other in others:
        wait_for(lambda other=other: found(other, EGG_REWORDED), "what was told later is learnt")
        assert news(other, "foreign") == 1
    for other in (others[0], others[2]):
        assert use(ask(other, REWORDED, model="five")) == "miss"


def test_what_is_learnt_is_within_memory_max(boxes, provider):
    """Goal: a box with little memory learns what others store within it, and keeps what it is asked for."""
    one, small = boxes.start(), boxes.start(cache='memory_max = "1MiB"')
    boxes.settle()
    ask(small, EGG)
    for _ in range(3):
        assert use(ask(small, EGG_REWORDED)) == "semantic-hit"
    texts = [f"What does the word w{number}x mean?" for number in range(120)]
    provider.says |= {text: f"{text} " + "na " * 8000 for text in texts}
    before = news(small, "learnt")
    for text in texts:
        ask(one, text)
    wait_for(lambda: news(small, "learnt") >= before + 100, "it learns them")
    assert row(small, "bytes") <= 1 << 20
    assert row(small, "evictions_total", reason="evicted") >= 60
    assert use(ask(small, EGG_REWORDED)) == "semantic-hit"
    assert use(ask(one, texts[0].lower().rstrip("?"))) == "semantic-hit"


class Load:
    """Clients that ask all boxes the same questions, each in two ways, until it ends; what failed."""

    def __init__(self, boxes):
        self.failed, self.uses, self.is_over = [], [], False
        self.threads = [threading.Thread(target=self._run, args=(box,)) for box in boxes for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def _run(self, box):
        for turn in itertools.count():
            if self.is_over:
                return
            word = f"q{turn // 2}"
            text = [f"What does {word} mean?", f"please, what does {word} mean"][turn % 2]
            try:
                self.uses.append(use(ask(box, text, stream=turn % 3 == 0)))
            except Exception as error:  # all of them are the finding
                self.failed.append(repr(error))

    def more(self, count=60) -> None:
        goal = len(self.uses) + len(self.failed) + count
        wait_for(lambda: len(self.uses) + len(self.failed) >= goal, "it goes on")

    def end(self) -> list:
        self.is_over = True
        for thread in self.threads:
            thread.join(PATIENCE)
        return self.failed


def test_trouble_with_the_server_costs_hits_only(boxes, server):  # noqa: F811
    """Goal: while the server stalls, is killed, comes back empty and is flushed, under load, no request fails, what a box has
    learnt it gives, and afterwards they share by meaning again by themselves."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    load = Load(boxes)

    def share_again():
        word = f"again{next(FRESH)}"
        ask(one, f"What does {word} mean?")
        until = time.monotonic() + 3
        while time.monotonic() < until:
            if found(other, f"please, what does {word} mean"):
                return True
        return False

    try:
        load.more()
        for trouble, mend in troubles(server):
            word = f"before{next(FRESH)}"
            stored_for(one, [other], boxes, f"What does {word} mean?", f"please, what does {word} mean")
            trouble()
            load.more()
            mend()
            load.more()
            wait_for(share_again, "they share again")
    finally:
        failed = load.end()
    assert failed == []
    assert load.uses.count("semantic-hit") > 20


def test_what_was_learnt_is_given_without_the_server(boxes, server, provider):  # noqa: F811
    """Goal: a hit on what was learnt needs no server."""
    one, other = boxes.start(), boxes.start()
    boxes.settle()
    said, _ = stored_for(one, [other], boxes, FRANCE, REWORDED)
    server.kill()
    asked = len(provider.asked)
    assert [ask(box, REWORDED)[0] for box in boxes] == [said] * 2
    assert len(provider.asked) == asked
    server.start()
