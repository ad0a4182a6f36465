"""TLS on both sides, over real sockets, with certificates made here."""

import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.request

import httpx2 as httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

import tls_files
from processes import BINARY, Gateway
from tls_files import AWAY, Authority
from tls_provider import TlsProvider

ASK = [{"role": "user", "content": "Hello"}]
V10, V11, V12, V13 = (
    ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def ca(folder):
    return Authority(folder, "trusted")


@pytest.fixture(scope="module")
def stranger(folder):
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def providers(folder, ca, stranger):
    """Every kind of provider, by name."""
    good = ca.issue("good")
    started = {
        "good": TlsProvider(*good),
        "good12": TlsProvider(*good, versions=(V12, V12)),
        "notify": TlsProvider(*good, end="notify"),
        "cut": TlsProvider(*good, end="cut"),
        "deaf": TlsProvider(*good, deaf=True),
        "old": TlsProvider(*good, versions=(V10, V11)),
        "expired": TlsProvider(*ca.issue("expired", begins=-60, ends=-1)),
        "early": TlsProvider(*ca.issue("early", begins=30, ends=60)),
        "away": TlsProvider(*ca.issue("away", names=AWAY)),
        "self": TlsProvider(*tls_files.self_signed(folder, is_ca=False)),
        "selfca": TlsProvider(*tls_files.self_signed(folder, is_ca=True)),
        "unknown": TlsProvider(*stranger.issue("unknown")),
        "rsa1024": TlsProvider(*ca.issue("rsa1024", key=tls_files.short_key())),
        "sha1": TlsProvider(*tls_files.sha1(ca)),
    }
    yield started
    for one in started.values():
        one.stop()


def config(providers, ca) -> str:
    text = "[timeouts]\nconnect = \"800ms\"\nhead = \"1s\"\nidle = \"5s\"\n"
    for name, one in providers.items():
        text += f'[providers.{name}]\ndialect = "openai"\nbase_url = "https://localhost:{one.port}/v1"\n'
        text += f'tls = {{ ca = "{ca.path}" }}\n'
    text += f'[providers.bare]\ndialect = "openai"\nbase_url = "https://localhost:{providers["good"].port}/v1"\n'
    text += f'[providers.byip]\ndialect = "openai"\nbase_url = "https://127.0.0.1:{providers["good"].port}/v1"\n'
    text += f'tls = {{ ca = "{ca.path}" }}\n'
    return text


@pytest.fixture(scope="module", params=["auto", "poll"])
def gateway(request, providers, ca, folder):
    """Plain towards clients, TLS towards providers."""
    running = Gateway(folder, config(providers, ca), None, request.param)
    yield running
    assert running.total("panics_total") == 0
    running.stop()


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=20) as sdk:
        yield sdk


def ask(client, model, **more):
    return client.chat.completions.create(model=model, messages=ASK, **more)


def handshakes(gateway, side) -> dict:
    found = {}
    for family in text_string_to_metric_families(gateway.get_admin("/metrics")):
        for sample in family.samples:
            if sample.name == "shardgate_tls_handshakes_total" and sample.labels["side"] == side:
                found[sample.labels["outcome"]] = int(sample.value)
    return found


BAD = {
    "expired": "upstream_certificate_expired",
    "early": "upstream_certificate_not_yet_valid",
    "away": "upstream_certificate_wrong_host",
    "self": "upstream_certificate_self_signed",
    "selfca": "upstream_certificate_self_signed",
    "unknown": "upstream_certificate_unknown_issuer",
    "bare": "upstream_certificate_unknown_issuer",
    "rsa1024": "upstream_certificate_weak",
    "sha1": "upstream_certificate_weak",
    "old": "upstream_tls_version",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_certificate_is_502_with_its_reason_and_nothing_was_sent(client, gateway, providers, name, stream):
    provider = providers["good" if name == "bare" else name]
    read, came = provider.bytes_read, provider.connections
    before = handshakes(gateway, "upstream")
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, f"{name}/m", stream=stream)
    error = raised.value
    assert (error.status_code, error.code) == (502, BAD[name])
    assert error.response.headers["x-shardgate-code"] == BAD[name]
    body = error.response.text
    assert "localhost" not in body and "127.0.0.1" not in body and str(provider.port) not in body
    assert json.loads(body)["error"]["message"].endswith((".", ";"))
    assert provider.connections > came
    assert provider.bytes_read == read
    after = handshakes(gateway, "upstream")
    outcome = "failed" if name == "old" else "certificate"
    assert after[outcome] > before[outcome]


