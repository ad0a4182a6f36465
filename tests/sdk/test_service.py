"""The gateway as a service: what it says to a service manager, whose sockets it accepts on, and how one
process follows another. The service manager is played by the test, over the same sockets and variables."""

import array
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import pytest

from processes import BINARY, PATIENCE, PROVIDER_KEY, ROOT, Process

READY_MAX = 1.0  # seconds from the start to the first answer, also for the debug build
CONFIG = """
[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
shards = {shards}
sockets = "{sockets}"
handover = "{folder}/handover.sock"
{server}
[limits]
streams_max = 2000
connections_max = 2000
[timeouts]
drain = "60s"
[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"
api_key = {{ env = "TEST_KEY_PROVIDER" }}
"""


class Service(Process):
    """`shardgate serve`, started as a service manager would."""

    running: list = []

    def __init__(self, folder, provider, shards=2, takeover=False, environment=None, sockets="auto", fds=(),
                 server="", **ports):
        path = pathlib.Path(folder) / "service.toml"
        port, admin = ports.get("port", 0), ports.get("admin", 0)
        path.write_text(CONFIG.format(port=port, admin=admin, shards=shards, sockets=sockets, folder=folder,
                                      provider=provider, server=server))
        arguments = ["serve", "--config", str(path)] + ["--takeover"] * takeover
        self.began = time.monotonic()
        with passed(fds, {"TEST_KEY_PROVIDER": PROVIDER_KEY, **(environment or {})}) as environment:
            super().__init__(arguments, "stderr", environment)
        Service.running.append(self.child)
        said = json.loads(self.wait_for("listening on "))["message"]
        words = said.replace(",", " ").replace(";", " ").split()
        self.address, self.admin = words[words.index("on") + 1], words[words.index("admin") + 2]
        self.port = int(self.address.rsplit(":", 1)[1])

    def ask(self, path="/livez"):
        return get(self.port, path)

    def end(self, sent=signal.SIGTERM):
        self.child.send_signal(sent)
        code = self.child.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


@pytest.fixture(autouse=True)
def nobody_stays():
    yield
    while Service.running:
        Service.running.pop().kill()  # of one that has ended nothing is left to kill


@contextlib.contextmanager
def passed(fds, environment):
    """The environment for a process that shall get `fds` as its descriptors 3, 4, …; LISTEN_PID is its own
    number, which only a shell between can know."""
    if not fds:
        yield environment
        return
    names, sockets = zip(*fds)
    plain = subprocess.Popen
    moves = " ".join(f"{3 + i}<&{s.fileno() + 100}" for i, s in enumerate(sockets))
    high = [os.dup2(s.fileno(), s.fileno() + 100) for s in sockets]

    def start(command, **options):
        script = f'exec {moves}; export LISTEN_PID=${{LISTEN_PID:-$$}}; exec "$@"'
        return plain(["bash", "-c", script, "bash", *command], pass_fds=high, **options)

    subprocess.Popen = start
    try:
        yield {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(names), **environment}
    finally:
        subprocess.Popen = plain
        for fd in high:
            os.close(fd)


def get(port, path="/readyz", timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def get_text(admin, path):
    with urllib.request.urlopen(f"http://{admin}{path}", timeout=10) as answer:
        return answer.read().decode()


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, folder, abstract=False):
        self.path = f"@shardgate-{os.getpid()}-{time.monotonic_ns()}" if abstract else f"{folder}/notify.sock"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path.replace("@", "\0", 1) if abstract else self.path)
        self.said: list[dict] = []
        self.stored: dict[str, socket.socket] = {}

    def hear(self, key, within=PATIENCE):
        """The next message with `key`."""
        until = time.monotonic() + within
        while True:
            self.socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                text, ancillary, *_ = self.socket.recvmsg(4096, socket.CMSG_SPACE(64))
            except TimeoutError:
                raise TimeoutError(f"no {key}; heard {self.said}") from None
            message = dict(line.split("=", 1) for line in text.decode().splitlines())
            self.said.append(message)
            for _, _, data in ancillary:
                for fd in array.array("i", data):
                    self.stored[message["FDNAME"]] = socket.socket(fileno=fd)
            if key in message:
                return message


