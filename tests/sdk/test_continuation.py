"""A stream that is cut goes on at another target: the text is joined without a seam."""

import asyncio
import http.client
import itertools
import json
import os
import random
import signal
import time

import anthropic
import openai
import pytest

import fronts
from processes import Gateway, Provider, fixture_of

ASK = [{"role": "user", "content": "Recite."}]
EVENTS = 60
TALE = f"sim/recite-7/events-{EVENTS}"
FAULTS = ["cut-23", "reset-23", "stall-23", "error-event-23", "malformed-23", "bad-chunk-23"]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CUTS = int(os.environ.get("CONT_CUTS", "1000"))
SEED = int(os.environ.get("CONT_SEED", "1"))

CONFIG = """shards = 2

[breaker]
mode = "off"

[retry]
budget = "off"

[timeouts]
connect = "1s"
first_token = "10s"
idle = "{idle}"
total = "60s"

[providers.chat]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.claude]
dialect = "anthropic"
base_url = "http://{provider}/v1"

[providers.gemini]
dialect = "gemini"
base_url = "http://{provider}/v1beta"

[providers.responses]
dialect = "responses"
base_url = "http://{provider}/v1"

[providers.cohere]
dialect = "cohere"
base_url = "http://{provider}"

[providers.converse]
dialect = "bedrock"
base_url = "http://{provider}"

[providers.vertex]
dialect = "anthropic"
flavour = "vertex"
base_url = "http://{provider}/v1/projects/pr/locations/us-east5/publishers/anthropic"
api_key = {{ env = "PROVIDER_KEY" }}

[providers.invoke]
dialect = "anthropic"
flavour = "bedrock"
base_url = "http://{provider}"
api_key = {{ env = "PROVIDER_KEY" }}

[providers.dead]
dialect = "openai"
base_url = "http://127.0.0.1:1/v1"
"""


def model(name, *targets, on=True, more="") -> str:
    """An entry whose targets are asked in order; each a provider, a model and what else it says."""
    rows = []
    for provider, upstream, *extra in targets:
        rows.append('{ provider = "%s", model = "%s"%s }' % (provider, upstream, "".join(extra)))
    word = "prefill" if on else "off"
    return (
        f'\n[models."{name}"]\nstrategy = "priority"\ncontinuation = "{word}"\n{more}\n'
        f"targets = [{', '.join(rows)}]\n"
    )


CLOUDS = ["vertex", "invoke"]
DIALECTS = ["chat", "claude", "gemini", "responses", "cohere", "converse"]


