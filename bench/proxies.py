"""Starts and ends what is measured: gateway, nginx, HAProxy, and the simulated provider.

Each is one child of this process, pinned with taskset. Only these children are ever ended, by
their own process id. All of them are of this session, so that the scheduler gives each thread the
same weight (sched_autogroup counts by session).
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
START_S = 15
SPIN_S = 60  # most CPU seconds of a spinning process
# One client key: the gateway looks it up, the other two pass it on; the provider takes any.
KEY_ENV = "SHARDGATE_BENCH_KEY"
KEY = "sk-bench-0123456789abcdef0123456789abcdef"


class Running:
    """A child on the CPUs `cpu` that listens on `ports` (by use: plain, stream, held)."""

    def __init__(self, name, command, cpu, ports, folder):
        self.name, self.ports = name, ports
        pinned = ["taskset", "-c", str(cpu), *command]
        os.environ[KEY_ENV] = KEY
        self.log = open(folder / f"{name}.log", "ab")
        self.child = subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait_until_open()

    @property
    def pid(self):
        return self.child.pid  # taskset execs the command, so this is its own id

    def url(self, use):
        return f"http://127.0.0.1:{self.ports[use]}"

    def wait_until_open(self):
        end = time.monotonic() + START_S
        while not all(machine.is_open(port) for port in self.ports.values()):
            if self.child.poll() is not None or time.monotonic() > end:
                self.end()
                said = Path(self.log.name).read_text(errors="replace")[-2000:]
                raise SystemExit(f"{self.name} does not listen; it said:\n{said}")
            time.sleep(0.05)

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout=3)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.log.close()


def filled(template, folder, **values):
    """`template` with its @NAMES@ filled in, written to `folder`."""
    text = (HERE / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path = folder / template.removesuffix(".in")
    path.write_text(text)
    return path


def simulate(binary, cpu, folder):
    (port,) = machine.free_ports(1)
    command = [binary, "simulate", "--listen", f"127.0.0.1:{port}", "--cpus", str(cpu)]
    return Running("simulate", command, cpu, {"plain": port, "stream": port, "held": port}, folder)


def gateway(binary, cpu, upstream, folder, name="gateway", shards=1):
    """The gateway with its defaults; `cpu` as taskset reads it, a shard on each."""
    port, admin = machine.free_ports(2)
    config = filled(
        "gateway.toml.in",
        folder,
        PLAIN=port,
        ADMIN=admin,
        SHARDS=shards,
        KEY=KEY_ENV,
        SIMULATE=upstream.ports["plain"],
    )
    return serve(binary, cpu, config, port, folder, name)


def serve(binary, cpu, config, port, folder, name):
    """A gateway with the file `config`, which says that it listens on `port`."""
    # Its access log is formatted and written in full, but to /dev/null: the others write none.
    command = ["sh", "-c", 'exec "$0" serve --config "$1" 2>/dev/null', binary, str(config)]
    return Running(name, command, cpu, {"plain": port, "stream": port, "held": port}, folder)


def spinner(cpu, folder):
    """A process that takes all of the CPU that it gets; it ends by itself after SPIN_S."""
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_CPU, ({SPIN_S}, {SPIN_S}))\nwhile True: pass"
    return Running("spinner", [sys.executable, "-c", code], cpu, {}, folder)


def nginx(cpu, upstream, folder):
    plain, stream, held = machine.free_ports(3)
    files = machine.files_max()
    config = filled(
        "nginx.conf.in",
        folder,
        DIR=folder,
        FILES=files,
        CONNECTIONS=files - 100,
        USER="user root;" if is_root() else "",
        SIMULATE=upstream.ports["plain"],
        PLAIN=plain,
        STREAM=stream,
        HELD=held,
    )
    command = [found("nginx"), "-c", str(config), "-e", str(folder / "nginx-error.log")]
    return Running("nginx", command, cpu, {"plain": plain, "stream": stream, "held": held}, folder)


def haproxy(cpu, upstream, folder):
    plain, stream = machine.free_ports(2)
    config = filled(
        "haproxy.cfg.in",
        folder,
        CONNECTIONS=machine.files_max() // 2 - 200,
        SIMULATE=upstream.ports["plain"],
        PLAIN=plain,
        STREAM=stream,
    )
    command = [found("haproxy"), "-db", "-f", str(config)]
    return Running("haproxy", command, cpu, {"plain": plain, "stream": stream, "held": stream}, folder)


def is_root():
    return os.geteuid() == 0


def found(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if not path:
        raise SystemExit(f"{name} is not installed")
    return path


def versions(names):
    """What each of the other proxies says it is."""
    asks = {"nginx": "-v", "haproxy": "-v"}
    said = {}
    for name in names:
        if name in asks:
            asked = subprocess.run([found(name), asks[name]], capture_output=True, text=True)
            said[name] = (asked.stdout + asked.stderr).splitlines()[0]
    return said


def install(with_tcpdump):
    """Installs the proxies that are missing from Debian's packages, without starting services."""
    names = {"nginx": "nginx-light", "haproxy": "haproxy"} | ({"tcpdump": "tcpdump"} if with_tcpdump else {})
    sbin = "/usr/sbin:/usr/local/sbin:/sbin"
    missing = [
        package
        for name, package in names.items()
        if not (shutil.which(name) or shutil.which(name, path=sbin))
    ]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise SystemExit(f"install {' and '.join(missing)} first; there is no apt-get here")
    root = [] if is_root() else ["sudo"]
    # While this file says 101, packages do not start their services (invoke-rc.d(8)).
    policy = Path("/usr/sbin/policy-rc.d")
    mine = not policy.exists()
    if mine:
        text = b"#!/bin/sh\nexit 101\n"
        subprocess.run([*root, "tee", str(policy)], input=text, stdout=subprocess.DEVNULL, check=True)
        subprocess.run([*root, "chmod", "755", str(policy)], check=True)
    try:
        quiet = {"stdout": subprocess.DEVNULL}
        subprocess.run([*root, "apt-get", "update", "-qq"], check=True, **quiet)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        env = ["env", "DEBIAN_FRONTEND=noninteractive"]
        subprocess.run([*root, *env, *install], check=True, **quiet)
    finally:
        if mine:
            subprocess.run([*root, "rm", "-f", str(policy)], check=True)
