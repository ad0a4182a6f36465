"""Identical requests in flight share one exchange with the provider; each client gets all of it, at its own pace."""

import asyncio
import json
import time

import pytest

from processes import Provider, fixture_of

CONFIG = """shards = {shards}

[cache]
mode = "exact"

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.q]
dialect = "anthropic"
base_url = "http://{provider}"

[models.alive]
stream.keepalive = "200ms"
targets = [{{ provider = "p", model = "sim/ttft-1500ms/rate-100/events-20" }}]

[models.hedged]
strategy = "priority"
hedge = {{ after = "800ms", extra_max = "100%" }}
targets = [
  {{ provider = "p", model = "sim/ttft-60s" }},
  {{ provider = "p", model = "sim/ttft-1200ms/rate-100/events-20" }},
]

[models.tale]
strategy = "priority"
continuation = "prefill"
targets = [
  {{ provider = "p", model = "sim/recite-7/events-60/rate-100/cut-23" }},
  {{ provider = "q", model = "sim/recite-7/events-60/rate-20" }},
]

[models.second]
strategy = "priority"
targets = [
  {{ provider = "p", model = "sim/ttft-1200ms/status-503" }},
  {{ provider = "p", model = "sim/ttft-300ms/rate-100/events-20" }},
]
"""


provider = fixture_of(Provider)


@pytest.fixture(params=[1, 2])
def shards(request):
    return request.param


@pytest.fixture
def gateway(provider, begin, shards):
    return begin(CONFIG.format(provider=provider.address, shards=shards))


def request(gateway, model, stream=True, path="/v1/chat/completions", text="Hello", extra="", **members):
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}], **members}
    data = json.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nHost: {gateway.address}\r\nContent-Type: application/json\r\n{extra}"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n{data}"
    ).encode()


async def ask(gateway, sent, hold=None, leave_after=None):
    """Everything that came, or what came until we left."""
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(sent)
    got = b""
    try:
        while more := await reader.read(65536 if hold is None else 64):
            got += more
            if leave_after is not None and leave_after in got:
                writer.transport.abort()
                break
            if hold is not None:
                await asyncio.sleep(hold)
    finally:
        writer.close()
    return got


