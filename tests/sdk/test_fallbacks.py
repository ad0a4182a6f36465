"""Fallbacks to other models: after which failures, for which prompts, and as a request wishes; through the official
SDKs, plain and streamed, where the provider speaks the client's dialect and where it does not."""

import json
import re
import time
import urllib.parse

import anthropic
import openai
import pytest

from listening import Listening
from processes import Gateway, fixture_of

CONFIG = """
[breaker]
mode = "off"

[retry]
budget = "off"
backoff = {{ first = "1ms", max = "1ms" }}

[[keys]]
name = "all"
secret = {{ env = "TEST_ALL" }}

[[keys]]
name = "narrow"
secret = {{ env = "TEST_NARROW" }}
models = ["bad-openai", "good"]

[providers.good]
dialect = "openai"
base_url = "http://{provider}/v1"
"""

MODELS = """
[providers.{dialect}]
dialect = "{dialect}"
base_url = "http://{provider}/v1{beta}"

[models.bad-{dialect}]
targets = [{{ provider = "{dialect}", model = "bad", abilities = {{ context = 1000 }} }}]
fallbacks = ["small", "good"]

[models.strict-{dialect}]
targets = [{{ provider = "{dialect}", model = "bad", abilities = {{ context = 1000 }} }}]
fallbacks = ["good"]
fallback_on = ["timeout"]

[models.policy-{dialect}]
strategy = "priority"
targets = [{{ provider = "{dialect}", model = "bad" }}, {{ provider = "{dialect}", model = "worse" }}]
fallbacks = ["good"]
fallback_on = ["content_policy"]

[models.wide-{dialect}]
strategy = "priority"
targets = [{{ provider = "{dialect}", model = "bad", abilities = {{ context = 1000 }} }}, {{ provider = "good", model = "good", abilities = {{ context = 2000 }} }}]
fallback_on = []

[models.lonely-{dialect}]
targets = [{{ provider = "{dialect}", model = "bad" }}]
"""

REST = """
[models.small]
targets = [{ provider = "good", model = "small", abilities = { context = 1000 } }]

[models.good]
targets = [{ provider = "good", model = "good" }]

[models.lonely-slow]
targets = [{ provider = "good", model = "slow" }]
"""

DIALECTS = ("openai", "anthropic", "gemini")
KEYS = {"TEST_ALL": "sk-all", "TEST_NARROW": "sk-narrow"}
ASK = [{"role": "user", "content": "Hello"}]
IN_PATH = re.compile(r"/models/([^/:?]+):")