def entries() -> str:
    all_of_them = []
    for fault in FAULTS:
        for first in ("chat", "claude"):
            for second in ("chat", "claude"):
                pair = [(first, f"{TALE}/{fault}"), (second, TALE)]
                all_of_them.append(model(f"{fault}/{first}/{second}", *pair))
    for first in [*DIALECTS, *CLOUDS]:
        all_of_them.append(model(f"from/{first}", (first, f"{TALE}/cut-31"), ("chat", TALE)))
        all_of_them.append(model(f"to/{first}", ("chat", f"{TALE}/cut-31"), (first, TALE)))
    cut = ("chat", f"{TALE}/cut-23")
    all_of_them += [
        model("off", cut, ("chat", TALE), on=False),
        model("alone", cut),
        model("dead", cut, ("dead", TALE), ("chat", "sim/status-503")),
        model("refused", cut, ("chat", "sim/status-400"), ("chat", "sim/status-401"), ("claude", TALE)),
        model("fallback", cut, more='fallbacks = ["spare"]'),
        model("spare", ("claude", TALE)),
        model("twice", ("chat", f"{TALE}/cut-20/relapse"), ("claude", f"{TALE}/cut-20/relapse"), ("chat", TALE)),
        model(
            "too-often",
            *[(p, f"{TALE}/cut-10/relapse") for p in ("chat", "claude", "responses", "cohere", "gemini")],
        ),
        model("told", cut, ("chat", TALE, ", abilities = { prefill = true }")),
        model("not-told", cut, ("claude", f"{TALE}/no-prefill")),
        model("overlap", cut, ("chat", f"{TALE}/overlap-3")),
        model("again", cut, ("claude", f"{TALE}/again")),
        model("other", cut, ("claude", "sim/recite-7/events-20")),
        model("silent", ("chat", f"{TALE}/stall-23"), ("claude", f"{TALE}/cut"), ("claude", f"{TALE}/ttft-100ms")),
        model("thought", ("claude", f"{TALE}/thinking-4/cut-20"), ("claude", f"{TALE}/thinking-4")),
        model("last", ("chat", f"{TALE}/cut-{EVENTS}"), ("claude", TALE)),
        model("late", ("chat", f"{TALE}/stall-23"), ("claude", f"{TALE}/ttft-20s"), more='timeouts = { total = "1500ms" }'),
        model("pulse", cut, ("claude", f"{TALE}/ttft-350ms"), more='stream = { keepalive = "100ms" }'),
        model("slow", cut, ("claude", f"{TALE}/rate-10")),
        model("prefilled", ("claude", f"{TALE}/cut-23/relapse"), ("claude", TALE)),
    ]
    for dialect in ("chat", "claude"):
        good = (dialect, TALE)
        all_of_them += [
            model(f"tool/{dialect}", (dialect, "sim/tools-1/cut-1"), good),
            model(f"tools/{dialect}", (dialect, "sim/tools-2/cut-4"), good),
            model(f"schema/{dialect}", (dialect, "sim/cut-2"), good),
            model(f"thinking/{dialect}", (dialect, "sim/thinking-20/cut-5"), good),
            model(f"thinking-only/{dialect}", (dialect, "sim/thinking-20/cut-20"), good),
        ]
    # Elsewhere a refusal is text like any other until it has ended.
    all_of_them.append(model("refusal/chat", ("chat", "sim/refusal/cut-2"), ("chat", TALE)))
    return "".join(all_of_them)


provider = fixture_of(Provider, "module")


@pytest.fixture(scope="module", params=["auto", "poll"])
def gateway(request, provider, tmp_path_factory):
    config = CONFIG.format(provider=provider.address, idle="400ms") + entries()
    running = Gateway(tmp_path_factory.mktemp("gateway"), config, {"PROVIDER_KEY": "any"}, request.param)
    yield running
    panics = running.total("panics_total")
    running.stop()
    assert panics == 0, running.lines


@pytest.fixture(scope="module")
def tale(provider) -> str:
    return uncut(provider, 7)


def uncut(provider, seed) -> str:
    """What the model says when nobody cuts it off."""
    with openai.OpenAI(base_url=f"http://{provider.address}/v1", api_key="any", max_retries=0) as client:
        name = f"sim/recite-{seed}/events-{EVENTS}"
        answer = client.chat.completions.create(model=name, messages=ASK)
        return answer.choices[0].message.content


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=30) as sdk:
        yield sdk


@pytest.fixture
def claude(gateway):
    url = gateway.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=30) as sdk:
        yield sdk


def continuations(gateway) -> int:
    line = next(x for x in gateway.get_admin("/metrics").splitlines() if x.startswith("shardgate_continuations_total"))
    return int(line.rsplit(" ", 1)[1])


def hear(client, model, **more):
    """The chunks of a stream, and the exchange's name."""
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=more.pop("messages", ASK), stream=True, **more
    )
    return list(raw.parse()), raw.headers["x-request-id"]


def text_of(chunks) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def lines(gateway, path, body, headers=()) -> tuple[str, str]:
    """A stream as it is, and the exchange's name."""
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=30)
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01", **dict(headers)}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    assert answer.status == 200, said
    return said, answer.headers["x-request-id"]


