#!/usr/bin/env python3
"""What routing costs end to end: CPU a request of models with three targets, by strategy, against one target.

    python3 bench/strategies.py [target/release/shardgate] [repetitions] [STRATEGY …]

One gateway on CPU 0, load and simulated provider on CPU 1; each repetition has the plain model before and after
the other one. Prints the median of the ratios, least and most, and the plain model's microseconds.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

STRATEGIES = ("weighted", "round_robin", "least_latency", "least_tokens", "prefix_affinity", "cheapest", "priority")
TARGETS = ", ".join(
    f'{{ provider = "p", model = "{name}" }}'
    for name in ("sim/events-20", "sim/ttft-0ms/events-20", "sim/events-20/ttft-0ms")
)
CONFIG = """[server]
listen = ["127.0.0.1:19802"]
admin = "127.0.0.1:19803"
shards = 1

[providers.p]
dialect = "openai"
base_url = "http://127.0.0.1:19801/v1"

[models.one]
targets = [{ provider = "p", model = "sim/events-20" }]
"""
SECONDS = 3


def cpu_s(pid):
    """CPU that a process has used, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(binary, gateway, folder, model, more=()):
    """Microseconds of the gateway's CPU a request."""
    report, before = folder / "load.json", cpu_s(gateway.pid)
    load = [binary, "load", "--url", "http://127.0.0.1:19802", "--model", model, "-c", "64", "--cpu", "1", *more]
    subprocess.run([*load, "-d", f"{SECONDS}s", "--json", report], check=True, stdout=subprocess.DEVNULL)
    return (cpu_s(gateway.pid) - before) / json.loads(report.read_text())["ok"] * 1e6


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/shardgate"
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    strategies = sys.argv[3:] or STRATEGIES
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        models = [f'\n[models.{one}]\nstrategy = "{one}"\ntargets = [{TARGETS}]\n' for one in STRATEGIES]
        (folder / "gate.toml").write_text(CONFIG + "".join(models))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        provider = subprocess.Popen([binary, "simulate", "--listen", "127.0.0.1:19801", "--cpus", "1"], **quiet)
        serve = ["taskset", "-c", "0", binary, "serve", "--config", folder / "gate.toml"]
        gateway = subprocess.Popen(serve, **quiet)
        try:
            time.sleep(1.5)
            measure(binary, gateway, folder, "one")
            for strategy in strategies:
                ratios, plain = [], []
                for _ in range(repetitions):
                    first, other, second = (measure(binary, gateway, folder, it) for it in ("one", strategy, "one"))
                    plain.append((first + second) / 2)
                    ratios.append(other / plain[-1])
                least, most, median = min(ratios), max(ratios), statistics.median(ratios)
                us = statistics.median(plain)
                print(f"{strategy:16} {median:.3f} ({least:.3f}–{most:.3f}), one target {us:.1f} µs", flush=True)
        finally:
            for process in (gateway, provider):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
