"""Which exception of the official SDK each failure becomes, and what it carries."""

import time

import openai
import pytest

from processes import KEY, NARROW_KEY

ASK = [{"role": "user", "content": "Say something."}]


def ask(sdk, model="chat", **more):
    return sdk.chat.completions.create(model=model, messages=ASK, **more)


def refused(kind, sdk, model="chat", **more):
    with pytest.raises(kind) as caught:
        ask(sdk, model, **more)
    return caught.value


def other_client(gateway, key, **more):
    return openai.OpenAI(base_url=gateway.url, api_key=key, max_retries=0, timeout=20, **more)


@pytest.mark.parametrize("key", ["sk-wrong", KEY[:-1], KEY + "x", KEY.upper(), "x"])
def test_a_wrong_key_is_401(gateway, key):
    with other_client(gateway, key) as sdk:
        error = refused(openai.AuthenticationError, sdk)
    assert error.status_code == 401 and error.code == "invalid_api_key"
    assert error.response.headers["www-authenticate"] == "Bearer"
    assert key not in error.response.text or len(key) == 1


def test_a_model_that_the_key_may_not_use_is_403(gateway):
    with other_client(gateway, NARROW_KEY) as sdk:
        assert ask(sdk).choices
        error = refused(openai.PermissionDeniedError, sdk, "fallback")
    assert error.code == "model_not_allowed"


def test_an_unknown_model_is_404(client):
    assert refused(openai.NotFoundError, client, "nobody").code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize("model", ["", "a b", "a\r\nx: y", "../admin", "m" * 257, "caf\u00e9"])