def body_of(answer) -> bytes:
    """The body, its chunk framing taken off."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body
        body, rest = body + rest[:length], rest[length + 2 :]
    raise AssertionError("the body has no end")


def texts(body) -> str:
    said = ""
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            said += "".join(choice["delta"].get("content") or "" for choice in choices)
    return said


def field(answer, name) -> str:
    head = answer.partition(b"\r\n\r\n")[0].decode().lower()
    return next((line.split(": ", 1)[1] for line in head.split("\r\n") if line.startswith(name + ":")), "")


def test_identical_streams_are_one_exchange(gateway, provider):
    """Goal: 1,000 clients at once cause one exchange, and get the same events, each once and in order."""
    sent = request(gateway, "p/sim/ttft-1s/rate-50/events-40")

    async def run():
        return await asyncio.gather(*(ask(gateway, sent) for _ in range(1000)))

    answers = asyncio.run(run())
    bodies = {body_of(answer) for answer in answers}
    assert len(bodies) == 1
    assert bodies.pop().rstrip().endswith(b"data: [DONE]")
    assert provider.at_rest()["requests"] == 1
    uses = sorted(field(answer, "x-shardgate-cache") for answer in answers)
    assert uses.count("miss") == 1 and uses.count("coalesced") == 999


def test_who_comes_late_gets_all_of_it(gateway, provider):
    """Goal: a client that joins in the middle gets what came before, then the rest."""
    sent = request(gateway, "p/sim/rate-50/events-60")

    async def run():
        first = asyncio.create_task(ask(gateway, sent))
        late = []
        for _ in range(4):
            await asyncio.sleep(0.2)
            late.append(asyncio.create_task(ask(gateway, sent)))
        return [await task for task in (first, *late)]

    bodies = {body_of(answer) for answer in asyncio.run(run())}
    assert len(bodies) == 1 and len(texts(bodies.pop()).split()) >= 40
    assert provider.at_rest()["requests"] == 1


def test_the_others_go_on_when_the_first_leaves(gateway, provider):
    """Goal: the exchange lives while anyone listens. Method: the client that caused it leaves after its first
    events."""
    sent = request(gateway, "p/sim/ttft-200ms/rate-50/events-60")

    async def run():
        first = asyncio.create_task(ask(gateway, sent, leave_after=b'"content"'))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(ask(gateway, sent)) for _ in range(5)]
        await first
        return [await task for task in others]

    bodies = {body_of(answer) for answer in asyncio.run(run())}
    assert len(bodies) == 1 and bodies.pop().rstrip().endswith(b"data: [DONE]")
    assert provider.at_rest()["requests"] == 1


async def join_and_leave(gateway, provider, sent, others):
    """The exchange of a first client, once `others` follow it and it has left; gives what these get."""
    first = asyncio.create_task(ask(gateway, sent))
    while provider.stats()["requests"] < 1:
        await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(ask(gateway, sent)) for _ in range(others)]
    while gateway.total("exchanges_open") < 1 + others:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # until the shards have told each other
    first.cancel()
    return waiting


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("model", ["p", "alive", "hedged", "second"])
def test_the_others_get_the_answer_when_the_first_leaves_before_it(gateway, provider, model, stream):
    """Goal: the exchange lives while anyone listens, also before there is an answer: there is no second one. Method:
    a provider that thinks for 1.5 s; the client that caused the exchange leaves meanwhile. The same with comments
    meanwhile, in a race, and where the first target fails after the client has left."""
    name = f"{model}/sim/ttft-1500ms/rate-100/events-20" if model == "p" else model
    sent = request(gateway, name, stream=stream)

    async def run():
        return [await task for task in await join_and_leave(gateway, provider, sent, 5)]

    answers = asyncio.run(run())
    assert {field(answer, "x-shardgate-cache") for answer in answers} <= {"coalesced", ""}  # early heads do not say
    bodies = [body_of(answer) for answer in answers]
    if stream:
        assert len({texts(body) for body in bodies}) == 1 and texts(bodies[0])
        assert all(body.rstrip().endswith(b"data: [DONE]") for body in bodies)
    else:
        assert len(set(bodies)) == 1 and json.loads(bodies[0])["choices"][0]["message"]["content"]
    assert provider.at_rest()["requests"] == (2 if model in ("hedged", "second") else 1)


def test_an_exchange_that_all_have_left_is_called_off(gateway, provider):
    """Goal: before there is an answer, too, the provider is left when the last one leaves, and not before."""
    sent = request(gateway, "p/sim/ttft-60s/events-3")

    async def run():
        waiting = await join_and_leave(gateway, provider, sent, 3)
        await asyncio.sleep(0.2)
        assert provider.stats()["cancelled"] == 0
        for task in waiting:
            task.cancel()

    asyncio.run(run())
    assert provider.wait_until(lambda stats: stats["cancelled"] == 1)["requests"] == 1


def test_a_slow_reader_holds_nobody_up(gateway, provider):
    """Goal: each at its own pace. Method: the client that caused the exchange reads a few bytes at a time."""
    sent = request(gateway, "p/sim/ttft-100ms/rate-2000/events-2000")

    async def run():
        slow = asyncio.create_task(ask(gateway, sent, hold=0.05))
        await asyncio.sleep(0.02)
        quick = await asyncio.gather(*(ask(gateway, sent) for _ in range(3)))
        is_done = slow.done()
        slow.cancel()
        return quick, is_done

    quick, is_done = asyncio.run(run())
    assert not is_done
    assert len({body_of(answer) for answer in quick}) == 1


def test_nobody_listens_any_more(gateway, provider):
    """Goal: when the last one leaves, the provider is left, too."""
    sent = request(gateway, "p/sim/ttft-300ms/rate-20/events-600")

    async def run():
        await asyncio.gather(*(ask(gateway, sent, leave_after=b'"content"') for _ in range(3)))

    asyncio.run(run())
    assert provider.wait_until(lambda stats: stats["cancelled"] == 1)["requests"] == 1


def test_an_error_reaches_all(gateway, provider):
    """Goal: what the provider refuses is told to all who asked the same."""
    sent = request(gateway, "p/sim/ttft-200ms/status-400", stream=False)

    async def run():
        return await asyncio.gather(*(ask(gateway, sent) for _ in range(5)))

    answers = asyncio.run(run())
    assert {answer.split(b" ", 2)[1] for answer in answers} == {b"400"}
    assert len({body_of(answer) for answer in answers}) == 1


def test_plain_and_streamed_share_one_exchange(gateway, provider):
    """Goal: streams, plain answers and both dialects come from one exchange."""
    model = "p/sim/ttft-300ms/rate-100/events-20"
    kinds = [(True, "/v1/chat/completions"), (False, "/v1/chat/completions"), (True, "/v1/messages"), (False, "/v1/messages")]
    asks = [request(gateway, model, stream, path, max_tokens=500) for stream, path in kinds]

    async def run():
        first = asyncio.create_task(ask(gateway, asks[0]))
        await asyncio.sleep(0.05)
        return await asyncio.gather(first, *(ask(gateway, sent) for sent in asks[1:]))

    streamed, plain, events, message = (body_of(answer) for answer in asyncio.run(run()))
    want = texts(streamed)
    assert want
    assert json.loads(plain)["choices"][0]["message"]["content"] == want
    deltas = (json.loads(line[6:]) for line in events.split(b"\n") if line.startswith(b"data: "))
    assert "".join(one["delta"].get("text", "") for one in deltas if one["type"] == "content_block_delta") == want
    assert json.loads(message)["content"][0]["text"] == want
    assert provider.at_rest()["requests"] == 1


def test_nobody_joins_what_broke_off(gateway, provider):
    """Goal: who comes when a stream has broken off asks for itself. Method: another target goes on with the stream of
    the client that caused it, so that it is still there when the next one comes; each gets all of the tale."""
    sent = request(gateway, "tale")

    async def run():
        first = asyncio.create_task(ask(gateway, sent))
        while provider.stats()["requests"] < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert not first.done()
        return await asyncio.gather(first, ask(gateway, sent))

    first, second = asyncio.run(run())
    assert texts(body_of(first)) == texts(body_of(second)) != ""
    assert [body_of(answer).count(b"[DONE]") for answer in (first, second)] == [1, 1]
    assert field(second, "x-shardgate-cache") == "miss"
    assert provider.at_rest()["requests"] == 4


def test_nobody_follows_what_was_asked_for_before_a_purge(gateway, provider):
    """Goal: what began before a purge is given to nobody who asks after it, and stored for nobody. Method: everything
    is purged while a stream is under way; then others ask for the same, and share an exchange of their own, which is
    what is stored."""
    sent = request(gateway, "p/sim/ttft-100ms/rate-50/events-50")

    async def run():
        before = [asyncio.create_task(ask(gateway, sent)) for _ in range(2)]
        while gateway.total("exchanges_open") < 2 or provider.stats()["requests"] < 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        gateway.purge()
        after = [asyncio.create_task(ask(gateway, sent)) for _ in range(6)]
        return await asyncio.gather(*before), await asyncio.gather(*after)

    before, after = ([field(answer, "x-shardgate-cache") for answer in answers] for answers in asyncio.run(run()))
    assert sorted(before) == ["coalesced", "miss"]
    assert sorted(after) == ["coalesced"] * 5 + ["miss"]
    assert provider.at_rest()["requests"] == 2
    assert field(asyncio.run(ask(gateway, sent)), "x-shardgate-cache") == "hit"


def test_only_those_share_an_exchange_who_wish_the_same(gateway, provider):
    """Goal: what one client allows for itself is not done to another. Method: the same question without fallbacks,
    with a limit of its own, and without wishes, each twice at once; the limit ends its own exchange and no other."""
    wishes = ["", "x-shardgate-fallbacks: none\r\n", "x-shardgate-timeout: 500ms\r\n"]
    sent = [request(gateway, "p/sim/ttft-1s/events-5", extra=extra) for extra in wishes for _ in range(2)]

    async def run():
        return await asyncio.gather(*(ask(gateway, one) for one in sent))

    answers = asyncio.run(run())
    statuses = [int(answer.split(b" ", 2)[1]) for answer in answers]
    assert statuses == [200, 200, 200, 200, 504, 504]
    uses = [field(answer, "x-shardgate-cache") for answer in answers]
    assert sorted(uses[:2]) == sorted(uses[2:4]) == ["coalesced", "miss"]
    assert provider.at_rest()["requests"] in (3, 4)  # whose time ends last may ask once more


def test_the_time_of_one_is_not_that_of_another(gateway, provider):
    """Goal: when the time of the client ends that caused the exchange, who came later goes on. Method: one comes when
    the other has waited for most of its time."""
    sent = request(gateway, "p/sim/ttft-60s", extra="x-shardgate-timeout: 800ms\r\n")

    async def run():
        first = asyncio.create_task(ask(gateway, sent))
        await asyncio.sleep(0.6)
        return await asyncio.gather(first, ask(gateway, sent))

    began = time.monotonic()
    answers = asyncio.run(run())
    assert [int(answer.split(b" ", 2)[1]) for answer in answers] == [504, 504]
    assert time.monotonic() - began >= 1.4  # the second one had all of its time


def test_it_can_be_declined(gateway, provider):
    """Goal: no-coalesce goes upstream by itself."""
    sent = request(gateway, "p/sim/ttft-200ms/events-3", extra="x-shardgate-cache: no-coalesce\r\n")

    async def run():
        return await asyncio.gather(*(ask(gateway, sent) for _ in range(3)))

    assert {field(answer, "x-shardgate-cache") for answer in asyncio.run(run())} == {"miss"}
    assert provider.at_rest()["requests"] == 3
