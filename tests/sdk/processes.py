"""Starts the real binary: simulated providers and gateways, each ended by its pid."""

import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("SHARDGATE_BIN") or ROOT / "target/debug/shardgate")
PATIENCE = 30.0  # seconds in which a process must listen or end

KEY = "sk-all-9f2c71"
NARROW_KEY = "sk-narrow-51ab08"
PROVIDER_KEY = "sk-provider-c0ffee"


def free_port() -> int:
    """A port that nobody uses now; for processes that cannot be given port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fixture_of(start, scope="function"):
    """A fixture: what `start()` gives, until its `stop()` at the end of the scope."""

    @pytest.fixture(scope=scope)
    def running():
        started = start()
        yield started
        started.stop()

    return running


class Process:
    """A running `shardgate` whose lines of one pipe are collected."""

    def __init__(self, arguments, pipe, environment=None):
        if not BINARY.exists():
            raise FileNotFoundError(f"{BINARY} is not built: cargo build, or set SHARDGATE_BIN")
        self.lines: list[str] = []
        self._fresh: queue.Queue = queue.Queue()
        self.child = subprocess.Popen(
            [BINARY, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe == "stdout" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if pipe == "stderr" else None,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(getattr(self.child, pipe),))
        self._reader.start()

    def _read(self, stream):
        for line in stream:
            self.lines.append(line.rstrip("\n"))
            self._fresh.put(self.lines[-1])
        self._fresh.put(None)

    def wait_for(self, what: str) -> str:
        """The first line that holds `what`."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._fresh.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no line with {what!r}; came: {self.lines}") from None
            if line is None:
                raise RuntimeError(f"ended with {self.child.wait()}; said: {self.lines}")
            if what in line:
                return line

    def stop(self) -> int:
        """Ends it at once and gives its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        try:
            code = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise
        finally:
            self._reader.join(PATIENCE)
        return code


class Provider(Process):
    """`shardgate simulate`, by default on a port of its own."""

    def __init__(self, *arguments, listen="127.0.0.1:0"):
        super().__init__(["simulate", "--listen", listen, "--shards", "1", *arguments], "stdout")
        self.address = self.wait_for("listening on ").rsplit(" ", 1)[1]

    def stats(self) -> dict:
        with urllib.request.urlopen(f"http://{self.address}/__sim/stats", timeout=5) as answer:
            return json.load(answer)

    def wait_until(self, is_so, within=5.0) -> dict:
        """Its counters, as soon as `is_so(counters)`."""
        until = time.monotonic() + within
        while not is_so(stats := self.stats()):
            if time.monotonic() > until:
                raise TimeoutError(f"not so within {within} s: {stats}")
            time.sleep(0.01)
        return stats

    def at_rest(self) -> dict:
        """Its counters, once every request of the tests before has ended for it, too."""
        ends = ("answered", "failed", "streams_done", "broken", "cancelled")
        return self.wait_until(lambda stats: stats["requests"] == sum(stats[end] for end in ends))


class Gateway(Process):
    """`shardgate serve` with a config of its own; ports are the kernel's choice. A config that says nothing of
    retries asks no target twice, so that attempts can be counted."""

    def __init__(self, folder: pathlib.Path, config: str, environment=None, sockets="auto"):
        path = folder / "shardgate.toml"
        server = f'[server]\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\nsockets = "{sockets}"\n'
        retry = "" if "[retry" in config else '\n[retry]\nwait_max = "0s"\n'
        path.write_text(server + config + retry)
        self.config_path = path
        super().__init__(["serve", "--config", str(path)], "stderr", environment)
        said = json.loads(self.wait_for("listening on "))["message"]
        words = said.replace(",", " ").replace(";", " ").split()
        self.address = words[words.index("on") + 1]
        self.admin = words[words.index("admin") + 2]
        host, port = self.address.rsplit(":", 1)
        self.host, self.port = host, int(port)
        self.url = f"http://{self.address}/v1"

    def get_admin(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=5) as answer:
            return answer.read().decode()

    def purge(self, query: str = "") -> int:
        """Everything that is stored, or what the query says; gives the number of the purge."""
        wanted = urllib.request.Request(f"http://{self.admin}/api/cache/purge{query}", b"", method="POST")
        with urllib.request.urlopen(wanted, timeout=5) as answer:
            return json.load(answer)["purge"]

    def status(self) -> dict:
        return json.loads(self.get_admin("/api/status"))

    def total(self, name: str) -> int:
        """The sum of a number of `/api/status` over the shards."""
        return sum(shard[name] for shard in self.status()["shards"])

    def at_rest(self) -> None:
        """Waits until no exchange is under way and every log line is written (the tick is 100 ms)."""
        until = time.monotonic() + PATIENCE
        while self.total("exchanges_open") > 0:
            if time.monotonic() > until:
                raise TimeoutError(self.get_admin("/api/status"))
            time.sleep(0.02)
        while len(self.receipts()) < self.total("receipts_total"):
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self.receipts())} lines, {self.total('receipts_total')} receipts")
            time.sleep(0.02)

    def end(self) -> None:
        """Ends it at rest; nothing in it has panicked."""
        self.at_rest()
        assert self.total("panics_total") == 0
        self.stop()

    def receipts(self) -> list[dict]:
        """The access log so far; what a line leaves out as there is nothing to say stands there, too."""
        rare = {"hedge": "-", "continuations": 0, "tokens_estimated": False}
        lines = ({**rare, **json.loads(line)} for line in list(self.lines) if line.startswith("{"))
        return [line for line in lines if "route" in line]

    def receipt(self, request_id: str, within=5.0) -> dict:
        """The access-log line of one exchange."""
        until = time.monotonic() + within
        while True:
            found = [line for line in self.receipts() if line["id"] == request_id]
            if found:
                assert len(found) == 1, found
                return found[0]
            if time.monotonic() > until:
                raise TimeoutError(f"no line of {request_id} in {self.lines[-5:]}")
            time.sleep(0.02)