def test_a_model_that_is_no_name_is_400(client, model):
    assert refused(openai.BadRequestError, client, model).code == "invalid_model"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"chat","messages":[', "invalid_json"),
        (b'{"model":"chat","messages":[{"role":"user","content":"\xff"}]}', "invalid_json"),
        (b'{"model":"chat","mod\\u0065l":"late","messages":[]}', "duplicate_key"),
        (b'{"messages":[]}', "missing_model"),
        (b'{"model":"chat","messages":[],"stream":"yes"}', "invalid_field"),
        (b'{"model":"chat","messages":' + b"[" * 5000 + b"]" * 5000 + b"}", "nesting_too_deep"),
    ],
)
def test_a_broken_body_is_400(client, body, code):
    """Method: the SDK sends bytes as they are."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.post(
            "/chat/completions", cast_to=object, content=body, options={"headers": {"content-type": "application/json"}}
        )
    assert caught.value.code == code


def test_a_rate_limit_passes_with_its_headers(client, gateway):
    error = refused(openai.RateLimitError, client, "p/sim/status-429/retry-after-7s")
    headers = error.response.headers
    assert error.status_code == 429
    assert headers["retry-after"] == "7"
    limits = {name: value for name, value in headers.items() if name.startswith("x-ratelimit-")}
    assert {"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"} <= set(limits)
    assert error.code, error.body
    line = gateway.receipt(headers["x-request-id"])
    assert (line["status"], line["end"], line["attempts"]) == (429, "error", 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_only_provider_passes(client, status, kind, stream):
    assert refused(kind, client, f"p/sim/status-{status}", stream=stream).status_code == status


def test_a_providers_401_is_the_gateways_fault_not_the_callers(client):
    """Goal: a client must not throw its own key away because the gateway's has expired."""
    error = refused(openai.InternalServerError, client, "p/sim/status-401")
    assert (error.status_code, error.code) == (502, "upstream_refused_key")


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("unreachable", 502, "upstream_connect_failed"),
        ("p/sim/bad-head", 502, "upstream_malformed"),
        ("p/sim/cut", 502, "upstream_closed"),
        ("p/sim/reset", 502, "upstream_closed"),
        ("p/sim/malformed", 502, "upstream_garbled"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_cannot_be_used_is_502_or_504(client, model, status, code, stream):
    """Goal: also a stream fails with a status, as long as nothing was passed on."""
    if (model, stream) == ("p/sim/malformed", True):
        model = "p/sim/malformed-0"
    error = refused(openai.InternalServerError, client, model, stream=stream)
    assert error.status_code == status
    assert error.code == code
    assert error.response.headers["x-should-retry"] == "false"


def test_the_last_refusal_passes_when_all_targets_refuse(client):
    """Goal: the SDK is told not to try again what the gateway has tried."""
    error = refused(openai.InternalServerError, client, "all-fail")
    assert error.status_code == 500
    assert error.response.headers["x-shardgate-attempts"] == "2"
    assert error.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_page_of_a_cdn_becomes_json(client, stream):
    error = refused(openai.InternalServerError, client, "p/sim/html-502", stream=stream)
    assert error.status_code == 502
    assert isinstance(error.body, dict) and error.body["message"]
    assert "<" not in error.response.text


def test_a_plain_answer_keeps_to_the_deadline(client):
    began = time.monotonic()
    error = refused(openai.InternalServerError, client, "endless", user="sim/ttft-5s")
    assert 0.69 < time.monotonic() - began < 3
    assert (error.status_code, error.code) == (504, "deadline_exceeded")


def test_a_stream_keeps_to_the_first_token_timeout_and_a_plain_answer_need_not(client):
    """Goal: a plain answer comes when its last token is made, so only the deadline bounds it.
    Method: a provider that takes 1 s, where the first token may take 300 ms."""
    began = time.monotonic()
    error = refused(openai.InternalServerError, client, "late", stream=True)
    assert 0.29 < time.monotonic() - began < 0.95
    assert (error.status_code, error.code) == (504, "upstream_first_token_timeout")
    assert error.response.headers["x-should-retry"] == "false"
    assert ask(client, "late").choices


@pytest.mark.parametrize(
    ("model", "words", "code"),
    [
        ("p/sim/events-9/cut-3", 3, "upstream_cut"),
        ("p/sim/events-9/reset-3", 3, "upstream_cut"),
        ("p/sim/events-9/bad-chunk-3", 3, "upstream_cut"),
        ("p/sim/rate-50/events-9/bad-chunk-3", 3, "upstream_cut"),
        ("p/sim/events-9/malformed-3", 3, "upstream_garbled"),
        ("p/sim/events-9/error-event-3", 3, None),
        ("p/sim/events-9/cut-9", 9, "upstream_cut"),
        ("silent", 3, "upstream_idle_timeout"),
        ("endless", None, "deadline_exceeded"),
    ],
)
def test_a_stream_that_breaks_never_looks_complete(client, gateway, model, words, code):
    """Goal: the SDK raises, after what did arrive; [DONE] is not sent, in no case both."""
    got, finish = [], None
    with pytest.raises(openai.APIError) as caught:
        with ask(client, model, stream=True) as stream:
            identity = stream.response.headers["x-request-id"]
            for chunk in stream:
                got += [chunk.choices[0].delta.content] if chunk.choices[0].delta.content else []
                finish = finish or chunk.choices[0].finish_reason
    assert finish is None
    assert words is None or len(got) == words
    assert code is None or caught.value.code == code, caught.value.body
    line = gateway.receipt(identity)
    assert line["end"] == "error" and line["fault"] != "-"


@pytest.mark.parametrize("model", ["p/sim/events-9/cut-3", "p/sim/events-9/malformed-3", "silent"])
def test_a_broken_stream_ends_with_an_error_event_and_without_done(client, model):
    """Method: the bytes themselves, past the SDK's reading of them."""
    with client.chat.completions.with_streaming_response.create(model=model, messages=ASK, stream=True) as raw:
        text = "".join(raw.iter_text())
    assert "[DONE]" not in text
    assert '"finish_reason":"' not in text.replace(" ", "")
    last = text.rstrip().split("\n\n")[-1]
    assert '"error"' in last, last


def test_the_sdks_own_timeout_ends_the_exchange_everywhere(client, provider, gateway):
    """The lines of two shards need not come in the order of their exchanges, so all new ones count."""
    gateway.at_rest()
    lines = len(gateway.receipts())
    before = provider.at_rest()["cancelled"]
    with pytest.raises(openai.APITimeoutError):
        ask(client, "p/sim/ttft-4s", timeout=0.4)
    provider.wait_until(lambda stats: stats["cancelled"] == before + 1)
    gateway.at_rest()
    assert [line["end"] for line in gateway.receipts()[lines:]] == ["cancelled"]


def test_the_sdks_own_retries_see_a_working_gateway(gateway, provider):
    """Goal: retries of the SDK and of the gateway do not multiply: a spent 502 is asked once."""
    before = provider.at_rest()["requests"]
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=2, timeout=20) as sdk:
        refused(openai.InternalServerError, sdk, "p/sim/bad-head")
    assert provider.stats()["requests"] == before + 1
