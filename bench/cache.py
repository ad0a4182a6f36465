#!/usr/bin/env python3
"""What the exact cache costs end to end: CPU a request of a stored answer, and of requests that are looked up in vain and
stored, against the same model without a cache.

    python3 bench/cache.py [target/release/shardgate] [repetitions]

One gateway on CPU 0, load and simulated provider on CPU 1; each repetition has the plain model before and after the
other one. "hit" asks the same again and again; "miss" has entries of at most 1 KiB and longer answers, so that each
request is looked up, put on a tape, and not stored. Prints the median of the ratios, least and most, and the plain
model's microseconds.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from strategies import measure

CONFIG = """[server]
listen = ["127.0.0.1:19802"]
admin = "127.0.0.1:19803"
shards = 1

[providers.p]
dialect = "openai"
base_url = "http://127.0.0.1:19801/v1"

[models.plain]
targets = [{ provider = "p", model = "sim/events-20" }]

[models.hit]
targets = [{ provider = "p", model = "sim/events-20" }]
cache = { mode = "exact" }

[models.stream]
targets = [{ provider = "p", model = "sim/events-100" }]

[models.stream-hit]
targets = [{ provider = "p", model = "sim/events-100" }]
cache = { mode = "exact" }

[models.paced]
targets = [{ provider = "p", model = "sim/rate-200/events-100" }]

[models.paced-miss]
targets = [{ provider = "p", model = "sim/rate-200/events-100" }]
cache = { mode = "exact", entry_max = "1KiB", coalesce = false }
"""
PAIRS = {"hit": ("plain", False), "stream-hit": ("stream", True), "paced-miss": ("paced", True)}


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/shardgate"
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "gate.toml").write_text(CONFIG)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        provider = subprocess.Popen([binary, "simulate", "--listen", "127.0.0.1:19801", "--cpus", "1"], **quiet)
        serve = ["taskset", "-c", "0", binary, "serve", "--config", folder / "gate.toml"]
        gateway = subprocess.Popen(serve, **quiet)
        try:
            time.sleep(1.5)
            measure(binary, gateway, folder, "plain")
            for model, (against, is_stream) in PAIRS.items():
                more = ["--stream"] if is_stream else []
                ratios, plain = [], []
                for _ in range(repetitions):
                    asked = (against, model, against)
                    first, other, second = (measure(binary, gateway, folder, it, more) for it in asked)
                    plain.append((first + second) / 2)
                    ratios.append(other / plain[-1])
                least, most, median = min(ratios), max(ratios), statistics.median(ratios)
                us = statistics.median(plain)
                print(f"{model:12} {median:.3f} ({least:.3f}–{most:.3f}), without {us:.1f} µs", flush=True)
        finally:
            for process in (gateway, provider):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