LONG = "This model's maximum context length is 1000 tokens. However, your messages resulted in 2000 tokens."
WORDS = {
    "long": {
        "openai": {"error": {"message": LONG, "type": "invalid_request_error", "code": "context_length_exceeded"}},
        "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 2000 tokens > 1000 maximum"}},
        "gemini": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (2000) exceeds the maximum number of tokens allowed (1000)."}},
    },
    "policy": {
        "openai": {"error": {"message": "The response was filtered", "type": None, "code": "content_filter"}},
    },
    "invalid": {
        "openai": {"error": {"message": "temperature is wrong", "type": "invalid_request_error", "code": None}},
        "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "temperature is wrong"}},
        "gemini": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "temperature is wrong"}},
    },
    "limit": {
        "openai": {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}},
        "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
        "gemini": {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}},
    },
    "failed": {
        "openai": {"error": {"message": "boom", "type": "server_error"}},
        "anthropic": {"type": "error", "error": {"type": "api_error", "message": "boom"}},
        "gemini": {"error": {"code": 500, "status": "INTERNAL", "message": "boom"}},
    },
}
BLOCKED = {
    "openai": [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bad", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
               {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bad", "choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}, "[DONE]"],
    "anthropic": [{"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "bad", "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 0}}},
                  {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_sequence": None}, "usage": {"output_tokens": 1}}, {"type": "message_stop"}],
    "gemini": [{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}],
}
BLOCKED_WHOLE = {
    "openai": {"id": "c", "object": "chat.completion", "created": 1, "model": "bad", "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]},
    "anthropic": {"id": "m", "type": "message", "role": "assistant", "model": "bad", "content": [], "stop_reason": "refusal", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}},
    "gemini": BLOCKED["gemini"][0],
}
GOOD = {"id": "c", "object": "chat.completion", "created": 1, "model": "up", "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]}


def events(dialect, datas) -> bytes:
    text = ""
    for data in datas:
        name = f"event: {data['type']}\n" if dialect == "anthropic" else ""
        text += f"{name}data: {data if data == '[DONE]' else json.dumps(data)}\n\n"
    return text.encode()


def good_events():
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up"}
    deltas = [({"role": "assistant"}, None), ({"content": "fi"}, None), ({"content": "ne"}, None), ({}, "stop")]
    return [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas] + ["[DONE]"]


class Provider(Listening):
    """Model `good` answers; `bad` fails as `self.how` says, `worse` and `small` fail always."""

    def __init__(self):
        self.asked, self.bodies, self.heads, self.how = [], [], [], ("long", "status")
        super().__init__()

    def begin(self, *how):
        self.how = how
        self.asked.clear(), self.bodies.clear(), self.heads.clear()

    def _answer(self, handler):
        raw = handler.rfile.read(int(handler.headers["content-length"]))
        body = json.loads(raw)
        found = IN_PATH.search(handler.path)
        model = urllib.parse.unquote(found[1]) if found else body["model"]
        dialect = "gemini" if found else "anthropic" if handler.path.endswith("/messages") else "openai"
        stream = "stream" in handler.path or body.get("stream", False)
        self.asked.append(model), self.bodies.append(raw), self.heads.append(dict(handler.headers))
        what, where = self.how
        if model in ("worse", "small"):
            what, where = "failed", "status"
        if model == "slow":
            time.sleep(1.5)
        status, kind, said = 200, "application/json", json.dumps(GOOD).encode()
        if model in ("good", "slow"):
            if stream:
                kind, said = "text/event-stream", events("openai", good_events())
        elif what == "blocked":
            said = json.dumps(BLOCKED_WHOLE[dialect]).encode()
            if stream:
                kind, said = "text/event-stream", events(dialect, BLOCKED[dialect])
        else:
            said = json.dumps(WORDS[what][dialect]).encode()
            statuses = {"long": 400, "policy": 400, "invalid": 400, "limit": 429, "failed": 500}
            status = statuses[what] if where == "status" else 200
            if status == 200 and stream:
                before = BLOCKED[dialect][:1] if dialect != "gemini" else []
                kind, said = "text/event-stream", events(dialect, [*before, WORDS[what][dialect]])
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)


provider = fixture_of(Provider, "module")


@pytest.fixture(scope="module", params=["auto", "poll"])
def gateway(request, provider, tmp_path_factory):
    config = CONFIG.format(provider=provider.address) + REST
    for dialect in DIALECTS:
        beta = "beta" if dialect == "gemini" else ""
        config += MODELS.format(dialect=dialect, provider=provider.address, beta=beta)
    running = Gateway(tmp_path_factory.mktemp("gateway"), config, KEYS, request.param)
    yield running
    assert running.total("panics_total") == 0 and running.total("exchanges_open") == 0
    running.stop()


def ask_openai(gateway, model, stream, key="sk-all", headers=None, body=None):
    """Text, end and headers of an answer."""
    with openai.OpenAI(base_url=gateway.url, api_key=key, max_retries=0, timeout=20) as sdk:
        create = sdk.chat.completions.with_raw_response.create
        answer = create(model=model, messages=ASK, stream=stream, extra_headers=headers, extra_body=body)
        parsed = answer.parse()
        if not stream:
            return parsed.choices[0].message.content, parsed.choices[0].finish_reason, answer.headers
        chunks = [chunk.choices[0] for chunk in parsed if chunk.choices]
        text = "".join(choice.delta.content or "" for choice in chunks)
        return text, chunks[-1].finish_reason, answer.headers


