"""CPU a request of one model of a gateway against another one, at the same time.

Two gateways of the same binary on CPU 0, a load for each of them and the simulated provider on CPU 1. A repetition is
two turns, between which the models change places, and gives one ratio: the geometric mean of the two. What the machine
does meanwhile it does to both: a model against itself gave 1.01 (standard error of the mean 0.006) where one after the
other moved by a tenth.
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
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
shards = 1

[providers.p]
dialect = "openai"
base_url = "http://127.0.0.1:19801/v1"
"""
PORTS = (19802, 19804)
SECONDS = 2
# Each answer is followed by the next question.
CLOSED = ("-c", "64")


@contextlib.contextmanager
def measuring(binary, models):
    """A function that gives the microseconds of CPU a request of two models, asked at the same time."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = [subprocess.Popen([binary, "simulate", "--listen", "127.0.0.1:19801", "--cpus", "1"], **quiet)]
        for port in PORTS:
            config = folder / f"{port}.toml"
            config.write_text(CONFIG.format(port=port, admin=port + 1) + models)
            running.append(subprocess.Popen(["taskset", "-c", "0", binary, "serve", "--config", config], **quiet))

        def turn(pair, options):
            """`pair`: the model of each gateway."""
            gateways = [process.pid for process in running[1:]]
            before = [machine.cpu_s([pid]) for pid in gateways]
            loads = []
            for port, model in zip(PORTS, pair):
                load = [binary, "load", "--url", f"http://127.0.0.1:{port}", "--model", model, "--cpu", "1", *options]
                load += ["-d", f"{SECONDS}s", "--json", folder / f"{port}.json"]
                loads.append(subprocess.Popen(load, stdout=subprocess.DEVNULL))
            if any([load.wait() for load in loads]):
                raise SystemExit("pairs: a load failed")
            counts = [json.loads((folder / f"{port}.json").read_text())["ok"] for port in PORTS]
            return [(machine.cpu_s([pid]) - cpu) / count * 1e6 for pid, cpu, count in zip(gateways, before, counts)]

        try:
            time.sleep(1.5)
            yield turn
        finally:
            for process in running:
                process.terminate()
                process.wait()


def compare(turn, label, model, against, repetitions, options=CLOSED):
    """Prints the median of the ratios, least and most, the standard error, and the microseconds of both."""
    turn((model, against), options)  # both are warm
    turn((against, model), options)
    ratios, times = [], []
    for _ in range(repetitions):
        other, plain = turn((model, against), options)
        plain_too, other_too = turn((against, model), options)
        ratios.append((other / plain * other_too / plain_too) ** 0.5)
        times += [(other, plain), (other_too, plain_too)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    us, plain_us = (statistics.median(one) for one in zip(*times))
    spread = f"({min(ratios):.3f}–{max(ratios):.3f}, standard error {error:.3f})"
    print(f"{label:24} {statistics.median(ratios):.3f} {spread}, {us:.1f} µs against {plain_us:.1f}", flush=True)