@pytest.mark.parametrize("second", ["chat", "claude"])
@pytest.mark.parametrize("first", ["chat", "claude"])
@pytest.mark.parametrize("fault", FAULTS)
def test_openai_hears_one_answer(gateway, client, tale, fault, first, second):
    """Goal: whatever happens in mid-stream, the chunks say the uncut text under one id, with one
    reason for the end and the usage of both; the log and the counter say what happened."""
    before = continuations(gateway)
    chunks, name = hear(client, f"{fault}/{first}/{second}", stream_options={"include_usage": True})
    assert text_of(chunks) == tale
    assert len({chunk.id for chunk in chunks}) == 1
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert reasons == ["stop"]
    usage = chunks[-1].usage
    line = gateway.receipt(name)
    assert (line["attempts"], line["continuations"], line["end"]) == (2, 1, "done")
    assert line["tokens_estimated"] is True and line["target"] == second
    assert (line["tokens_in"], line["tokens_out"]) == (usage.prompt_tokens, usage.completion_tokens)
    # The second counts its own pieces; the first was cut off before it said what it had made.
    assert usage.completion_tokens > EVENTS - 23 and usage.prompt_tokens > 0
    assert continuations(gateway) == before + 1


@pytest.mark.parametrize("second", ["chat", "claude"])
@pytest.mark.parametrize("first", ["chat", "claude"])
@pytest.mark.parametrize("fault", FAULTS)
def test_anthropic_hears_one_answer(gateway, claude, tale, fault, first, second):
    """Goal: the same for Anthropic's events, which the SDK itself puts together: one block of
    text, started and stopped once."""
    model = f"{fault}/{first}/{second}"
    with claude.messages.stream(model=model, max_tokens=4000, messages=ASK) as stream:
        kinds = [(event.type, getattr(event, "index", None)) for event in stream]
        message = stream.get_final_message()
    assert [block.text for block in message.content] == [tale]
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > EVENTS - 23
    frames = [kind for kind in kinds if kind[0] in ("content_block_start", "content_block_stop")]
    assert frames == [("content_block_start", 0), ("content_block_stop", 0)]
    assert [kind for kind, _ in kinds].count("message_start") == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("way", ["from", "to"])
def test_it_goes_on_from_and_to_every_dialect(gateway, client, tale, way, dialect):
    chunks, name = hear(client, f"{way}/{dialect}")
    assert text_of(chunks) == tale
    assert gateway.receipt(name)["continuations"] == 1


@pytest.mark.parametrize(
    "name, dialect",
    [*itertools.product(fronts.FRONTS, DIALECTS), *itertools.product(["chat", "anthropic"], CLOUDS)],
)
def test_every_front_hears_one_answer(gateway, tale, name, dialect):
    """Goal: through each official SDK, whatever both targets speak."""
    front = fronts.front(name, gateway.address, "any")
    for way in ("from", "to"):
        answer = front.stream(fronts.Question(f"{way}/{dialect}"))
        assert (answer.text, answer.calls) == (tale, [])
    gateway.at_rest()
    assert all(line["continuations"] == 1 for line in gateway.receipts()[-2:])


PATHS = {
    "/v1/responses": {"input": "Recite."},
    "/v1/chat/completions": {"messages": ASK},
    "/v1/messages": {"messages": ASK, "max_tokens": 4000},
    "/v2/chat": {"messages": ASK},
}


@pytest.mark.parametrize("path", PATHS)
def test_the_stream_says_so_in_a_comment(gateway, path):
    """Goal: one comment, between two events, with the target and the way."""
    for model, want in [
        ("cut-23/claude/chat", "target=chat attempt=2 way=instruction usage=estimated"),
        ("cut-23/chat/claude", "target=claude attempt=2 way=prefill usage=estimated"),
        ("told", "target=chat attempt=2 way=prefill usage=estimated"),
        ("not-told", "target=claude attempt=2 way=instruction usage=estimated"),
    ]:
        said, name = lines(gateway, path, {"model": model, "stream": True, **PATHS[path]})
        comments = [line for line in said.split("\n") if line.startswith(":")]
        assert comments == [f": shardgate continued {want}"]
        assert f"\n\n{comments[0]}\n\n" in said
        assert gateway.receipt(name)["continuations"] == 1


