"""A client that goes away: the provider sees it within 100 ms, and the books say so.

The simulator stamps when it saw the connection go; gateway and client are on one machine, so
the stamps compare. A machine under load may be late once, so the middle of five tries counts.
"""

import json
import socket
import statistics
import struct
import time

import pytest

from processes import KEY

TRIES = 5
LATEST = 100e6  # nanoseconds
ASK = [{"role": "user", "content": "Say something."}]


def delay_of(provider, leave) -> float:
    """Nanoseconds from the moment that `leave` gives to the moment the provider saw it."""
    before = provider.at_rest()["cancelled"]
    left = leave()
    after = provider.wait_until(lambda stats: stats["cancelled"] == before + 1)
    return after["last_cancelled_unix_ns"] - left


def raw_request(gateway, model, stream) -> socket.socket:
    body = json.dumps({"model": model, "messages": ASK, "stream": stream}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {gateway.address}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection((gateway.host, gateway.port), timeout=10)
    connection.sendall(head.encode() + body)
    return connection


def check(gateway, provider, leave, ends):
    """Five times: gone in time, a receipt that says so, nothing left open."""
    gateway.at_rest()  # the lines of tests before this one, too
    before = len(gateway.receipts())
    delays = [delay_of(provider, leave) for _ in range(TRIES)]
    assert statistics.median(delays) < LATEST, [f"{d / 1e6:.1f} ms" for d in delays]
    gateway.at_rest()
    lines = gateway.receipts()[before:]
    assert [line["end"] for line in lines] == [ends] * TRIES
    assert {line["status"] for line in lines} == {499}
    status = gateway.status()
    assert sum(s["streams_open"] for s in status["shards"]) == 0
    assert all(pool["leased"] == 0 for s in status["shards"] for pool in s["pools"])


def test_leaving_a_stream_of_the_sdk_ends_it_at_the_provider(client, gateway, provider):
    def leave():
        stream = client.chat.completions.create(model="p/sim/rate-20/events-1000", messages=ASK, stream=True)
        next(iter(stream))
        left = time.time_ns()
        stream.close()
        return left

    check(gateway, provider, leave, "cancelled")


@pytest.mark.parametrize("breaks", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("p/sim/ttft-10s", False),  # waits for its answer
        ("p/sim/ttft-10s", True),  # waits for its first event
        ("p/sim/events-9/stall-3", True),  # the provider is silent in the middle
        ("p/sim/rate-20/events-1000", True),  # events flow
    ],
)
def test_leaving_ends_the_exchange_at_the_provider(gateway, provider, model, stream, breaks):
    def leave():
        begun = provider.stats()["requests"]
        connection = raw_request(gateway, model, stream)
        provider.wait_until(lambda stats: stats["requests"] == begun + 1)
        if stream and "ttft" not in model:
            assert b"data:" in connection.recv(65536)
        if breaks:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left = time.time_ns()
        connection.close()
        return left

    check(gateway, provider, leave, "cancelled")


def test_a_client_that_reads_nothing_holds_the_provider_back(gateway, provider):
    """Goal: backpressure: what nobody reads is not fetched, and not kept. Method: a stream of
    40 MB to a client that never reads; the provider's count of events comes to rest far
    below its end, at what the kernel's buffers take, and the gateway holds little."""
    connection = raw_request(gateway, "p/sim/events-200000", True)
    counts = [provider.stats()["events"]]
    while len(counts) < 40 and counts[-1:] * 3 != counts[-3:]:
        time.sleep(0.25)
        counts.append(provider.stats()["events"])
    assert counts[-1] == counts[-3], counts
    lent = gateway.total("buffers_lent_bytes")
    streams = provider.stats()["streams_open"]
    left = time.time_ns()
    connection.close()
    assert streams == 1
    assert lent < 1 << 20, f"{lent} bytes"
    after = provider.wait_until(lambda stats: stats["streams_open"] == 0)
    assert after["last_cancelled_unix_ns"] - left < 1e9
