"""Asking a target again: after a pause, within the attempts and the deadline, never what cannot pass."""

import json
import time

import openai
import pytest

from listening import Listening
from processes import Gateway, fixture_of

CONFIG = """shards = 1

[retry]
attempts_max = 3
wait_max = "3s"
backoff = {{ first = "20ms", max = "100ms" }}

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[models."*"]
timeouts = {{ total = "20s" }}
targets = [{{ provider = "p" }}]
"""
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Moody(Listening):
    """Answers the n-th request for a model by the n-th word of the model's name, the last one from there on."""

    def __init__(self):
        self.asked: dict[str, list[float]] = {}
        super().__init__()

    def _answer(self, asked):
        ask = json.loads(asked.rfile.read(int(asked.headers["content-length"])))
        times = self.asked.setdefault(ask["model"], [])
        times.append(time.monotonic())
        words = ask["model"].split("@")
        word = words[min(len(times), len(words)) - 1]
        if word == "reset":
            asked.close_connection = True
            return
        status, _, wait = word.partition(":")
        body = ANSWER if status == "200" else {"error": {"message": "no", "code": wait or "busy", "type": "t"}}
        data = json.dumps(body).encode()
        asked.send_response(int(status))
        if wait.isdigit():
            asked.send_header("retry-after", wait)
        asked.send_header("content-type", "application/json")
        asked.send_header("content-length", str(len(data)))
        asked.end_headers()
        asked.wfile.write(data)


provider = fixture_of(Moody)


@pytest.fixture(params=["auto", "poll"])
def gateway(request, provider, tmp_path):
    running = Gateway(tmp_path, CONFIG.format(provider=provider.address), sockets=request.param)
    yield running
    assert running.total("panics_total") == 0
    running.stop()


def ask(gateway, model):
    client = openai.OpenAI(base_url=gateway.url, api_key="k", max_retries=0)
    return client.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("first", ["500", "503", "529", "429", "408", "reset", "reset@503"])
def test_one_target_is_asked_again(gateway, first):
    """Goal: what may pass is tried again at the only target there is, and the client does not notice."""
    answer = ask(gateway, first + "@200")
    assert answer.parse().choices[0].message.content == "whole"
    assert answer.headers["x-shardgate-attempts"] == str(first.count("@") + 2)


@pytest.mark.parametrize(
    "model, status, attempts",
    [("503", 503, 3), ("500@529", 503, 3), ("429:insufficient_quota", 429, 1), ("401", 502, 1), ("403", 502, 1),
     ("404", 404, 1), ("400", 400, 1), ("501", 501, 1)],
)
def test_the_attempts_have_an_end(gateway, provider, model, status, attempts):
    """Goal: no more attempts than `attempts_max`; what cannot pass is not tried again; the SDK is told to leave it."""
    with pytest.raises(openai.APIStatusError) as raised:
        ask(gateway, model)
    assert raised.value.status_code in (status, 529)
    assert len(provider.asked[model]) == attempts
    if attempts > 1 or status == 502:
        assert raised.value.response.headers["x-should-retry"] == "false"


def test_a_provider_that_says_when_is_asked_then(gateway, provider):
    """Goal: Retry-After wins over the pause when it fits, and not before it."""
    answer = ask(gateway, "429:1@200")
    assert answer.parse().choices[0].message.content == "whole"
    first, second = provider.asked["429:1@200"]
    assert second - first > 0.95


def test_a_wait_that_is_too_long_is_the_clients(gateway, provider):
    """Goal: beyond `wait_max` the client gets the refusal at once, with the time to wait."""
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError) as raised:
        ask(gateway, "429:30")
    assert time.monotonic() - began < 2.5
    assert int(raised.value.response.headers["retry-after"]) in range(25, 40)
    assert len(provider.asked["429:30"]) == 1


def test_a_client_that_leaves_ends_the_waiting(gateway, provider):
    """Goal: nobody is asked for a client that has gone in the pause."""
    with pytest.raises(openai.APITimeoutError):
        client = openai.OpenAI(base_url=gateway.url, api_key="k", max_retries=0, timeout=0.3)
        client.chat.completions.create(model="429:2@200", messages=[{"role": "user", "content": "x"}])
    gateway.at_rest()
    time.sleep(2.2)
    assert len(provider.asked["429:2@200"]) == 1