def ask_anthropic(gateway, model, stream, key="sk-all", headers=None):
    with anthropic.Anthropic(base_url=f"http://{gateway.address}", api_key=key, max_retries=0, timeout=20) as sdk:
        create = sdk.messages.with_raw_response.create
        answer = create(model=model, max_tokens=50, messages=ASK, stream=stream, extra_headers=headers)
        parsed = answer.parse()
        if not stream:
            return "".join(block.text for block in parsed.content), parsed.stop_reason, answer.headers
        text, end = "", None
        for event in parsed:
            if event.type == "content_block_delta":
                text += event.delta.text
            if event.type == "message_delta":
                end = event.delta.stop_reason
        return text, end, answer.headers


FRONTS = {"openai": (ask_openai, openai.APIStatusError), "anthropic": (ask_anthropic, anthropic.APIStatusError)}
every = [
    pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"]),
    pytest.mark.parametrize("front", FRONTS),
    pytest.mark.parametrize("dialect", DIALECTS),
]


def everywhere(test):
    for mark in every:
        test = mark(test)
    return test


@everywhere
@pytest.mark.parametrize("where", ["status", "inside"])
def test_a_prompt_that_is_too_long_goes_to_a_larger_model(gateway, provider, front, dialect, stream, where):
    """Goal: whatever the status, the next model is asked unless it is known to take no more (`small`)."""
    provider.begin("long", where)
    text, _, headers = FRONTS[front][0](gateway, f"bad-{dialect}", stream)
    assert (text, provider.asked) == ("fine", ["bad", "good"])
    assert (headers["x-shardgate-fallbacks"], headers["x-shardgate-model"]) == ("good", "good")
    assert (headers["x-shardgate-target"], headers["x-shardgate-attempts"]) == ("good", "2")
    metrics = gateway.get_admin("/metrics")
    assert f'from="bad-{dialect}",to="good",reason="' in metrics


@everywhere
@pytest.mark.parametrize("where", ["status", "inside"])
def test_a_larger_target_of_the_same_model_takes_it(gateway, provider, front, dialect, stream, where):
    provider.begin("long", where)
    text, _, headers = FRONTS[front][0](gateway, f"wide-{dialect}", stream)
    assert (text, provider.asked) == ("fine", ["bad", "good"])
    assert "x-shardgate-fallbacks" not in headers


@everywhere
@pytest.mark.parametrize("where", ["status", "inside"])
@pytest.mark.parametrize("model", ["strict", "lonely"])
def test_when_nothing_can_take_it_the_providers_words_are_the_clients(
    gateway, provider, front, dialect, stream, where, model
):
    """Goal: as the operator lists no such fallback, or there is none: a 400 in the client's dialect."""
    provider.begin("long", where)
    with pytest.raises(FRONTS[front][1]) as caught:
        FRONTS[front][0](gateway, f"{model}-{dialect}", stream)
    assert provider.asked == ["bad"] and caught.value.status_code == 400
    assert "2000" in str(caught.value)


@everywhere
@pytest.mark.parametrize("where", ["status", "inside"])
def test_the_callers_mistake_is_asked_of_nobody_else(gateway, provider, front, dialect, stream, where):
    provider.begin("invalid", where)
    with pytest.raises(FRONTS[front][1]) as caught:
        FRONTS[front][0](gateway, f"bad-{dialect}", stream)
    assert provider.asked == ["bad"] and caught.value.status_code == 400
    assert "temperature is wrong" in str(caught.value)
    assert f'shardgate_breaker_trips_total{{target="{dialect}/bad"}} 0' in gateway.get_admin("/metrics")


@everywhere
@pytest.mark.parametrize("what", ["limit", "failed"])
@pytest.mark.parametrize("where", ["status", "inside"])
def test_failures_lead_to_the_fallbacks_that_are_listed(gateway, provider, front, dialect, stream, where, what):
    """Goal: limits and failures go on to all fallbacks, but not when only timeouts are listed."""
    provider.begin(what, where)
    ask, error = FRONTS[front]
    assert ask(gateway, f"bad-{dialect}", stream)[0] == "fine"
    assert provider.asked == ["bad", "small", "good"]
    provider.begin(what, where)
    with pytest.raises(error) as caught:
        ask(gateway, f"strict-{dialect}", stream)
    assert set(provider.asked) == {"bad"}  # again, but nobody else
    assert caught.value.status_code in ((429,) if what == "limit" else (500, 502))