def test_responses_run_on(gateway, client, tale):
    """Goal: sequence numbers and items run on; the SDK's own snapshot is the whole text."""
    with client.responses.stream(model="cut-23/claude/chat", input="Recite.") as stream:
        numbers = [event.sequence_number for event in stream]
        final = stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert final.output_text == tale and len(final.output) == 1
    assert final.usage.output_tokens > EVENTS - 23


@pytest.mark.parametrize("model", ["overlap", "again", "told", "not-told", "refused", "fallback", "silent", "last"])
def test_the_seam_is_not_seen(gateway, client, tale, model):
    """Goal: a model that repeats, begins again, refuses a prefill; targets that refuse or fail
    before one goes on; a fallback; a stream that is cut behind its last word."""
    chunks, name = hear(client, model)
    assert text_of(chunks) == tale
    assert gateway.receipt(name)["continuations"] == 1


def test_what_goes_on_may_be_cut_itself(gateway, client, tale):
    chunks, name = hear(client, "twice")
    assert text_of(chunks) == tale
    line = gateway.receipt(name)
    assert (line["attempts"], line["continuations"], line["end"]) == (3, 2, "done")


def test_attempts_come_out_of_one_purse(gateway, client, tale):
    """Goal: with all four attempts used up, the stream ends with an error behind what there is."""
    said = broken(client, "too-often")
    assert tale.startswith(said) and len(said) > len(tale) / 2
    gateway.at_rest()
    line = gateway.receipts()[-1]
    assert (line["attempts"], line["continuations"], line["end"]) == (4, 3, "error")
    assert line["tokens_estimated"] is True and line["tokens_out"] > 0


def broken(client, model, **more) -> str:
    """What came before the error event; without one the test fails."""
    said = []
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(
            model=model, messages=more.pop("messages", ASK), stream=True, **more
        ):
            if chunk.choices:
                said.append(chunk.choices[0].delta.content or "")
    return "".join(said)


@pytest.mark.parametrize("model", ["off", "alone", "dead", "other"])
def test_without_anybody_to_go_on_there_is_an_error(gateway, client, tale, model):
    """Goal: switched off, no other target, none that answers, one that begins again and ends
    before it comes to where the client is: the honest error event as ever."""
    said = broken(client, model)
    assert said == tale[: len(said)] and said
    gateway.at_rest()
    line = gateway.receipts()[-1]
    assert line["end"] == "error" and line["continuations"] == (1 if model == "other" else 0)


TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}
NEVER = {
    "tool": {"tools": [TOOL]},
    "tools": {"tools": [TOOL]},
    "schema": {"response_format": SCHEMA},
    "thinking": {},
    "thinking-only": {},
    "refusal": {},
}


@pytest.mark.parametrize("case, dialect", [(case, dialect) for case in NEVER for dialect in ("chat", "claude")][:-1])
def test_nobody_goes_on_within_what_must_be_whole(gateway, provider, client, case, dialect):
    """Goal: within a call, behind one, within a document, thinking or a refusal: an error event,
    and no second request."""
    before = provider.at_rest()["requests"]
    broken(client, f"{case}/{dialect}", **NEVER[case])
    gateway.at_rest()
    assert gateway.receipts()[-1]["continuations"] == 0
    assert provider.at_rest()["requests"] == before + 1


@pytest.mark.parametrize("more", [{"n": 2}, {"logprobs": True}])
def test_several_choices_and_logprobs_pass_as_they_are(gateway, provider, client, more):
    before = provider.at_rest()["requests"]
    broken(client, "cut-23/chat/chat", **more)
    assert provider.at_rest()["requests"] == before + 1


def test_thoughts_are_heard_once(gateway, claude, tale):
    """Goal: a model that thinks again does not say so to a client that has its thoughts."""
    thinking = {"type": "enabled", "budget_tokens": 1024}
    ask = {"model": "thought", "max_tokens": 4000, "messages": ASK, "thinking": thinking}
    with claude.messages.stream(**ask) as stream:
        list(stream)
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[1].text == tale and message.content[0].thinking.count("thought") == 4


