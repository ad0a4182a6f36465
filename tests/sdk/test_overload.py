"""More requests than a shard may have exchanges: they wait for room, for a short while; what runs is never touched."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import time

import anthropic
import openai
import pytest

from processes import Gateway, Provider, fixture_of

CONFIG = """shards = 1

[limits]
streams_max = 2
queue_max = {queue}

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[providers.q]
dialect = "anthropic"
base_url = "http://{provider}"
"""

ASK = [{"role": "user", "content": "Hello"}]
HELD = "p/sim/rate-40/events-120"
BRIEF = {"same": {"openai": "p/sim/events-3", "anthropic": "q/sim/events-3"}, "cross": {"openai": "q/sim/events-3", "anthropic": "p/sim/events-3"}}
TRIES = 10  # for what must happen within 100 ms, on a machine that may be busy


provider = fixture_of(Provider, "module")


@contextlib.contextmanager
def running(folder, provider, sockets, queue=8):
    gateway = Gateway(folder, CONFIG.format(provider=provider.address, queue=queue), sockets=sockets)
    try:
        yield gateway
        gateway.at_rest()
        assert gateway.total("panics_total") == 0
        assert sample(gateway, 'shardgate_queue_depth{shard="0"}') == 0
    finally:
        gateway.stop()


@pytest.fixture
def gateway(provider, tmp_path, sockets):
    with running(tmp_path, provider, sockets) as gateway:
        yield gateway


def sample(gateway, name) -> int:
    lines = gateway.get_admin("/metrics").splitlines()
    return int(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


def until_it_waits(gateway, future):
    """Until the request is in the queue, or was in it for too long to be seen."""
    while not future.done() and sample(gateway, 'shardgate_queue_depth{shard="0"}') == 0:
        pass


def queued(gateway, outcome) -> int:
    return sample(gateway, f'shardgate_queued_total{{outcome="{outcome}"}}')


@contextlib.contextmanager
def held(gateway, count):
    """Streams that have begun and go on for 3 s."""
    with openai_sdk(gateway) as sdk:
        streams = [sdk.chat.completions.create(model=HELD, messages=ASK, stream=True) for _ in range(count)]
        for stream in streams:
            next(iter(stream))
        yield streams
        for stream in streams:
            stream.close()


def openai_sdk(gateway):
    return openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20)


def ask_openai(sdk, model, stream):
    answer = sdk.chat.completions.create(model=model, messages=ASK, stream=stream)
    if not stream:
        return answer.choices[0].finish_reason
    return [chunk for chunk in answer if chunk.choices][-1].choices[0].finish_reason


def anthropic_sdk(gateway):
    return anthropic.Anthropic(base_url=f"http://{gateway.address}", api_key="any", max_retries=0, timeout=20)


def ask_anthropic(sdk, model, stream):
    answer = sdk.messages.create(model=model, max_tokens=50, messages=ASK, stream=stream)
    if not stream:
        return answer.stop_reason
    return [event for event in answer if event.type == "message_delta"][-1].delta.stop_reason


FRONTS = {
    "openai": (openai_sdk, ask_openai, "stop", openai.InternalServerError),
    "anthropic": (anthropic_sdk, ask_anthropic, "end_turn", anthropic.InternalServerError),
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("side", BRIEF)
def test_a_request_waits_for_room_and_gets_it(gateway, front, stream, side):
    """Goal: who comes when the shard is full is served once an exchange ends. Method: a stream is left while the
    request waits; again if the machine was too slow for 100 ms."""
    sdk_of, ask, end, refused = FRONTS[front]
    for _ in range(TRIES):
        with sdk_of(gateway) as sdk, held(gateway, 2) as streams, concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(ask, sdk, BRIEF[side][front], stream)
            until_it_waits(gateway, waiting)
            streams[0].close()
            with contextlib.suppress(refused):
                assert waiting.result() == end
                if queued(gateway, "admitted"):
                    break
    assert queued(gateway, "admitted") > 0
    assert queued(gateway, "full") == 0


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_without_room_it_is_refused_and_what_runs_is_unharmed(gateway, front, stream):
    """Goal: 503 in the client's dialect, with a time to come back between 1 and 5 s; both streams go on to their
    end, and then there is room. Method: six requests, which take 0.6 of the 3 s of the streams."""
    sdk_of, ask, end, refused = FRONTS[front]
    waits = set()
    with sdk_of(gateway) as sdk, held(gateway, 2) as streams:
        began = time.monotonic()
        for _ in range(6):
            with pytest.raises(refused) as caught:
                ask(sdk, BRIEF["same"][front], stream)
            status = caught.value.status_code
            assert status == 503 or (front, status) == ("anthropic", 529)
            headers = caught.value.response.headers
            assert headers["x-shardgate-code"] == "overloaded"
            waits.add(int(headers["retry-after"]))
        assert time.monotonic() - began > 0.5, "they waited"
        for held_stream in streams:
            chunks = [chunk for chunk in held_stream if chunk.choices]
            assert chunks[-1].choices[0].finish_reason == "stop" and len(chunks) >= 119
        assert queued(gateway, "late") == 6
        assert ask(sdk, BRIEF["same"][front], stream) == end
    assert waits <= {1, 2, 3, 4, 5}


def test_more_than_may_wait_are_refused_at_once(provider, tmp_path, sockets):
    with running(tmp_path, provider, sockets, queue=0) as gateway:
        with openai_sdk(gateway) as sdk, held(gateway, 2):
            for _ in range(5):
                with pytest.raises(openai.InternalServerError):
                    ask_openai(sdk, "p/sim/events-3", False)
        assert (queued(gateway, "full"), queued(gateway, "late")) == (5, 0)


def head(length) -> bytes:
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def test_who_leaves_gives_the_place_up(gateway):
    """Goal: nothing is kept of clients that leave while they wait, and nobody's room is lost."""
    body = json.dumps({"model": "p/sim/events-3", "messages": ASK}).encode()
    for _ in range(TRIES):
        with held(gateway, 2):
            for _ in range(4):
                with socket.create_connection((gateway.host, gateway.port)) as client:
                    client.sendall(head(len(body)) + body)
            time.sleep(0.05)
        gateway.at_rest()
        if queued(gateway, "gone"):
            break
    assert queued(gateway, "gone") > 0
    with held(gateway, 2):
        pass
    with openai_sdk(gateway) as sdk:
        assert ask_openai(sdk, "p/sim/events-3", True) == "stop"


