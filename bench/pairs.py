"""CPU a request of one model of a gateway against another one, in turns.

One gateway on CPU 0, load and simulated provider on CPU 1; each repetition has the one model before and after the other.
"""

import contextlib
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import machine

CONFIG = """[server]
listen = ["127.0.0.1:19802"]
admin = "127.0.0.1:19803"
shards = 1

[providers.p]
dialect = "openai"
base_url = "http://127.0.0.1:19801/v1"
"""
SECONDS = 3


@contextlib.contextmanager
def measuring(binary, models, connections=64):
    """A function that gives the microseconds of the gateway's CPU a request, by model and further options of `load`."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "gate.toml").write_text(CONFIG + models)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        provider = subprocess.Popen([binary, "simulate", "--listen", "127.0.0.1:19801", "--cpus", "1"], **quiet)
        serve = ["taskset", "-c", "0", binary, "serve", "--config", folder / "gate.toml"]
        gateway = subprocess.Popen(serve, **quiet)

        def measure(model, *more):
            report, before = folder / "load.json", machine.cpu_s([gateway.pid])
            load = [binary, "load", "--url", "http://127.0.0.1:19802", "--model", model, "-c", str(connections), "--cpu", "1", *more]
            subprocess.run([*load, "-d", f"{SECONDS}s", "--json", report], check=True, stdout=subprocess.DEVNULL)
            return (machine.cpu_s([gateway.pid]) - before) / json.loads(report.read_text())["ok"] * 1e6

        try:
            time.sleep(1.5)
            yield measure
        finally:
            for process in (gateway, provider):
                process.terminate()
                process.wait()


def compare(measure, model, against, repetitions, *more):
    """Prints the median of the ratios, least and most, and the microseconds of `against`."""
    ratios, plain = [], []
    for _ in range(repetitions):
        first, other, second = (measure(it, *more) for it in (against, model, against))
        plain.append((first + second) / 2)
        ratios.append(other / plain[-1])
    least, most, median = min(ratios), max(ratios), statistics.median(ratios)
    us = statistics.median(plain)
    print(f"{model:16} {median:.3f} ({least:.3f}–{most:.3f}), {against} {us:.1f} µs", flush=True)
