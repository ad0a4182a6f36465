"""A real Valkey or Redis server: the system's `redis-server`, started for a test and ended with it."""

import pathlib
import shutil
import signal
import socket
import subprocess
import time

from processes import PATIENCE, free_port

MISSING = "no redis-server; scripts/setup installs it, or: apt-get install redis-server"


class RedisServer:
    """A server on a port of its own, without files that outlive it."""

    def __init__(self, folder: pathlib.Path, *arguments: str):
        self.program = shutil.which("redis-server") or shutil.which("valkey-server")
        assert self.program, MISSING
        self.folder, self.arguments = folder, arguments
        self.port = free_port()
        self.child = None
        self.start()

    def start(self) -> None:
        """Starts it, or starts it again at the same place, empty."""
        self.child = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             *self.arguments],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("PING")
                return
            except OSError:
                assert time.monotonic() < until, "redis-server does not answer"
                time.sleep(0.02)

    def ask(self, *words: str) -> bytes:
        """What it answers to one command, as it comes, up to a mebibyte; a refusal, too."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            sent = [word.encode() for word in words]
            link.sendall(b"*%d\r\n" % len(sent) + b"".join(b"$%d\r\n%s\r\n" % (len(it), it) for it in sent))
            link.shutdown(socket.SHUT_WR)  # it answers, then closes
            answer = b""
            while len(answer) < 1 << 20 and (piece := link.recv(1 << 16)):
                answer += piece
        return answer

    def stall(self) -> None:
        """It does nothing from here on, and the kernel goes on for it."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self.child.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it at once, as a machine that fails."""
        if self.child is not None:
            self.child.kill()
            self.child.wait(PATIENCE)
            self.child = None