def held_stream(port, events=40, rate=10):
    """A stream that runs for events/rate seconds, and what reads its rest."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = {"model": f"p/sim/events-{events}/rate-{rate}", "stream": True,
            "messages": [{"role": "user", "content": "x"}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    answer.readline()
    return answer


def test_the_manager_is_told_of_start_and_end(tmp_path, provider):
    for abstract in (False, True):
        manager = Manager(tmp_path, abstract)
        service = Service(tmp_path, provider.address, environment={"NOTIFY_SOCKET": manager.path})
        ready = manager.hear("READY")
        assert ready["READY"] == "1" and ready["MAINPID"] == str(service.child.pid)
        assert service.address in ready["STATUS"]
        assert sorted(manager.stored) == ["shardgate-0-0", "shardgate-1-0"]
        assert service.ask() == 200
        stream = held_stream(service.port)
        service.child.send_signal(signal.SIGTERM)
        manager.hear("STOPPING")
        assert int(manager.hear("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"]) >= 5_000_000
        assert "1 exchanges" in manager.hear("STATUS")["STATUS"]
        assert b"[DONE]" in stream.read()
        assert service.child.wait(PATIENCE) == 0


def test_the_manager_is_told_of_a_reload(tmp_path, provider):
    """RELOADING with the time, which Type=notify-reload wants, then READY, also when the file is bad."""
    manager = Manager(tmp_path)
    service = Service(tmp_path, provider.address, environment={"NOTIFY_SOCKET": manager.path})
    manager.hear("READY")
    path = tmp_path / "service.toml"
    good = path.read_text()
    for text, epoch in ((good, 2), (good + "nonsense = 1\n", 2), (good, 3)):
        path.write_text(text)
        before = time.monotonic_ns() // 1000
        service.child.send_signal(signal.SIGHUP)
        reloading = manager.hear("RELOADING")
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        ready = manager.hear("READY")
        assert "MAINPID" not in ready, "a successor may be it by now"
        status = json.loads(get_text(service.admin, "/api/status"))
        assert status["config"]["epoch"] == epoch, ready
        assert service.ask() == 200
    assert service.end() == 0


def threads(pid):
    """The threads of a process by their names; of several, the first (helpers come later)."""
    tasks = sorted(pathlib.Path(f"/proc/{pid}/task").iterdir(), key=lambda task: -int(task.name))
    return {(task / "comm").read_text().strip(): int(task.name) for task in tasks}


def test_one_shard_that_hangs_silences_the_watchdog(tmp_path, provider):
    manager = Manager(tmp_path)
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "4000000"}
    service = Service(tmp_path, provider.address, environment=environment)
    for _ in range(2):
        manager.hear("WATCHDOG", within=6)
    libc = ctypes.CDLL(None, use_errno=True)
    attach, detach, thread = 16, 17, threads(service.child.pid)["shard-1"]
    assert libc.ptrace(attach, thread, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        with pytest.raises(TimeoutError):
            manager.hear("WATCHDOG", within=2.5)  # the one that was under way
            manager.hear("WATCHDOG", within=6)
    finally:
        libc.ptrace(detach, thread, None, None)
    manager.hear("WATCHDOG", within=6)
    assert service.end() == 0


def test_a_watchdog_for_another_process_is_left_alone(tmp_path, provider):
    manager = Manager(tmp_path)
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    service = Service(tmp_path, provider.address, environment=environment)
    with pytest.raises(TimeoutError):
        manager.hear("WATCHDOG", within=2)
    assert service.end() == 0


def listening(reuse=True, count=1):
    """Sockets that listen at one address, as a socket unit makes them."""
    sockets, port = [], 0
    for _ in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
        one.bind(("127.0.0.1", port))
        one.listen(128)
        port = one.getsockname()[1]
        sockets.append(one)
    return port, sockets


@pytest.mark.parametrize("sockets", ["auto", "poll"])
@pytest.mark.parametrize("reuse, count", [(False, 1), (True, 2), (True, 3)])
def test_sockets_of_a_socket_unit_are_accepted_on(tmp_path, provider, sockets, reuse, count):
    port, units = listening(reuse, count)
    early = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    fds = [("shardgate.socket", unit) for unit in units]
    service = Service(tmp_path, provider.address, sockets=sockets, port=port, fds=fds)
    for unit in units:
        unit.close()
    for client in early:  # they came before the gateway did
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.settimeout(10)
        assert client.recv(64).startswith(b"HTTP/1.1 200 ")
    assert [service.ask() for _ in range(50)] == [200] * 50
    assert service.end() == 0


def test_sockets_for_another_process_are_left_alone(tmp_path, provider):
    port, units = listening()
    service = Service(tmp_path, provider.address, fds=[("x", units[0])], environment={"LISTEN_PID": "1"})
    assert service.port != port and service.ask() == 200
    assert service.end() == 0


def test_what_is_no_listening_socket_is_refused(tmp_path, provider):
    near, _far = socket.socketpair()
    with pytest.raises(RuntimeError, match="no TCP socket"):
        Service(tmp_path, provider.address, fds=[("shardgate-0-0", near)])


def test_a_killed_process_is_followed_by_one_on_the_stored_sockets(tmp_path, provider):
    """kill -9 and start again, as Restart= does, five times: who connects in between is answered by the next
    one, and the next one is ready at once."""
    manager = Manager(tmp_path)
    service = Service(tmp_path, provider.address, environment={"NOTIFY_SOCKET": manager.path})
    manager.hear("READY")
    port, times = service.port, []
    for _ in range(5):
        service.end(signal.SIGKILL)
        waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        service = Service(tmp_path, provider.address, fds=list(manager.stored.items()))
        assert (service.port, service.ask()) == (port, 200)
        times.append(time.monotonic() - service.began)
        for client in waiting:
            client.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            client.settimeout(10)
            assert client.recv(64).startswith(b"HTTP/1.1 200 ")
    print("ready again after", [f"{t * 1000:.0f} ms" for t in times])
    assert max(times) < READY_MAX, times
    assert service.end() == 0


@pytest.fixture
def open_folder():
    """A folder that another user reaches, with the program in it; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        shutil.copy(BINARY, folder / "shardgate")
        yield folder


