"""Answers by meaning: a rewording gets the stored answer, with how sure that is and how old it is; what only looks alike
gets an answer of its own."""

import json
import time

import anthropic
import openai
import pytest

from listening import Listening
from processes import fixture_of
from tenants import KEYS, TENANTS

CONFIG = """shards = {shards}

[cache]
mode = "{mode}"
{cache}

[cache.semantic]
audit = "off"
{semantic}

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"
""" + TENANTS
FRANCE = "What is the capital of France?"
REWORDED = "what is the capital of france"


class Echo(Listening):
    """Says which question it was asked, and the how-manieth that was; `asked`: all questions. `says`: what it says
    instead, by the question."""

    def __init__(self):
        self.asked: list[str] = []
        self.says: dict[str, str] = {}
        super().__init__()

    def _answer(self, handler):
        asked = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        last = asked["messages"][-1]["content"]
        question = last if isinstance(last, str) else "".join(part.get("text", "") for part in last)
        self.asked.append(question)
        said = self.says.get(question, f"{len(self.asked)}: {question}")
        head = {"id": "x", "created": 1, "model": asked["model"]}
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            body = json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
            media = "application/json"
        else:
            head["object"] = "chat.completion.chunk"
            words = [{"delta": {"content": word}} for word in said.split(" ")]
            words = words[:1] + [{"delta": {"content": " " + word["delta"]["content"]}} for word in words[1:]]
            choices = [{"index": 0, "finish_reason": None, **word} for word in words]
            choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
            events = [{**head, "choices": [choice]} for choice in choices] + [{**head, "choices": [], "usage": usage}]
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"
            media = "text/event-stream"
        fields = f"content-type: {media}\r\ncontent-length: {len(body)}\r\n"
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode() + body)


provider = fixture_of(Echo)


@pytest.fixture
def start(provider, begin):
    def start(semantic="", cache="", shards=1, mode="semantic"):
        config = CONFIG.format(provider=provider.address, cache=cache, semantic=semantic, shards=shards, mode=mode)
        if "audit" in semantic:
            config = config.replace('audit = "off"\n', "")
        return begin(config, KEYS)

    return start


@pytest.fixture
def gateway(start):
    return start()


def ask_at_once(gateway, text, key="KEY_A", headers=None, messages=None, stream=False, model="p/m", **more):
    """What was answered, and the answer's head."""
    client = openai.OpenAI(base_url=gateway.url, api_key=KEYS[key], max_retries=0, timeout=20)
    messages = messages or [{"role": "user", "content": text}]
    with client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=messages, extra_headers=headers or {}, stream=stream, **more
        )
        if not stream:
            return raw.parse().choices[0].message.content, raw.headers
        chunks = list(raw.parse())
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), raw.headers


ask = ask_at_once


def use(answered) -> str:
    return answered[1]["x-shardgate-cache"]


def row(gateway, name, **labels) -> int:
    """One row of the cache's metrics."""
    wanted = ",".join(f'{label}="{value}"' for label, value in labels.items())
    start = f"shardgate_cache_{name}{{{wanted}}} " if labels else f"shardgate_cache_{name} "
    rows = [line for line in gateway.get_admin("/metrics").splitlines() if line.startswith(start)]
    assert len(rows) == 1, (name, labels)
    return int(rows[0].rsplit(" ", 1)[1])


def looked(gateway, result) -> int:
    return row(gateway, "requests_total", tier="semantic", result=result)


@pytest.mark.parametrize(
    "one, other",
    [
        (FRANCE, REWORDED),
        ("How do I boil an egg?", "Please, how do I boil an egg? Thanks!"),
        ("Convert 5 km to miles", "convert five km to miles"),
    ],
)
def test_a_rewording_gets_the_stored_answer(gateway, provider, one, other):
    """Goal: the provider is asked once, and the client is told that, how sure it is, and how old the answer is."""
    first = ask(gateway, one)
    assert use(first) == "miss" and "x-shardgate-cache-similarity" not in first[1]
    text, head = ask(gateway, other)
    assert (text, head["x-shardgate-cache"]) == (first[0], "semantic-hit")
    similarity = head["x-shardgate-cache-similarity"]
    assert 0.9 <= float(similarity) <= 1 and len(similarity) == 5
    assert 0 <= int(head["age"]) < 60 and head["x-shardgate-attempts"] == "0"
    assert head["x-shardgate-cache-key"] == first[1]["x-shardgate-cache-key"]  # what can be purged
    assert use(ask(gateway, one)) == "hit"
    assert provider.asked == [one]
    assert (looked(gateway, "hit"), looked(gateway, "miss")) == (1, 1)
    line = gateway.receipt(head["x-request-id"])
    assert line["cache"] == "semantic-hit"
    gateway.purge("?key=" + head["x-shardgate-cache-key"])
    assert use(ask(gateway, other)) == "miss"


