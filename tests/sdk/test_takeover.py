"""A process takes over from the one before it, again and again, under load: nobody is refused, reset or cut.
SHARDGATE_TAKEOVERS says how often (5 without it)."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import ssl
import subprocess
import threading
import time

import pytest

from processes import BINARY, PATIENCE
from test_service import Manager, Service, held_stream, nobody_stays, open_folder  # noqa: F401 (fixtures)
from tls_files import Authority

TAKEOVERS = int(os.environ.get("SHARDGATE_TAKEOVERS", "5"))
BODY = json.dumps({"model": "p/sim/events-3", "messages": [{"role": "user", "content": "x"}]})
HEADERS = {"Content-Type": "application/json"}


class Strict(threading.Thread):
    """A client that never tries again: what fails, failed."""

    def __init__(self, port, is_kept):
        super().__init__()
        self.port, self.is_kept, self.is_over = port, is_kept, threading.Event()
        self.answered, self.failed = 0, []

    def run(self):
        connection = None
        while not self.is_over.wait(0.02):
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                connection.request("POST", "/v1/chat/completions", BODY, HEADERS)
                answer = connection.getresponse()
                assert answer.status == 200, answer.status
                json.loads(answer.read())
                self.answered += 1
                if answer.will_close or not self.is_kept:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException, AssertionError, ValueError) as error:
                self.failed.append(repr(error))
                connection = None


class Streams(threading.Thread):
    """Waves of 40 held streams of 6 s each, one after the other."""

    def __init__(self, port, folder):
        super().__init__()
        self.port, self.folder, self.is_over = port, folder, threading.Event()
        self.done, self.failed = 0, []

    def run(self):
        while not self.is_over.is_set():
            report = run_load(self.port, self.folder / "streams.json", "--streams", "40", "--ramp", "2s",
                              "--model", "p/sim/rate-10/events-60")
            self.done += report["ok"]
            self.failed += report["errors"] if report["failed"] else []


def load_command(port, path, *arguments):
    return [BINARY, "load", "--url", f"http://127.0.0.1:{port}", "--json", path, "--tolerate-errors", *arguments]


def run_load(port, path, *arguments):
    subprocess.run(load_command(port, path, *arguments), check=True, stdout=subprocess.DEVNULL)
    return json.loads(path.read_text())


@pytest.mark.parametrize("sockets", ["auto", "poll"])
def test_take_overs_under_load_lose_nothing(tmp_path, provider, sockets):
    service = Service(tmp_path, provider.address, sockets=sockets)
    port, old = service.port, []
    seconds = str(4 + 2 * TAKEOVERS) + "s"
    path = tmp_path / "open.json"
    load = subprocess.Popen(load_command(port, path, "--rate", "150", "--connections", "64", "--duration", seconds,
                                         "--model", "p/sim/events-3"), stdout=subprocess.DEVNULL)
    strict = [Strict(port, is_kept) for is_kept in (True, True, True, False, False, False)]
    streams = Streams(port, tmp_path)
    for client in (*strict, streams):
        client.start()
    try:
        time.sleep(2)
        for _ in range(TAKEOVERS):
            old.append(service)
            service = Service(tmp_path, provider.address, sockets=sockets, takeover=True)
            assert service.port == port
            time.sleep(max(0.0, 2 - (time.monotonic() - service.began)))
    finally:
        for client in (*strict, streams):
            client.is_over.set()
        for client in (*strict, streams):
            client.join()
        load.wait(PATIENCE)
    codes = [one.child.wait(60) for one in old]
    codes.append(service.end())
    report = json.loads(path.read_text())
    answered = sum(client.answered for client in strict)
    failed = [fault for client in strict for fault in client.failed]
    print(f"{TAKEOVERS} take-overs ({sockets}): open loop {report['ok']} answered, {report['failed']} failed; "
          f"strict clients {answered} answered, {len(failed)} failed; "
          f"held streams {streams.done} done, {len(streams.failed)} kinds of failure")
    assert (report["failed"], failed, streams.failed) == (0, [], []), (report["errors"], failed[:5], streams.failed)
    assert codes == [0] * (TAKEOVERS + 1), codes
    assert streams.done >= 40 and answered > 100 and report["ok"] > 100


def test_tls_listeners_are_taken_over(tmp_path, provider):
    """A stream over TLS runs on in the old process, new handshakes are the new one's."""
    authority = Authority(tmp_path, "trusted")
    cert, key = authority.issue("server")
    server = f'tls = {{ cert = "{cert}", key = "{key}" }}'
    context = ssl.create_default_context(cafile=str(authority.path))
    service = Service(tmp_path, provider.address, server=server)

    def connect():
        return http.client.HTTPSConnection("127.0.0.1", service.port, timeout=30, context=context)

    for _ in range(2):
        before, stream = service, connect()
        body = {**json.loads(BODY), "model": "p/sim/events-40/rate-10", "stream": True}
        stream.request("POST", "/v1/chat/completions", json.dumps(body), HEADERS)
        answer = stream.getresponse()
        answer.readline()
        service = Service(tmp_path, provider.address, server=server, takeover=True)
        for _ in range(20):
            fresh = connect()
            fresh.request("POST", "/v1/chat/completions", BODY, HEADERS)
            assert fresh.getresponse().status == 200
            fresh.close()
        assert b"[DONE]" in answer.read()
        stream.close()
        assert before.child.wait(PATIENCE) == 0
    assert service.end() == 0