def started(folder, limits, config=""):
    """What `serve` says as an unprivileged user within `limits` until it listens or ends; `None` as exit code
    when it listens."""
    path = folder / "limits.toml"
    path.write_text('[server]\nlisten = ["127.0.0.1:0"]\nadmin = "off"\nshards = 2\n' + config
                    + '[providers.p]\ndialect = "openai"\nbase_url = "http://127.0.0.1:1"\n')
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    command = ["prlimit", *limits, "--", *drop, str(folder / "shardgate"), "serve", "--config", str(path)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = []
    for line in child.stderr:
        said.append(line)
        if "listening on" in line:
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=PATIENCE)
            return None, "".join(said)
    return child.wait(PATIENCE), "".join(said)


def test_limits_that_are_too_low_are_said_before_it_listens(open_folder):
    small = "[limits]\nstreams_max = 100\nconnections_max = 100\n"
    code, said = started(open_folder, ["--nofile=424", "--memlock=1572864"], small)
    assert code is None and "LimitNOFILE" not in said, said
    code, said = started(open_folder, ["--nofile=423"], small)
    assert code is None and "LimitNOFILE=424" in said and "at most 99 streams fit" in said, said
    assert said.index("LimitNOFILE") < said.index("listening on"), said
    code, said = started(open_folder, ["--nofile=60"], small)
    assert code == 1 and "LimitNOFILE=424" in said and "listening" not in said, said
    code, said = started(open_folder, ["--memlock=1000000"], small)
    assert code == 1 and "LimitMEMLOCK=1572864" in said and "listening" not in said, said


def test_credentials_come_from_the_folder_of_the_manager(tmp_path, provider):
    (tmp_path / "team-a").write_text("sk-from-a-credential\n")
    config = tmp_path / "credentials.toml"
    config.write_text('[[keys]]\nname = "a"\nsecret = { credential = "team-a" }\n'
                      '[providers.p]\ndialect = "openai"\nbase_url = "http://127.0.0.1:1"\n'
                      'api_key = { credential = "missing" }\n')

    def check(environment):
        command = [BINARY, "check", "--config", config, "--print"]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})

    faults = check({"CREDENTIALS_DIRECTORY": str(tmp_path)}).stderr
    assert ":7:26: the credential missing cannot be read" in faults and "team-a" not in faults, faults
    (tmp_path / "missing").write_text("sk-b")
    good = check({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert good.returncode == 0 and 'secret = { credential = "team-a" }' in good.stdout, good
    assert "sk-" not in good.stdout + good.stderr
    assert "$CREDENTIALS_DIRECTORY is not set" in check({}).stderr


def test_the_scripts_install_and_uninstall_in_a_root(tmp_path):
    def install(*arguments):
        command = [ROOT / "scripts/install", "--root", tmp_path, "--binary", BINARY, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    install()
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    wanted = {"usr/local/bin/shardgate", "etc/systemd/system/shardgate.service", "etc/shardgate/shardgate.toml",
              "etc/sysctl.d/60-shardgate.conf", "usr/lib/sysusers.d/shardgate.conf",
              "usr/local/share/man/man1/shardgate.1"}
    assert wanted <= files, files
    config = tmp_path / "etc/shardgate/shardgate.toml"
    assert subprocess.run([BINARY, "check", "--config", config], capture_output=True).returncode == 0
    config.write_text(config.read_text() + "# mine\n")
    assert "kept" in install() and config.read_text().endswith("# mine\n")
    install("--uninstall")
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} & wanted
    assert left == {"etc/shardgate/shardgate.toml"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_the_unit_is_right_and_its_sandbox_tight(tmp_path):
    unit = tmp_path / "shardgate.service"
    text = (ROOT / "tuning/shardgate.service").read_text()
    unit.write_text(text.replace("/usr/local/bin/shardgate", str(BINARY)))
    shutil.copy(ROOT / "tuning/shardgate.socket", tmp_path)
    for name in ("shardgate.service", "shardgate.socket"):
        command = ["systemd-analyze", "verify", "--man=no", tmp_path / name]
        seen = subprocess.run(command, capture_output=True, text=True)
        assert (seen.returncode, seen.stderr.strip()) == (0, ""), seen
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit]
    seen = subprocess.run(command, capture_output=True, text=True)
    print(seen.stdout.splitlines()[-1])
    assert seen.returncode == 0, seen.stdout