def test_an_answer_that_is_renewed_is_still_found_by_meaning(gateway, provider):
    """Goal: who declines the stored answer to a request that is known byte for byte renews it for rewordings, too."""
    assert [use(ask(gateway, FRANCE)) for _ in range(2)] == ["miss", "hit"]
    renewed = ask(gateway, FRANCE, headers={"x-shardgate-cache": "no-cache"})
    assert use(renewed) == "miss"
    text, head = ask(gateway, REWORDED)
    assert (text, head["x-shardgate-cache"]) == (renewed[0], "semantic-hit")


@pytest.mark.parametrize(
    "one, other",
    [
        (FRANCE, "What is the capital of Germany?"),
        ("Who won the election in 2023?", "Who won the election in 2024?"),
        ("Which foods are safe in pregnancy?", "Which foods are not safe in pregnancy?"),
        ("How many days are in 3 weeks?", "How many days are in 4 weeks?"),
        ("How far is 5 km?", "How far is 5 miles?"),
        ("What does get_user do?", "What does get_users do?"),
        ("Translate cat to French", "Translate cat to Spanish"),
    ],
)
def test_what_looks_alike_is_asked_for(gateway, provider, one, other):
    """Goal: another country, year, number, unit, name or language, or a `not`, is another question."""
    assert use(ask(gateway, one)) == "miss"
    assert use(ask(gateway, other)) == "miss"
    assert use(ask(gateway, one)) == "hit"
    assert provider.asked == [one, other]


def test_only_the_last_text_may_differ(gateway, provider):
    """Goal: another tenant, model, temperature, system prompt, limit, format, namespace or turn before is asked for."""
    ask(gateway, FRANCE)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    last = [{"role": "user", "content": REWORDED}]
    system = [{"role": "system", "content": "Answer in German."}]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    others = [
        {"key": "KEY_B"},
        {"model": "p/n"},
        {"temperature": 0.5},
        {"max_tokens": 9},
        {"seed": 1},
        {"response_format": {"type": "json_object"}},
        {"tools": [tool]},
        {"messages": system + last},
        {"messages": turns + last},
        {"extra_body": {"cache": {"namespace": "b"}}},
    ]
    for more in others:
        assert use(ask(gateway, REWORDED, **more)) == "miss", more
    assert use(ask(gateway, REWORDED)) == "semantic-hit"
    assert len(provider.asked) == 1 + len(others)
    # Each of them is a partition of its own, and works.
    assert use(ask(gateway, FRANCE, messages=system + [{"role": "user", "content": FRANCE}])) == "semantic-hit"


