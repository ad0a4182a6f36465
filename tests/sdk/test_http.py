"""HTTP/1 by hand: what curl does, and what only a bare socket can do."""

import json
import socket
import subprocess

import pytest

from processes import KEY

BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
CHAT = "/v1/chat/completions"


def curl(gateway, *arguments, path=CHAT, data=None) -> tuple[int, str, str]:
    """Status, head (all heads, in order) and body."""
    command = ["curl", "-sS", "-i", "--max-time", "20", "-H", f"Authorization: Bearer {KEY}"]
    if data is not None:
        command += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
    done = subprocess.run(
        [*command, *arguments, f"http://{gateway.address}{path}"], input=data or b"", capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    heads = []
    while text.startswith("HTTP/"):
        head, text = text.split("\r\n\r\n", 1)
        heads.append(head)
    return int(heads[-1].split()[1]), "\n".join(heads).lower(), text


def test_curl_gets_an_answer(gateway):
    status, head, body = curl(gateway, data=BODY)
    assert status == 200
    assert json.loads(body)["choices"][0]["finish_reason"] == "stop"
    assert "content-type: application/json" in head and "\ndate: " in head


def test_http_1_0_gets_a_body_that_it_can_read(gateway):
    """Goal: no chunks for HTTP/1.0: a plain answer with its length, a stream that ends by closing."""
    status, head, body = curl(gateway, "--http1.0", data=BODY)
    assert status == 200 and "content-length:" in head and json.loads(body)["choices"]
    status, head, body = curl(gateway, "--http1.0", data=BODY[:-1] + b',"stream":true}')
    assert status == 200 and "transfer-encoding" not in head
    assert body.endswith("data: [DONE]\n\n") and "\r\n" not in body


def test_a_large_body_waits_for_100_continue_and_gets_it(gateway):
    prompt = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x" * (2 << 20)}]}).encode()
    status, head, _ = curl(gateway, "-H", "Expect: 100-continue", "--expect100-timeout", "15", data=prompt)
    assert status == 200
    assert head.startswith("http/1.1 100")


def test_a_body_that_will_be_refused_is_not_asked_for(gateway):
    """Goal: with an expectation, a wrong key is told before the body is sent."""
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: {gateway.address}\r\nAuthorization: Bearer wrong\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((gateway.host, gateway.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
def test_a_body_over_the_limit_is_413(gateway, announced):
    """Goal: 33 MiB are refused, at once when announced, and the client can read why."""
    arguments = ["-H", "Expect:"] if announced else ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]
    prompt = b'{"model":"chat","messages":[{"role":"user","content":"' + b"x" * (33 << 20) + b'"}]}'
    status, _, body = curl(gateway, *arguments, data=prompt)
    assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")


def test_pipelined_requests_are_answered_in_order(gateway):
    def request(words, last=False):
        body = json.dumps({"model": f"p/sim/events-{words}/ttft-{90 // words}ms", "messages": []}).encode()
        close = "Connection: close\r\n" if last else ""
        return (
            f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{close}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    with socket.create_connection((gateway.host, gateway.port), timeout=10) as connection:
        connection.sendall(request(1) + request(2) + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + request(3, True))
        got = b""
        while more := connection.recv(65536):
            got += more
    assert got.count(b"HTTP/1.1 200") == 4
    assert [n for n in got.split(b'"completion_tokens":')[1:] if n] and got.index(b'"live"') > 0
    places = [got.index(b'"completion_tokens":%d' % n) for n in (1, 2, 3)]
    assert places[0] < places[1] < got.index(b'{"status":"live"}') < places[2]


def test_head_has_the_head_of_get_and_no_body(gateway):
    for path in ("/livez", "/v1/models"):
        status, of_get, body = curl(gateway, path=path)
        assert status == 200 and body
        status, of_head, nothing = curl(gateway, "--head", path=path)
        assert status == 200 and nothing == ""
        length = f"content-length: {len(body.encode())}"
        assert length in of_get and length in of_head


def test_health_needs_no_key(gateway):
    for path in ("/livez", "/readyz"):
        status, _, _ = curl(gateway, "-H", "Authorization:", path=path)
        assert status == 200


def test_an_unknown_route_and_a_wrong_method_say_so(gateway):
    status, _, body = curl(gateway, path="/v1/nothing", data=BODY)
    assert (status, json.loads(body)["error"]["code"]) == (404, "route_not_found")
    status, head, body = curl(gateway, path=CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
    assert "\nallow: post" in head


def test_the_admin_plane_is_not_on_the_data_listener(gateway):
    for path in ("/metrics", "/api/status", "/api/config"):
        status, _, _ = curl(gateway, path=path)
        assert status == 404


def test_a_connection_serves_one_request_after_the_other(gateway, provider):
    """Goal: keep-alive on both sides. Method: curl reuses one connection for ten requests, and
    the provider sees no more than a new connection or two."""
    before = provider.stats()["connections"]
    urls = [f"http://{gateway.address}{CHAT}"] * 10
    done = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{num_connects} %{http_code}\\n", "-H", f"Authorization: Bearer {KEY}",
         "-H", "Content-Type: application/json", "--data-binary", BODY.decode(), *urls],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    # curl writes one line a URL; only the first opens a connection. `-o` names one file: the
    # other bodies go to stdout, between the lines.
    lines = [line[-5:] for line in done.stdout.splitlines() if line.endswith(" 200")]
    assert [line[0] for line in lines] == ["1"] + ["0"] * 9, done.stdout[-2000:] + done.stderr
    assert provider.stats()["connections"] - before <= 2