def test_an_answer_that_the_client_began_goes_on(gateway, claude, tale):
    """Goal: the client's own prefill stays before what was said."""
    begun = tale[:40].rstrip()
    ask = [*ASK, {"role": "assistant", "content": begun}]
    with claude.messages.stream(model="prefilled", max_tokens=4000, messages=ask) as stream:
        list(stream)
        message = stream.get_final_message()
    assert begun + message.content[0].text == tale


def test_the_deadline_is_that_of_the_whole(gateway, client, tale):
    """Goal: what goes on does so within the deadline over all attempts, of which the client is told."""
    said = broken(client, "late")
    assert tale.startswith(said) and said
    gateway.at_rest()
    line = gateway.receipts()[-1]
    assert (line["fault"], line["attempts"], line["continuations"]) == ("deadline_exceeded", 2, 0)


def test_a_stream_that_waits_for_who_goes_on_is_not_silent(gateway, client, tale):
    """Goal: comments while the next target is asked; they stand between events."""
    said, _ = lines(gateway, "/v1/chat/completions", {"model": "pulse", "stream": True, "messages": ASK})
    comments = [line for line in said.split("\n") if line.startswith(":")]
    assert comments.count(": keep-alive") >= 2 and comments[-1].startswith(": shardgate continued")
    assert all(f"\n\n{comment}\n\n" in said for comment in comments)
    chunks, _ = hear(client, "pulse")
    assert text_of(chunks) == tale


def test_who_leaves_is_not_gone_on_for(gateway, provider, client):
    """Goal: a client that goes away ends the exchange; nobody else is asked."""
    before = provider.at_rest()["requests"]
    stream = client.chat.completions.create(model="stall-23/chat/claude", messages=ASK, stream=True)
    next(iter(stream))
    stream.close()
    assert provider.at_rest()["requests"] == before + 1
    gateway.at_rest()
    assert gateway.receipts()[-1]["end"] == "cancelled"


def test_who_leaves_later_has_what_both_made_in_the_books(gateway, provider, client):
    before = provider.at_rest()["cancelled"]
    heard = client.chat.completions.with_raw_response.create(model="slow", messages=ASK, stream=True)
    stream = heard.parse()
    for _ in range(26):
        next(iter(stream))
    stream.close()
    provider.wait_until(lambda stats: stats["cancelled"] == before + 1)
    line = gateway.receipt(heard.headers["x-request-id"])
    assert (line["end"], line["attempts"], line["continuations"]) == ("cancelled", 2, 1)
    assert line["tokens_estimated"] is True and line["tokens_out"] > 0 and line["tokens_in"] > 0


@pytest.mark.parametrize("sockets", ["auto", "poll"])
def test_a_shutdown_is_told_also_while_the_next_target_is_asked(provider, tmp_path, tale, sockets):
    config = CONFIG.format(provider=provider.address, idle="400ms")
    config += model("m", ("chat", f"{TALE}/cut-23"), ("claude", f"{TALE}/ttft-20s"))
    gateway = Gateway(tmp_path, config, {"PROVIDER_KEY": "any"}, sockets)
    before = provider.at_rest()["requests"]
    said = []
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=30) as client:
        with pytest.raises(openai.APIError) as error:
            for chunk in client.chat.completions.create(model="m", messages=ASK, stream=True):
                said += [choice.delta.content or "" for choice in chunk.choices]
                if len(said) == 23:
                    provider.wait_until(lambda stats: stats["requests"] == before + 2)
                    gateway.child.send_signal(signal.SIGINT)
    assert error.value.code == "shut_down" and tale.startswith("".join(said))
    assert gateway.stop() == 1, "a stream was cut off"