def test_tools_images_and_the_present_are_left_alone(gateway, provider):
    """Goal: no answer by meaning where a tool was called, an image is shown, or the question is about now."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tooled = [
        {"role": "user", "content": "Look it up."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}

    def shown(text):
        return {"messages": [{"role": "user", "content": [image, {"type": "text", "text": text}]}]}

    def called(text):
        return {"messages": tooled + [{"role": "user", "content": text}]}

    for reason, one, other in [
        ("tool_turn", called(FRANCE), called(REWORDED)),
        ("media", shown(FRANCE), shown(REWORDED)),
        ("several", {"n": 2}, {"n": 2}),
        ("text", {"text": "What is the news today?"}, {"text": "what is the news today"}),
    ]:
        before = row(gateway, "bypass_total", reason=reason)
        for text, more in ((FRANCE, one), (REWORDED, other)):
            assert use(ask(gateway, **{"text": text, **more})) == "miss", reason
        assert row(gateway, "bypass_total", reason=reason) == before + 2
    assert looked(gateway, "hit") == 0


def test_a_temperature_limit_of_its_own(start, provider):
    """Goal: above `cache.semantic.temperature_max` the same request is found, and no other."""
    gateway = start("temperature_max = 0.5")
    for temperature, want in ((0.7, "miss"), (0.5, "semantic-hit")):
        ask(gateway, FRANCE, temperature=temperature)
        assert use(ask(gateway, REWORDED, temperature=temperature)) == want
    assert use(ask(gateway, FRANCE, temperature=0.7)) == "hit"


def test_shadow_serves_nothing(start, provider):
    """Goal: with `shadow = true` what would have been served is counted, and asked for."""
    gateway = start("shadow = true")
    ask(gateway, FRANCE)
    assert use(ask(gateway, REWORDED)) == "miss"
    assert provider.asked == [FRANCE, REWORDED]
    assert (looked(gateway, "shadow"), looked(gateway, "hit")) == (1, 0)


def test_what_a_request_declines(gateway, provider):
    """Goal: no-store, no-cache and max-age go for answers by meaning, too; only-if-cached gets one."""
    ask(gateway, "How do I boil an egg?", headers={"x-shardgate-cache": "no-store"})
    assert use(ask(gateway, "how do I boil an egg")) == "miss"
    ask(gateway, FRANCE)
    with pytest.raises(openai.InternalServerError) as refused:
        ask(gateway, "What is the capital of Spain?", headers={"cache-control": "only-if-cached"})
    assert refused.value.code == "not_cached"
    assert use(ask(gateway, REWORDED, headers={"cache-control": "only-if-cached"})) == "semantic-hit"
    time.sleep(1.1)
    assert use(ask(gateway, REWORDED, headers={"cache-control": "max-age=0"})) == "miss"
    assert use(ask(gateway, "please, what is the capital of france?", headers={"cache-control": "no-cache"})) == "miss"


def test_an_entry_ends(gateway, provider):
    """Goal: what is over is not found by meaning."""
    ask(gateway, FRANCE, headers={"x-shardgate-cache": "ttl=1s"})
    assert use(ask(gateway, REWORDED)) == "semantic-hit"
    time.sleep(1.3)
    assert use(ask(gateway, REWORDED)) == "miss"


def test_streams_and_the_other_sdk(gateway, provider):
    """Goal: a stored answer by meaning comes in either shape and dialect."""
    more = {"max_tokens": 50}
    first, head = ask(gateway, FRANCE, stream=True, **more)
    assert head["x-shardgate-cache"] == "miss"
    for stream in (True, False):
        text, head = ask(gateway, REWORDED, stream=stream, **more)
        assert (text, head["x-shardgate-cache"]) == (first, "semantic-hit")
    with anthropic.Anthropic(base_url=f"http://{gateway.address}", api_key=KEYS["KEY_A"], max_retries=0) as client:
        asked = {"model": "p/m", "messages": [{"role": "user", "content": REWORDED}], **more}
        raw = client.messages.with_raw_response.create(**asked)
        assert raw.parse().content[0].text == first
        assert raw.headers["x-shardgate-cache"] == "semantic-hit"
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_message().content[0].text == first
            assert 0.9 <= float(stream.response.headers["x-shardgate-cache-similarity"]) <= 1
    assert provider.asked == [FRANCE]


def test_every_shard_finds_it(start, provider):
    """Goal: an entry is found by meaning on all shards. Method: connections until both have answered."""
    gateway = start(shards=2)
    ask(gateway, FRANCE)
    time.sleep(0.2)
    assert {use(ask(gateway, REWORDED)) for _ in range(16)} == {"semantic-hit"}
    assert provider.asked == [FRANCE]


@pytest.mark.parametrize("shards", [1, 2])
def test_audits_find_wrong_answers(start, provider, shards):
    """Goal: hits that are audited are asked for upstream; where the answer is another one, the entry is not found by
    meaning any more, and with three of them nothing is for that tenant, which the log says once. Others go on. The
    same, with the same limit, on a box of two shards, whichever of them a client comes to."""
    gateway = start('audit = "100%"', shards=shards)

    def ask(*asked, **more):
        """Asks; then shards have time to tell each other."""
        answered = ask_at_once(*asked, **more)
        time.sleep(0.15 * (shards - 1))
        return answered

    questions = ["How do I boil an egg?", "What is the tallest mountain?", "Who wrote Hamlet?", "Why is the sky blue?"]
    provider.says = {FRANCE: "The capital of France is Paris.", REWORDED: "Paris is the capital of France."}
    ask(gateway, FRANCE)
    text, head = ask(gateway, REWORDED)
    assert (text, head["x-shardgate-cache"]) == (provider.says[REWORDED], "miss")
    assert row(gateway, "audits_total", result="same") == 1
    for at, question in enumerate(questions):
        again = question.lower().rstrip("?")
        provider.says |= {question: f"It is {at} of them.", again: "Nobody knows anything about that, sadly: 77."}
        ask(gateway, question)
        assert ask(gateway, again)[0] == provider.says[again]
    assert row(gateway, "audits_total", result="other") == 3
    assert row(gateway, "evictions_total", reason="demoted") == 3
    assert row(gateway, "tenants_off_total") == 1
    assert row(gateway, "bypass_total", reason="audit") == 2  # both of the last question's
    gateway.at_rest()
    said = [line for line in gateway.lines if "answers by meaning were wrong" in line]
    assert len(said) == 1 and "key team-a: 3 of its last 4 audited" in said[0]
    for number in range(8):  # on whichever shard
        ask_at_once(gateway, f"{questions[3]} I have asked {number} times.")
    assert row(gateway, "bypass_total", reason="audit") == 2 + 8
    assert use(ask(gateway, questions[0])) == "hit"  # by its own key it is still right
    before = looked(gateway, "shadow")
    ask(gateway, FRANCE, key="KEY_B")
    ask(gateway, REWORDED, key="KEY_B")
    assert looked(gateway, "shadow") == before + 1


def test_exact_mode_finds_the_same_alone(start, provider):
    """Goal: nothing is looked for by meaning in mode "exact"."""
    gateway = start(cache="", mode="exact")
    ask(gateway, FRANCE)
    assert use(ask(gateway, REWORDED)) == "miss"
    assert [looked(gateway, result) for result in ("hit", "miss", "bypass")] == [0, 0, 0]