@everywhere
def test_a_block_for_content_goes_to_another_model_if_the_operator_says_so(gateway, provider, front, dialect, stream):
    """Goal: a stop for content, before any, is as good as an error; not another target of the same model, and
    without the operator's word, or without another model, it is the answer."""
    ask, _ = FRONTS[front]
    provider.begin("blocked", None)
    text, _, headers = ask(gateway, f"policy-{dialect}", stream)
    assert (text, provider.asked) == ("fine", ["bad", "good"])
    assert headers["x-shardgate-fallbacks"] == "good"
    provider.begin("blocked", None)
    text, end, _ = ask(gateway, f"bad-{dialect}", stream)
    assert (text, end, provider.asked) == ("", "content_filter" if front == "openai" else "refusal", ["bad"])
    provider.begin("blocked", None)
    none = {"x-shardgate-fallbacks": "none"}
    text, end, _ = ask(gateway, f"policy-{dialect}", stream, headers=none)
    assert (text, end, provider.asked) == ("", "content_filter" if front == "openai" else "refusal", ["bad"])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("where", ["status", "inside"])
def test_a_content_filters_error_goes_to_another_model_if_the_operator_says_so(gateway, provider, front, stream, where):
    ask, error = FRONTS[front]
    provider.begin("policy", where)
    assert ask(gateway, "policy-openai", stream)[0] == "fine"
    assert provider.asked == ["bad", "good"]
    provider.begin("policy", where)
    with pytest.raises(error) as caught:
        ask(gateway, "bad-openai", stream)
    assert provider.asked == ["bad"] and caught.value.status_code == 400


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_names_its_own_fallbacks(gateway, provider, front, dialect, stream):
    ask, error = FRONTS[front]
    for listed, asked in [
        ("good", ["bad", "good"]),
        ("small, good/good", ["bad", "small", "good"]),
        ("good/direct, good", ["bad", "direct", "good"]),
    ]:
        provider.begin("failed", "status")
        text, _, headers = ask(gateway, f"lonely-{dialect}", stream, headers={"X-Shardgate-Fallbacks": listed})
        assert (text, provider.asked) == ("fine", asked)
        assert not any(name.lower().startswith("x-shardgate") for head in provider.heads for name in head)
        assert headers["x-shardgate-fallbacks"] == ("good/*" if listed.endswith("/good") else "good")
    provider.begin("failed", "status")
    with pytest.raises(error):
        ask(gateway, f"bad-{dialect}", stream, headers={"x-shardgate-fallbacks": "none"})
    assert set(provider.asked) == {"bad"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_body_names_fallbacks_as_litellm_has_it(gateway, provider, dialect, stream):
    """Goal: the field is the gateway's: no provider sees it, and everything else passes as it came."""
    for listed, asked in [
        (["good"], ["bad", "good"]),
        ([{"model": "small", "messages": []}, "good"], ["bad", "small", "good"]),
        (None, ["bad"]),
        ([], ["bad"]),
    ]:
        provider.begin("failed", "status")
        body = {"fallbacks": listed, "user": "u"}
        if asked == ["bad"]:
            with pytest.raises(openai.APIStatusError):
                ask_openai(gateway, f"lonely-{dialect}", stream, body=body)
        else:
            assert ask_openai(gateway, f"lonely-{dialect}", stream, body=body)[0] == "fine"
        assert list(dict.fromkeys(provider.asked)) == asked
        assert not any(b"fallbacks" in raw for raw in provider.bodies)
        if dialect == "openai":
            assert all(json.loads(raw)["user"] == "u" for raw in provider.bodies)


@pytest.mark.parametrize(
    "listed, status, says",
    [
        ("nobody", 404, "nobody"),
        ("small", 403, "small"),
        ("good/other", 403, "good/other"),
        ("good,,good", 400, "names of models"),
        ("", 400, "names of models"),
        (",".join(["good"] * 9), 400, "at most 8"),
    ],
)
@pytest.mark.parametrize("front", FRONTS)
def test_names_that_the_key_may_not_use_are_refused(gateway, provider, front, listed, status, says):
    ask, error = FRONTS[front]
    provider.begin("failed", "status")
    headers = {"x-shardgate-fallbacks": listed}
    with pytest.raises(error) as caught:
        ask(gateway, "bad-openai", False, key="sk-narrow", headers=headers)
    assert (caught.value.status_code, provider.asked) == (status, [])
    assert says in str(caught.value) and "x-shardgate-fallbacks" in str(caught.value)


@pytest.mark.parametrize(
    "body, status",
    [({"fallbacks": "good"}, 400), ({"fallbacks": [7]}, 400), ({"fallbacks": ["nobody"]}, 404), ({"fallbacks": ["small"]}, 403)],
)
def test_a_bad_list_in_the_body_is_refused(gateway, provider, body, status):
    provider.begin("failed", "status")
    with pytest.raises(openai.APIStatusError) as caught:
        ask_openai(gateway, "bad-openai", False, key="sk-narrow", body=body)
    assert (caught.value.status_code, caught.value.param, provider.asked) == (status, "fallbacks", [])


@pytest.mark.parametrize(
    "headers, asked",
    [
        ({"x-shardgate-attempts": "1"}, ["bad"]),
        ({"x-shardgate-attempts": "2"}, ["bad", "small"]),
        ({"x-litellm-num-retries": "0"}, ["bad"]),
        ({"x-litellm-num-retries": "1", "x-shardgate-attempts": "9"}, ["bad", "small"]),
        ({"x-shardgate-attempts": "9"}, ["bad", "small", "good"]),
    ],
)
def test_a_request_wants_fewer_attempts(gateway, provider, headers, asked):
    provider.begin("failed", "status")
    if asked[-1] == "good":
        ask_openai(gateway, "bad-openai", False, headers=headers)
    else:
        with pytest.raises(openai.APIStatusError):
            ask_openai(gateway, "bad-openai", False, headers=headers)
    assert provider.asked == asked


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", ["x-shardgate-timeout", "x-litellm-timeout", "x-shardgate-first-token-timeout"])
def test_a_request_wants_less_time(gateway, provider, stream, name):
    """Goal: a provider that takes 1.5 s is given up after 0.2 s; the time to the first token is a stream's."""
    for value in ("0.2", "200ms"):
        provider.begin("failed", "status")
        if not stream and "first" in name:
            assert ask_openai(gateway, "lonely-slow", stream, headers={name: value})[0] == "fine"
            continue
        with pytest.raises(openai.APIStatusError) as caught:
            ask_openai(gateway, "lonely-slow", stream, headers={name: value})
        assert caught.value.status_code == 504
        code = "upstream_first_token_timeout" if "first" in name else "deadline_exceeded"
        assert caught.value.response.headers["x-shardgate-code"] == code
    assert ask_openai(gateway, "lonely-slow", stream, headers={name: "1h"})[0] == "fine"


def test_a_first_token_that_is_late_by_the_wish_leads_to_the_fallback(gateway, provider):
    provider.begin("failed", "status")
    headers = {"x-shardgate-first-token-timeout": "200ms", "x-shardgate-fallbacks": "good"}
    text, _, answered = ask_openai(gateway, "lonely-slow", True, headers=headers)
    assert (text, answered["x-shardgate-fallbacks"], provider.asked) == ("fine", "good", ["slow", "good"])


@pytest.mark.parametrize(
    "name, value, right",
    [
        ("x-shardgate-timeout", "soon", "such as 30"),
        ("x-litellm-timeout", "-1", "such as 30"),
        ("x-shardgate-first-token-timeout", "0", "such as 30"),
        ("x-shardgate-attempts", "0", "at least 1"),
        ("x-shardgate-attempts", "many", "whole number"),
        ("x-litellm-num-retries", "1.5", "whole number"),
    ],
)
@pytest.mark.parametrize("front", FRONTS)
def test_a_wish_that_is_none_is_refused_with_what_would_be_right(gateway, provider, front, name, value, right):
    provider.begin("failed", "status")
    with pytest.raises(FRONTS[front][1]) as caught:
        FRONTS[front][0](gateway, "good", False, headers={name: value})
    assert (caught.value.status_code, provider.asked) == (400, [])
    assert name in str(caught.value) and right in str(caught.value)