def test_the_number_of_shards_may_change(tmp_path, provider):
    """Two shards, then one, then three, then two: every socket that was handed over is served by somebody,
    which fifty new connections each time find out."""
    service = Service(tmp_path, provider.address, shards=2)
    for shards in (1, 3, 2):
        before, stream = service, held_stream(service.port)
        service = Service(tmp_path, provider.address, shards=shards, takeover=True)
        assert service.port == before.port
        assert [service.ask() for _ in range(50)] == [200] * 50
        assert b"[DONE]" in stream.read()
        stream.close()
        assert before.child.wait(PATIENCE) == 0
    assert service.end() == 0


def test_a_signal_starts_a_successor(tmp_path, provider):
    """SIGUSR2; the service manager hears of the new main process, and nothing of the old one's end."""
    manager = Manager(tmp_path)
    service = Service(tmp_path, provider.address, environment={"NOTIFY_SOCKET": manager.path})
    first = int(manager.hear("READY")["MAINPID"])
    stream = held_stream(service.port, events=20)
    service.child.send_signal(signal.SIGUSR2)
    second = int(manager.hear("READY")["MAINPID"])
    try:
        assert first == service.child.pid and second != first
        assert service.ask() == 200
        assert b"[DONE]" in stream.read()
        stream.close()
        assert service.child.wait(PATIENCE) == 0
        assert service.ask() == 200
        assert not any("STOPPING" in message for message in manager.said)
    finally:
        os.kill(second, signal.SIGTERM)
    manager.hear("STOPPING")
    service._reader.join(PATIENCE)  # its pipe is the successor's, too


def await_end(process):
    """Until it is gone: what a dying process has accepted is lost with it."""
    until = time.monotonic() + PATIENCE
    while not ends(process) and time.monotonic() < until:
        time.sleep(0.001)


def ends(process):
    """Whether no process of this number is left; one whose end nobody has asked for counts as gone."""
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def test_a_successor_that_dies_during_the_drain_is_replaced(tmp_path, provider):
    """The old process drains for it: nobody else sees its end. Who comes in between waits and is served, and
    what the old one still streams is whole. Told to end, the old one starts nobody."""
    manager = Manager(tmp_path)
    service = Service(tmp_path, provider.address, environment={"NOTIFY_SOCKET": manager.path})
    manager.hear("READY")
    stream = held_stream(service.port, events=60)
    service.child.send_signal(signal.SIGUSR2)
    second = int(manager.hear("READY")["MAINPID"])
    service.wait_for("draining: a successor accepts")
    os.kill(second, signal.SIGKILL)
    await_end(second)
    assert [service.ask() for _ in range(20)] == [200] * 20
    third = int(manager.hear("READY")["MAINPID"])
    assert third not in (second, service.child.pid) and ends(second)
    service.child.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    os.kill(third, signal.SIGKILL)
    assert b"[DONE]" in stream.read()
    stream.close()
    assert service.child.wait(PATIENCE) == 0
    with pytest.raises(TimeoutError):
        manager.hear("READY", within=0.5)


def test_without_any_successor_the_manager_is_asked_for_one(tmp_path, provider):
    """The successors fail: the old one becomes the main process again and ends with a failure, at which a
    manager starts another one."""
    manager = Manager(tmp_path)
    service = Service(tmp_path, provider.address, environment={"NOTIFY_SOCKET": manager.path})
    manager.hear("READY")
    stream = held_stream(service.port, events=200)
    service.child.send_signal(signal.SIGUSR2)
    second = int(manager.hear("READY")["MAINPID"])
    service.wait_for("draining: a successor accepts")
    config = tmp_path / "service.toml"
    config.write_text(config.read_text() + "nonsense = 1\n")
    os.kill(second, signal.SIGKILL)
    assert int(manager.hear("MAINPID")["MAINPID"]) == service.child.pid
    assert service.child.wait(PATIENCE) == 1
    stream.close()


def test_a_successor_that_fails_changes_nothing(tmp_path, provider):
    service = Service(tmp_path, provider.address)
    config = tmp_path / "service.toml"
    good = config.read_text()
    config.write_text(good + "nonsense = 1\n")
    service.child.send_signal(signal.SIGUSR2)
    service.wait_for("the successor ended")
    config.write_text(good.replace('"127.0.0.1:0"]', '"127.0.0.1:0", "192.0.2.1:1"]').replace(
        "[providers.p]", '[[keys]]\nname = "k"\nsecret = { sha256 = "' + "1" * 64 + '" }\n[providers.p]'))
    service.child.send_signal(signal.SIGUSR2)
    service.wait_for("the successor ended")  # it had the sockets already
    config.write_text(good)
    assert [service.ask() for _ in range(20)] == [200] * 20
    follower = Service(tmp_path, provider.address, takeover=True)
    assert service.child.wait(PATIENCE) == 0
    service._reader.join(PATIENCE)
    assert follower.ask() == 200 and follower.end() == 0
    # Who had the sockets was not the one that ended: nobody takes its place.
    assert not [line for line in service.lines if "in its place" in line]


def test_a_second_process_does_not_slip_in_beside_the_first(tmp_path, provider):
    service = Service(tmp_path, provider.address)
    with pytest.raises(RuntimeError, match="start with --takeover"):
        Service(tmp_path, provider.address)
    assert service.end() == 0
    with pytest.raises(RuntimeError, match="start without --takeover"):
        Service(tmp_path, provider.address, takeover=True)
    assert not (tmp_path / "handover.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_gets_no_socket(open_folder, provider):
    service = Service(open_folder, provider.address)
    path = open_folder / "handover.sock"
    until = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)  # it is there soon after it says that it listens
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)  # also when the file lets everybody in
    script = ("import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(10)\n"
              "try: print(s.recv(99))\nexcept ConnectionResetError: print(b'')")
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/env", "python3"]
    seen = subprocess.run([*drop, "-c", script, path], capture_output=True, text=True)
    assert seen.stdout == "b''\n", seen
    assert service.ask() == 200 and service.end() == 0
