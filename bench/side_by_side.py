"""Gateway, nginx and HAProxy side by side as proxies in front of the same simulated provider.

    CPU 0                       CPU 1
    gateway | nginx | HAProxy   load, simulate

Each repetition measures all of them, one after the other (A B C, A B C, …), so that a slow
minute of the machine hits all alike; what counts is the median of the ratios of one repetition.
Loopback only; every run is bounded; only the processes that this started are ended.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import machine
import proxies

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = HERE / "out"
PLAIN = "sim/ttft-0ms/events-20"
# (what, scenario, key, by which other proxy it is divided, the most it may be)
GOALS = [
    ("CPU per request (500 B) / nginx", "a-500", "value", "nginx", 1.25),
    ("CPU per request (32 KiB) / nginx", "a-32768", "value", "nginx", 1.25),
    ("CPU per event (back to back) / nginx", "b-burst", "value", "nginx", 1.25),
    ("CPU per event (paced) / nginx", "b-paced", "value", "nginx", 1.25),
    ("RSS bytes per held stream", "de", "rss", None, 8192),
    ("event lateness p99 ms", "de", "late_p99_ms", None, 50),
]


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.files = machine.files_max()
        self.simulate = proxies.simulate(options.binary, options.far_cpu, folder)
        self.running = {}
        self.rows = []  # one per measurement

    def start(self, name):
        near, folder = self.options.near_cpu, self.folder
        if name == "direct":
            return self.simulate
        if name == "gateway":
            self.running[name] = proxies.gateway(self.options.binary, near, self.simulate, folder)
        elif name == "nginx":
            self.running[name] = proxies.nginx(near, self.simulate, folder)
        else:
            self.running[name] = proxies.haproxy(near, self.simulate, folder)
        return self.running[name]

    def proxy(self, name):
        return self.running.get(name) or self.start(name)

    def end(self, name):
        if name in self.running:
            self.running.pop(name).end()

    def close(self):
        for name in list(self.running):
            self.end(name)
        self.simulate.end()

    def load(self, url, label, *arguments, watch=None, timeout=180):
        """One run of the load generator; its report and what everybody used meanwhile."""
        report = OUT / f"{label}.json"
        command = [
            "taskset", "-c", str(self.options.far_cpu), self.options.binary, "load",
            "--url", url, "--cpu", str(self.options.far_cpu), "--json", str(report),
            "--tolerate-errors", "--progress", *map(str, arguments),
        ]  # fmt: skip
        report.unlink(missing_ok=True)
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said = []

        def listen():
            for line in child.stderr:
                said.append(line)
                if watch:
                    watch(line)

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            child.wait(timeout=timeout)
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            listener.join()
        if child.returncode != 0 or not report.exists():
            raise SystemExit(f"load failed on {label}:\n{''.join(said)[-2000:]}")
        return json.loads(report.read_text())

    def measure(self, scenario, name, rep, use, *arguments, watch=None):
        """A run against `name`, with the CPU time that proxy and simulator used in it."""
        proxy = self.proxy(name)
        before = {one: machine.cpu_s(one.pid) for one in {proxy, self.simulate}}
        start = time.monotonic()
        report = self.load(proxy.url(use), f"{scenario}-{rep}-{name}", *arguments, watch=watch)
        wall = time.monotonic() - start
        used = {one: machine.cpu_s(one.pid) - cpu for one, cpu in before.items()}
        row = {
            "scenario": scenario,
            "proxy": name,
            "rep": rep,
            "wall_s": wall,
            "requests": report["ok"] + report["warmup"] + report["failed"],
            "events": report["content_events"] + report["other_events"],
            "failed": report["failed"],
            "errors": report["errors"],
            "per_s": report["ok_per_s"],
            "cpu_s": used[proxy],
            "proxy_share": used[proxy] / wall,
            "simulate_share": used[self.simulate] / wall,
            "load_share": report["generator"]["cpu_s"] / wall,
            "times": {one["name"]: one for one in report["times"]},
            "open_peak": report["open_peak"],
            "ok": report["ok"],
        }
        self.rows.append(row)
        note = f" FAILED {row['errors']}" if row["failed"] else ""
        say(f"  {scenario:<14} {rep} {name:<8} {row['per_s']:9.0f}/s  {shares(row)}{note}")
        return row


def shares(row):
    return (
        f"proxy {row['proxy_share']:4.0%}  simulate {row['simulate_share']:4.0%}  "
        f"load {row['load_share']:4.0%}"
    )


def say(text):
    print(text, flush=True)


# What is measured. Each takes the bench, a name and the number of the repetition.


def requests(bench, name, rep, prompt):
    arguments = ["-c", 64, "--model", PLAIN, "--prompt-bytes", prompt]
    label = f"a-{prompt}"
    bench.load(bench.proxy(name).url("plain"), f"{label}-warm", *arguments, "-d", "500ms")
    row = bench.measure(label, name, rep, "plain", *arguments, "-d", bench.options.duration)
    row["value"] = row["cpu_s"] / max(row["requests"], 1) * 1e6


def stream_burst(bench, name, rep):
    arguments = ["-c", 64, "--stream", "--model", "sim/ttft-0ms/rate-0/events-100"]
    bench.load(bench.proxy(name).url("stream"), "b-burst-warm", *arguments, "-d", "500ms")
    row = bench.measure("b-burst", name, rep, "stream", *arguments, "-d", bench.options.duration)
    row["value"] = row["cpu_s"] / max(row["events"], 1) * 1e6


def stream_paced(bench, name, rep):
    arguments = ["-c", 100, "--stream", "--model", "sim/ttft-0ms/rate-100/events-100"]
    bench.proxy(name)
    row = bench.measure("b-paced", name, rep, "stream", *arguments, "-d", bench.options.duration)
    row["value"] = row["cpu_s"] / max(row["events"], 1) * 1e6


def latency(bench, name, rep):
    arguments = ["-c", 64, "--rate", 500, "--model", PLAIN, "--warmup", "1s"]
    row = bench.measure("c", name, rep, "plain", *arguments, "-d", bench.options.duration)
    row["p50"], row["p99"] = (row["times"]["latency"][f"{p}_us"] for p in ("p50", "p99"))


def held(bench, name, rep):
    """Fresh process: a freed page that is used again would hide what a stream costs."""
    options = bench.options
    bench.end(name)
    proxy = bench.start(name)
    url = proxy.url("held")
    stream = ["--model", f"sim/ttft-200ms/rate-1/events-{options.held_events}"]
    bench.load(url, "held-warm", "--streams", 8, "--model", "sim/ttft-0ms/events-2", "--ramp", "50ms")
    before, grown = machine.memory(proxy.pid), {}

    def watch(line):
        is_full = f" open={options.streams} " in line
        if is_full and proxy.child.poll() is None:
            now = machine.memory(proxy.pid)
            for kind in now:
                grown.setdefault(kind, []).append(now[kind] - before[kind])

    row = bench.measure(
        "de", name, rep, "held", "--streams", options.streams, "--ramp", options.ramp,
        "--event-interval", "1s", "--timeout", "170s", *stream, watch=watch,
    )  # fmt: skip
    for kind in ("rss", "pss"):
        # The last look: by then every stream has passed several events.
        row[kind] = grown[kind][-1] / options.streams if grown else float("nan")
    row["late_p99_ms"] = row["times"].get("lateness", {}).get("p99_us", float("nan")) / 1e3
    row["late_max_ms"] = row["times"].get("lateness", {}).get("max_us", float("nan")) / 1e3
    row["complete"] = row["ok"]
    bench.end(name)


# How it is told.


def pick(bench, scenario, name, key):
    rows = (r for r in bench.rows if r["scenario"] == scenario and r["proxy"] == name)
    return {row["rep"]: row[key] for row in rows if key in row}


def ratios_of(bench, scenario, key, other):
    """gateway / other, one for each repetition."""
    ours, theirs = (pick(bench, scenario, name, key) for name in ("gateway", other))
    return [ours[rep] / theirs[rep] for rep in ours if theirs.get(rep)]


def ratio(bench, scenario, key, other):
    """Median, least and most of gateway / other over the repetitions."""
    ratios = ratios_of(bench, scenario, key, other)
    if not ratios:
        return "-"
    middle = statistics.median(ratios)
    return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def line(bench, title, scenario, key, form="{:.2f}"):
    cells = []
    for name in ("gateway", "nginx", "haproxy"):
        values = list(pick(bench, scenario, name, key).values())
        cells.append(form.format(statistics.median(values)) if values else "-")
    ratios = [ratio(bench, scenario, key, other) for other in ("nginx", "haproxy")]
    if any(cell != "-" for cell in cells):
        say(f"{title:<38}" + "".join(f"{cell:>10}" for cell in cells) + "".join(f"{r:>24}" for r in ratios))


def added(bench):
    """Latency over that of the simulator alone, in the same repetition."""
    for row in [r for r in bench.rows if r["scenario"] == "c"]:
        direct = {r["rep"]: r for r in bench.rows if r["scenario"] == "c" and r["proxy"] == "direct"}
        if row["rep"] in direct:
            for key in ("p50", "p99"):
                row[f"added_{key}"] = row[key] - direct[row["rep"]][key]


def goals(bench):
    say("\ngoals")
    for what, scenario, key, other, most in GOALS:
        if other:
            values = ratios_of(bench, scenario, key, other)
        else:
            values = list(pick(bench, scenario, "gateway", key).values())
        if values:
            value = statistics.median(values)
            verdict = "met" if value <= most else "NOT met"
            say(f"  {what:<38}{value:>10.2f}   at most {most:<6g} {verdict}")


def tell(bench):
    added(bench)
    heads = ["gateway", "nginx", "haproxy"]
    say("\n" + " " * 38 + "".join(f"{h:>10}" for h in heads) + f"{'/ nginx':>24}{'/ haproxy':>24}")
    line(bench, "CPU µs per request, 500 B prompt", "a-500", "value")
    line(bench, "CPU µs per request, 32 KiB prompt", "a-32768", "value")
    line(bench, "CPU µs per event, back to back", "b-burst", "value", "{:.3f}")
    line(bench, "CPU µs per event, paced", "b-paced", "value")
    line(bench, "added p50 µs at 500/s", "c", "added_p50", "{:.0f}")
    line(bench, "added p99 µs at 500/s", "c", "added_p99", "{:.0f}")
    line(bench, "RSS bytes per held stream", "de", "rss", "{:.0f}")
    line(bench, "PSS bytes per held stream", "de", "pss", "{:.0f}")
    line(bench, "held streams complete", "de", "complete", "{:.0f}")
    line(bench, "event lateness p99 ms", "de", "late_p99_ms")
    line(bench, "event lateness max ms", "de", "late_max_ms")
    say("\nCPU shares, median (near CPU: the proxy; far CPU: simulate + load)")
    for scenario in dict.fromkeys(row["scenario"] for row in bench.rows):
        for name in dict.fromkeys(r["proxy"] for r in bench.rows if r["scenario"] == scenario):
            share = [
                statistics.median(pick(bench, scenario, name, f"{who}_share").values())
                for who in ("proxy", "simulate", "load")
            ]
            far = share[1] + share[2]
            full = "  ← far CPU full" if far > 0.95 else ""
            say(
                f"  {scenario:<10} {name:<8} proxy {share[0]:4.0%}  simulate {share[1]:4.0%}  "
                f"load {share[2]:4.0%}{full}"
            )
    goals(bench)
    failed = sum(row["failed"] for row in bench.rows)
    if failed:
        say(f"\n{failed} requests failed; see bench/out/*.json")
    return failed


def options():
    cpus = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, one repetition, 500 held streams")
    parser.add_argument("--only", default="a,b,c,d,e", help="parts, comma separated: a b c d e (d and e share a run)")
    parser.add_argument("--reps", type=int, help="repetitions of a, b, c (3)")
    parser.add_argument("--held-reps", type=int, default=1, help="repetitions of d, e (1)")
    parser.add_argument("--streams", type=int, help="held streams (5000)")
    parser.add_argument("--proxies", default="gateway,nginx,haproxy", help="which, comma separated")
    parser.add_argument("--binary", help="a built shardgate (default: builds the release)")
    parser.add_argument("--near-cpu", type=int, default=cpus[0], help="CPU of the proxies")
    parser.add_argument("--far-cpu", type=int, default=cpus[-1], help="CPU of load and simulate")
    found = parser.parse_args()
    found.only = set(found.only.split(","))
    found.names = found.proxies.split(",")
    if wrong := found.only - set("abcde"):
        parser.error(f"--only: there is no part {', '.join(sorted(wrong))}")
    if wrong := set(found.names) - {"gateway", "nginx", "haproxy"}:
        parser.error(f"--proxies: there is no {', '.join(sorted(wrong))}")
    found.reps = found.reps or (1 if found.quick else 3)
    found.duration = "2s" if found.quick else "8s"
    found.streams = found.streams or (500 if found.quick else 5000)
    is_short = found.quick or "e" not in found.only
    found.held_events = 10 if is_short else 60
    found.ramp = "1s" if found.quick else "5s"
    return found


def build():
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return str(ROOT / "target" / "release" / "shardgate")


def run(bench, found):
    parts = [
        ("a", lambda name, rep: requests(bench, name, rep, 500)),
        ("a", lambda name, rep: requests(bench, name, rep, 32768)),
        ("b", lambda name, rep: stream_burst(bench, name, rep)),
        ("b", lambda name, rep: stream_paced(bench, name, rep)),
        ("c", lambda name, rep: latency(bench, name, rep)),
    ]
    for part, measure in parts:
        for rep in range(found.reps if part in found.only else 0):
            for name in ["direct", *found.names] if part == "c" else found.names:
                measure(name, rep)
    for name in list(bench.running):
        bench.end(name)
    if found.only & {"d", "e"}:
        # In each proxy a stream takes two descriptors.
        if found.streams * 2 + 200 > bench.files:
            raise SystemExit(f"{found.streams} streams need more than {bench.files} descriptors")
        for rep in range(found.held_reps):
            for name in found.names:
                held(bench, name, rep)


def main():
    found = options()
    if not sys.platform.startswith("linux"):
        raise SystemExit("Linux only")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if set(found.names) & {"nginx", "haproxy"}:
        proxies.install()
    found.binary = os.path.abspath(found.binary) if found.binary else build()
    OUT.mkdir(exist_ok=True)
    if os.getloadavg()[0] > 0.5:
        say(f"note: load average {os.getloadavg()[0]:.1f}; other work makes these numbers worse")
    if found.near_cpu == found.far_cpu:
        say("note: only one CPU: proxy, load and simulate take it from each other")
    with tempfile.TemporaryDirectory(prefix="shardgate-bench-") as folder:
        bench = Bench(found, Path(folder))
        try:
            run(bench, found)
        finally:
            bench.close()
    failed = tell(bench)
    (OUT / "summary.json").write_text(json.dumps(bench.rows, indent=1))
    say(f"\nrows in {OUT.relative_to(ROOT)}/summary.json")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