@pytest.mark.parametrize("half, sockets", [(0, "auto"), (1, "poll")])
def test_a_thousand_cuts(provider, tmp_path, half, sockets):
    """Goal: the acceptance line. Method: seeded cuts at random events of random texts, by every
    kind of fault, between Chat and Anthropic on both sides, sometimes twice, with models that go
    on exactly, repeat some words or begin again; each stream through an official SDK, one half
    over each kind of sockets. CONT_SEED and CONT_CUTS change the draw."""
    dice = random.Random(2 * SEED + half)
    seeds = range(1, 9)
    tales = {seed: uncut(provider, seed) for seed in seeds}
    cases, config = [], CONFIG.format(provider=provider.address, idle="2s")
    faults = ["cut"] * 5 + ["reset"] * 5 + ["error-event"] * 3 + ["malformed"] * 2 + ["bad-chunk"] * 2
    for number in range(CUTS // 2):
        seed, at = dice.choice(seeds), dice.randrange(1, EVENTS + 1)
        name = f"sim/recite-{seed}/events-{EVENTS}"
        first, second, third = (dice.choice(["chat", "claude"]) for _ in range(3))
        manner = dice.choice(["", "", "/overlap-3", "/overlap-9"] + (["/again"] if at > 12 else []))
        if "overlap" in manner and (second == "claude" or at < 3):
            manner = ""  # from the beginning of an answer nothing is repeated; three letters are no words
        fault = f"{dice.choice(faults)}-{at}"
        targets = [(first, f"{name}/{fault}"), (second, name + manner)]
        if dice.random() < 0.2:
            again = f"{dice.choice(faults)}-{dice.randrange(1, 20)}/relapse"
            targets[1:1] = [(third, f"{name}/{again}")]
        config += model(f"m{number}", *targets)
        cases.append((f"m{number}", seed, dice.choice(["openai", "anthropic"]), targets))
    gateway = Gateway(tmp_path, config, {"PROVIDER_KEY": "any"}, sockets)
    began = time.monotonic()
    wrong = asyncio.run(hear_all(gateway, cases, tales))
    took = time.monotonic() - began
    gateway.at_rest()
    receipts = gateway.receipts()
    gone_on = sum(line["continuations"] for line in receipts)
    print(f"{len(cases)} cuts, {gone_on} continuations, {took:.1f} s")
    gateway.stop()
    assert not wrong, f"{len(wrong)}: {wrong[:3]}"
    assert gone_on >= len(cases) and {line["end"] for line in receipts} == {"done"}


async def hear_all(gateway, cases, tales) -> list:
    """The cases that went wrong, and how."""
    wrong, queue = [], list(reversed(cases))
    url = gateway.url.removesuffix("/v1")
    async with (
        openai.AsyncOpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=60) as chat,
        anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0, timeout=60) as claude,
    ):

        async def work():
            while queue:
                name, seed, front, targets = queue.pop()
                try:
                    hear = hear_chat(chat, name) if front == "openai" else hear_claude(claude, name)
                    said = await hear
                except Exception as error:  # any way in which a stream is refused
                    said = repr(error)
                if said != (tale := tales[seed]):
                    at = len(os.path.commonprefix([said, tale]))
                    wrong.append((front, targets, said[max(at - 30, 0) : at + 60], tale[max(at - 30, 0) : at + 60]))

        await asyncio.gather(*(work() for _ in range(8)))
    return wrong


async def hear_chat(client, model) -> str:
    chunks = []
    async for chunk in await client.chat.completions.create(model=model, messages=ASK, stream=True):
        chunks.append(chunk)
    ends = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    if ends != ["stop"] or len({chunk.id for chunk in chunks}) != 1:
        return f"frames: {ends}"
    return text_of(chunks)


async def hear_claude(client, model) -> str:
    async with client.messages.stream(model=model, max_tokens=4000, messages=ASK) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    frames = [kinds.count(kind) for kind in ("message_start", "content_block_start", "content_block_stop")]
    if frames != [1, 1, 1] or message.stop_reason != "end_turn":
        return f"frames: {kinds}"
    return "".join(block.text for block in message.content)