@pytest.mark.parametrize("rest", [1, 40_000])
def test_a_body_that_comes_while_it_waits_is_read(gateway, rest):
    """Goal: what arrives during the wait belongs to the request, also when it is longer than is read ahead."""
    said = json.dumps({"model": "p/sim/events-3", "messages": [{"role": "user", "content": "x" * rest}]}).encode()
    for _ in range(TRIES):
        with held(gateway, 2) as streams, socket.create_connection((gateway.host, gateway.port)) as client:
            client.settimeout(20)
            client.sendall(head(len(said)) + said[:20])
            time.sleep(0.02)
            client.sendall(said[20:-1])
            time.sleep(0.01)
            streams[0].close()
            time.sleep(0.05)
            with contextlib.suppress(ConnectionError):
                client.sendall(said[-1:])
            answer = client.recv(65536)
            if answer.startswith(b"HTTP/1.1 200"):
                break
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert queued(gateway, "admitted") > 0


def test_a_drain_empties_the_queue(provider, tmp_path, sockets):
    """Goal: who waits when the process is told to end is refused, what runs ends well."""
    codes = []
    for number in range(TRIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = CONFIG.format(provider=provider.address, queue=8)
        gateway = Gateway(folder, config, sockets=sockets)
        try:
            with openai_sdk(gateway) as sdk, held(gateway, 2) as streams, concurrent.futures.ThreadPoolExecutor() as pool:
                waiting = pool.submit(ask_openai, sdk, "p/sim/events-3", False)
                until_it_waits(gateway, waiting)
                gateway.child.send_signal(signal.SIGTERM)
                with pytest.raises(openai.InternalServerError) as caught:
                    waiting.result()
                codes.append(caught.value.response.headers["x-shardgate-code"])
                ends = [[chunk for chunk in stream if chunk.choices][-1].choices[0].finish_reason for stream in streams]
                assert ends == ["stop", "stop"]
            assert gateway.child.wait(20) == 0
        finally:
            gateway.stop()
        if codes[-1] == "draining":
            break
    assert codes[-1] == "draining", codes