@pytest.mark.parametrize("name", ["good", "good12", "byip"])
def test_a_good_certificate_serves_plain_and_streamed(client, providers, name):
    """Goal: the provider's own authority makes it work, with SNI and ALPN."""
    assert ask(client, f"{name}/m").choices[0].message.content == "Hello"
    chunks = list(ask(client, f"{name}/m", stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "t0 t1 t2 t3 t4 t5 t6 t7 "
    provider = providers["good" if name == "byip" else name]
    assert set(provider.alpn) == {"http/1.1"}
    assert "localhost" in provider.hosts


def test_a_close_without_close_notify_is_a_cut(client):
    """Goal: on a body that only the close ends, `close_notify` decides whether it ended."""
    chunks = list(ask(client, "notify/m", stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    with pytest.raises(openai.APIError) as raised:
        list(ask(client, "cut/m", stream=True))
    assert raised.value.code == "upstream_cut"


def test_the_handshake_counts_within_the_connect_timeout(client, gateway):
    began = time.monotonic()
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, "deaf/m")
    assert (raised.value.status_code, raised.value.code) == (504, "upstream_connect_timeout")
    assert 0.7 < time.monotonic() - began < 3
    assert handshakes(gateway, "upstream")["abandoned"] > 0


def test_a_provider_without_tls_is_told_apart(folder, ca):
    """Goal: an https:// base_url on a port that speaks something else is a fault of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    sock.recv(4096)
                    sock.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        text = f'[providers.p]\ndialect = "openai"\nbase_url = "https://localhost:{port}"\n'
        running = Gateway(folder, text)
        try:
            with openai.OpenAI(base_url=running.url, api_key="any", max_retries=0, timeout=20) as sdk:
                with pytest.raises(openai.APIStatusError) as raised:
                    ask(sdk, "p/m")
            assert raised.value.code == "upstream_tls_failed"
        finally:
            running.stop()


@pytest.mark.parametrize("name", ["good", "good12"])
def test_sessions_are_resumed_upstream(client, gateway, providers, name, ca, folder):
    """Goal: a second connection resumes. Method: a gateway that keeps no idle connection."""
    provider = providers[name]
    text = f'[providers.p]\ndialect = "openai"\nbase_url = "https://localhost:{provider.port}"\n'
    text += f'tls = {{ ca = "{ca.path}" }}\npool = {{ idle_max = 0 }}\n'
    running = Gateway(folder, text)
    try:
        before = provider.resumed
        with openai.OpenAI(base_url=running.url, api_key="any", max_retries=0, timeout=20) as sdk:
            for _ in range(6):
                ask(sdk, "p/m")
        done = handshakes(running, "upstream")
        assert done["done"] + done["resumed"] == 6, done
        assert done["resumed"] >= 4, done  # each shard has a first one
        assert provider.resumed - before == done["resumed"]
    finally:
        running.stop()


def test_handshakes_at_once_are_bounded(folder, ca, providers):
    """Goal: what exceeds `handshakes_max` waits, within the connect timeout. Method: a provider
    that never answers a handshake; only as many connections come as handshakes are allowed."""
    deaf = TlsProvider(*ca.issue("deaf"), deaf=True)
    text = '[timeouts]\nconnect = "700ms"\n[providers.p]\ndialect = "openai"\n'
    text += f'base_url = "https://127.0.0.1:{deaf.port}"\ntls = {{ handshakes_max = 2 }}\n'
    running = Gateway(folder, text)
    shards = len(running.status()["shards"])
    try:
        with openai.OpenAI(base_url=running.url, api_key="any", max_retries=0, timeout=20) as sdk:
            codes = []

            def one():
                try:
                    ask(sdk, "p/m")
                except openai.APIStatusError as error:
                    codes.append(error.code)

            threads = [threading.Thread(target=one) for _ in range(12)]
            for thread in threads:
                thread.start()
            time.sleep(0.4)
            assert 1 <= deaf.connections <= max(2, shards)
            for thread in threads:
                thread.join(20)
        assert codes == ["upstream_connect_timeout"] * 12
    finally:
        running.stop()
        deaf.stop()


# Downstream.


class Listener:
    """A gateway that speaks TLS to its clients."""

    def __init__(self, folder, cert, key, providers, ca, client_ca=None, head="1s"):
        tls = f'[server.tls]\ncert = "{cert}"\nkey = "{key}"\n'
        tls += f'client_ca = "{client_ca}"\n' if client_ca else ""
        text = tls + f'[timeouts]\nhead = "{head}"\n[providers.p]\ndialect = "openai"\n'
        text += f'base_url = "https://localhost:{providers["good"].port}/v1"\ntls = {{ ca = "{ca.path}" }}\n'
        self.running = Gateway(folder, text)
        self.port, self.ca = self.running.port, ca
        self.url = f"https://localhost:{self.port}/v1"

    def context(self, **more):
        context = ssl.create_default_context(cafile=self.ca.path)
        for key, value in more.items():
            setattr(context, key, value)
        return context

    def sdk(self, context=None):
        http = httpx.Client(verify=context or self.context())
        return openai.OpenAI(base_url=self.url, api_key="any", max_retries=0, timeout=20, http_client=http)

    def connect(self, context=None, session=None):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return (context or self.context()).wrap_socket(sock, server_hostname="localhost", session=session)


@pytest.fixture(scope="module")
def secured(folder, ca, providers):
    cert, key = ca.issue("gateway")
    listener = Listener(folder, cert, key, providers, ca)
    yield listener
    assert listener.running.total("panics_total") == 0
    listener.running.stop()


@pytest.mark.parametrize("version", [V12, V13])
def test_the_sdk_speaks_tls_on_both_sides(secured, version):
    context = secured.context(minimum_version=version, maximum_version=version)
    with secured.sdk(context) as sdk:
        assert ask(sdk, "p/m").choices[0].message.content == "Hello"
        chunks = list(ask(sdk, "p/m", stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "t0 t1 t2 t3 t4 t5 t6 t7 "
        with pytest.raises(openai.NotFoundError):
            ask(sdk, "nobody")


def read_to_end(tls) -> bytes:
    data = b""
    while got := tls.recv(65536):
        data += got
    return data


GET = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("version", [V12, V13])
def test_sessions_are_resumed_on_every_shard(secured, version):
    """Goal: tickets are shared by the shards. Method: many connections with the first one's
    ticket; the kernel spreads them."""
    context = secured.context(minimum_version=version, maximum_version=version)
    with secured.connect(context) as tls:
        tls.sendall(GET)
        assert b"200 OK" in read_to_end(tls)  # ended by close_notify, else this raises
        session = tls.session
    resumed = 0
    for _ in range(16):
        with secured.connect(context, session) as tls:
            tls.sendall(GET)
            read_to_end(tls)
            resumed += tls.session_reused
    assert resumed == 16


def test_alpn_is_http11_and_h2_alone_is_refused(secured):
    context = secured.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secured.connect(context) as tls:
        assert tls.selected_alpn_protocol() == "http/1.1"
    context = secured.context()
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)no_application_protocol|no application protocol"):
        secured.connect(context)


def test_old_versions_are_refused_with_an_alert(secured):
    context = secured.context(minimum_version=V10, maximum_version=V11)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="(?i)protocol version|alert"):
        secured.connect(context)


def test_plain_http_is_told_to_use_https(secured):
    before = handshakes(secured.running, "downstream")["plain"]
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"http://localhost:{secured.port}/v1/models", timeout=5)
    assert raised.value.code == 400
    error = json.load(raised.value)["error"]
    assert error["code"] == "plain_http" and "https" in error["message"]
    assert handshakes(secured.running, "downstream")["plain"] == before + 1


def test_who_says_nothing_does_not_hold_on(secured):
    """Goal: a handshake has `timeouts.head`. Method: nothing, and half a hello."""
    before = handshakes(secured.running, "downstream")["abandoned"]
    for first in (b"", b"\x16\x03\x01\x02\x00\x01"):
        with socket.create_connection(("127.0.0.1", secured.port), timeout=10) as sock:
            sock.sendall(first)
            began = time.monotonic()
            assert sock.recv(1) == b""
            assert 0.8 < time.monotonic() - began < 4
    assert handshakes(secured.running, "downstream")["abandoned"] == before + 2


def test_garbage_is_refused(secured):
    before = handshakes(secured.running, "downstream")["failed"]
    with socket.create_connection(("127.0.0.1", secured.port), timeout=10) as sock:
        sock.sendall(b"\x16\x03\x01\x00\x05garbage and more")
        assert sock.recv(7)[:1] in (b"\x15", b"")  # an alert, or the end
    until = time.monotonic() + 5
    while handshakes(secured.running, "downstream")["failed"] == before:
        assert time.monotonic() < until
        time.sleep(0.02)


class Records:
    """The sizes of the records that came over a connection; bytes are read through a BIO."""

    def __init__(self, listener):
        self.sock = socket.create_connection(("127.0.0.1", listener.port), timeout=10)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = listener.context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.records: list[tuple[int, int]] = []
        self.buffer = b""

    def pump(self, action, *arguments):
        while True:
            try:
                done = action(*arguments)
                self.sock.sendall(self.outgoing.read())
                return done
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                got = self.sock.recv(65536)
                if not got:
                    self.incoming.write_eof()
                self.buffer += got
                self.incoming.write(got)
                while len(self.buffer) >= 5:
                    kind, _, length = struct.unpack(">BHH", self.buffer[:5])
                    if len(self.buffer) < 5 + length:
                        break
                    self.records.append((kind, length))
                    self.buffer = self.buffer[5 + length :]


def test_one_event_is_one_record(folder, ca):
    """Goal: an event that comes alone goes in a record of its own. Method: a simulated provider
    that sends an event each 50 ms; the records that arrive are as many as the events' chunks."""
    from processes import Provider

    simulated = Provider()
    cert, key = ca.issue("records")
    text = f'[server.tls]\ncert = "{cert}"\nkey = "{key}"\n[providers.p]\ndialect = "openai"\n'
    running = Gateway(folder, text + f'base_url = "http://{simulated.address}/v1"\n')
    try:
        listener = Listener.__new__(Listener)
        listener.port, listener.ca = running.port, ca
        peer = Records(listener)
        peer.pump(peer.tls.do_handshake)
        body = json.dumps({"model": "p/sim/rate-20/events-10", "stream": True, "messages": ASK}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        peer.pump(peer.tls.write, head + body)
        pieces = []
        while piece := peer.pump(peer.tls.read, 65536):
            pieces.append(piece)
        # One read of a BIO gives one record. The first content comes together with the head.
        for number in range(2, 9):
            holds = [piece for piece in pieces if b"token %d " % number in piece]
            assert len(holds) == 1 and holds[0].count(b"data: ") == 1, pieces
            assert holds[0].endswith(b"\n\n\r\n"), holds
        assert b"data: [DONE]" in b"".join(pieces)
    finally:
        running.stop()
        simulated.stop()


@pytest.mark.parametrize("version", [V12, V13])
def test_a_client_needs_a_certificate_when_client_ca_is_set(folder, ca, stranger, providers, version):
    from cryptography.x509.oid import ExtendedKeyUsageOID

    cert, key = ca.issue("mutual")
    listener = Listener(folder, cert, key, providers, ca, client_ca=ca.path)
    mine = ca.issue("client", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    theirs = stranger.issue("outsider", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    versions = {"minimum_version": version, "maximum_version": version}
    try:
        good = listener.context(**versions)
        good.load_cert_chain(*mine)
        with listener.sdk(good) as sdk:
            assert ask(sdk, "p/m").choices[0].message.content == "Hello"
        wrong = listener.context(**versions)
        wrong.load_cert_chain(*theirs)
        for context in (listener.context(**versions), wrong):
            with pytest.raises(OSError):
                with listener.connect(context) as tls:
                    tls.sendall(GET)
                    if not tls.recv(1):
                        raise OSError("closed")
        assert handshakes(listener.running, "downstream")["certificate"] == 2
    finally:
        listener.running.stop()


def serial(listener) -> str:
    with listener.connect() as tls:
        return tls.getpeercert()["serialNumber"]


def test_a_certificate_is_replaced_without_restart(folder, ca, providers):
    """Goal: new connections get the new certificate, old ones go on; bad files change nothing."""
    cert, key = ca.issue("replaced")
    listener = Listener(folder, cert, key, providers, ca, head="30s")
    running = listener.running
    try:
        first = serial(listener)
        old = listener.connect()
        new_cert, new_key = ca.issue("replacement")
        os.replace(new_cert, cert)  # the key does not belong to it yet
        running.wait_for("not replaced")
        assert serial(listener) == first
        os.replace(new_key, key)
        running.wait_for("the certificate was replaced")
        until = time.monotonic() + 5
        while serial(listener) == first:
            assert time.monotonic() < until
        assert len({serial(listener) for _ in range(12)}) == 1  # on every shard
        old.sendall(GET)
        assert b"200 OK" in read_to_end(old)
        old.close()
        with listener.sdk() as sdk:
            assert ask(sdk, "p/m").choices[0].message.content == "Hello"
    finally:
        running.stop()


def test_bad_files_are_faults_of_the_configuration(folder, ca, stranger):
    cert, _ = ca.issue("lonely")
    _, other = ca.issue("another")
    path = folder / "bad.toml"
    tail = '[providers.p]\ndialect = "openai"\nbase_url = "https://localhost/v1"\n'
    for server, want in [
        (f'tls = {{ cert = "{cert}", key = "{other}" }}', "is not the key of the certificate"),
        (f'tls = {{ cert = "{cert}", key = "{cert}" }}', "holds no private key"),
        (f'tls = {{ cert = "{other}", key = "{other}" }}', "holds no certificate"),
        (f'tls = {{ cert = "/nowhere.pem", key = "{other}" }}', "cannot be read"),
    ]:
        path.write_text(f"[server]\n{server}\n{tail}")
        done = subprocess.run([BINARY, "check", "--config", path], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1
        assert f"{path}:2:" in done.stderr and want in done.stderr, done.stderr
        assert other.read_text().splitlines()[1] not in done.stderr
