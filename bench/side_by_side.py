"""Gateway, nginx and HAProxy side by side as proxies in front of the same simulated provider.

    CPU 0 (near)                        CPU 1 (far)
    gateway | nginx | HAProxy           load, simulate, this process

Every goal of the data path is measured by one command and judged. A repetition measures all proxies
one after the other (A B C, A B C, …), so that a slow minute of the machine hits all alike; a figure is
the median of the ratios of one repetition. Machines that are shared change within seconds, too: plain,
sse and low are measured in turns of 0.9 or 0.45 s in random order (B A C, A C B, …), 5 to 15 to a
repetition (parts.TURNS), whose figure is the median of the ratios of its turns. The gateway does its
whole work (client keys, JSON, routing, metrics, an access log that goes to /dev/null); the other two
are plain proxies without a log, one worker, keep-alive to the provider, streams unbuffered. CPU time
is that of all threads of the proxy, read from the CPU clocks of its processes: of a turn all of it,
of a longer run a window inside (see meter.py): it warms up for a second, then four seconds count.

  1 plain    closed loop, 500-byte prompt, 1 to 1,000 connections; 32 KiB prompt on 64. With few
             connections the proxy sleeps between exchanges, so waking is what is measured; with
             many, the far CPU is full and the proxy has some to spare.
  2 busy     the proxy saturated. The far CPU alone cannot do that: load and provider together take
             longer for an exchange than a proxy does. So two processes that only spin, at the same
             priority, take their shares of the near CPU; the third that is left is less than what
             the load asks for, and requests queue (in larger batches, as under any overload). That
             it was so is checked: `wants` is the share of the time in which the proxy's thread ran
             or stood in the run queue, 100 % = it never slept; below 95 % the verdict is VOID.
             The spinners have next to no memory, so the caches stay the proxy's.
  3 sse      CPU per event (with and without content): streams back to back, and 100 streams with 100
             events a second each.
  4 low      open loop, 500 requests a second, latency from the scheduled time: p50 less the p50 of
             the provider asked directly; and at 64 connections (closed loop), where it is the p50.
  5 idle     CPU of the gateway over 20 s with 5,000 streams open in which nothing happens, and over
             10 s with none, after traffic (reported); how often its threads woke, too.
  6 held     5,000 and 9,000 streams with an event a second each: resident memory of a fresh process
             before and after, per stream; the p99 of the events' delay against their pace is told too.
     inside  the same 9,000 streams, seen on loopback by tcpdump: p99 of the time from the provider's
             segment to the proxy's (transit.py), which waiting on the far CPU does not touch.
  7 shards   open loop at 4,000 requests a second: CPU per exchange of two shards (both CPUs) over one,
             at the same load for each shard (so twice in all; judged: two shards then carry
             0.9 × 2 = 1.8 × the load), and at the same load in all (reported).
  8 low      CPU per exchange of the same 500 requests a second (reported).

--only takes the names in the second column. Loopback only; every run is bounded; only the processes that
this started are ended. Exit code 1: requests failed; missed goals do not change it.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import machine
import meter
import parts
import proxies
import verdicts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = HERE / "out"
PARTS = ("plain", "busy", "sse", "low", "shards", "idle", "held", "inside")
PROXIES = ("gateway", "nginx", "haproxy")


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.simulate = proxies.simulate(options.binary, options.far_cpu, folder)
        self.running = {}
        self.rows = []  # one per measurement
        self.turn = 0  # of the repetition

    def proxy(self, name):
        """The proxy of that name, started when it is first asked for."""
        if name == "direct":
            return self.simulate
        if name not in self.running:
            self.running[name] = self.start(name)
        return self.running[name]

    def start(self, name):
        options, near, folder = self.options, self.options.near_cpu, self.folder
        if name == "nginx":
            return proxies.nginx(near, self.simulate, folder)
        if name == "haproxy":
            return proxies.haproxy(near, self.simulate, folder)
        if name == "two-shards":
            both = f"{near},{options.far_cpu}"
            return proxies.gateway(options.binary, both, self.simulate, folder, name, shards=2)
        binary = options.baseline if name == "baseline" else options.binary
        return proxies.gateway(binary, near, self.simulate, folder, name)

    def end(self, name):
        if name in self.running:
            self.running.pop(name).end()

    def close(self):
        for name in list(self.running):
            self.end(name)
        self.simulate.end()

    def timed(self):
        """How long a run of the closed or the open loop goes on, and what of it is not measured."""
        return ["-d", f"{self.options.run_s}s", "--warmup", f"{self.options.warm_s}s"]

    def one_turn(self, part):
        """The same of a turn, of which all is measured."""
        _, turn_s = self.options.turns[part]
        return ["-d", f"{turn_s}s", "--warmup", "0s"]

    def load(self, url, label, *arguments, listen=None, timeout=180):
        """One run of the load generator; its report."""
        report = OUT / f"{label}.json"
        far = str(self.options.far_cpu)
        command = [
            "taskset", "-c", far, self.options.binary, "load", "--url", url, "--cpu", far,
            "--key-env", proxies.KEY_ENV, "--json", str(report), "--tolerate-errors", "--progress",
            *map(str, arguments),
        ]  # fmt: skip
        report.unlink(missing_ok=True)
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said = []

        def hear():
            for line in child.stderr:
                said.append(line)
                if listen:
                    listen(line)

        listener = threading.Thread(target=hear)
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
        """A run against `name`, and the CPU time that proxy and provider used in its window.

        `watch` is called with the number of open streams, about once a second.
        """
        proxy = self.proxy(name)
        clock = meter.Meter(proxy=proxy.pid, simulate=self.simulate.pid)

        def listen(line):
            is_open = clock.listen(line)
            if watch and is_open is not None:
                watch(is_open)

        report = self.load(proxy.url(use), f"{scenario}-{rep}.{self.turn}-{name}", *arguments, listen=listen)
        clock.end(report["ok"] + report["warmup"], report["content_events"])
        seen = clock.window()
        all_events = report["content_events"] + report["other_events"]
        row = {
            "scenario": scenario,
            "proxy": name,
            "rep": rep,
            "turn": self.turn,
            "wall_s": seen["wall_s"],
            "answered": seen["answered"],
            # The progress counts events with content; the others come in proportion.
            "events": seen["content_events"] * all_events / max(report["content_events"], 1),
            "ok": report["ok"],
            "failed": report["failed"],
            "errors": report["errors"],
            "per_s": report["ok_per_s"],
            "cpu_s": seen["cpu_s"]["proxy"],
            "proxy_share": seen["cpu_s"]["proxy"] / seen["wall_s"],
            "wanted_share": seen["wanted_share"],
            "simulate_share": seen["cpu_s"]["simulate"] / seen["wall_s"],
            "load_share": report["generator"]["cpu_s"] / max(report["elapsed_s"], 1e-9),
            "times": {one["name"]: one for one in report["times"]},
            "open_peak": report["open_peak"],
        }
        self.rows.append(row)
        note = f" FAILED {row['errors']}" if row["failed"] else ""
        keys = {"proxy": "proxy", "wants": "wanted", "provider": "simulate", "load": "load"}
        shares = "  ".join(f"{who} {row[f'{key}_share']:4.0%}" for who, key in keys.items())
        say(f"  {scenario:<16} {rep}.{self.turn} {name:<10} {row['per_s']:8.0f}/s  {shares}{note}")
        return row


def say(text):
    print(text, flush=True)


def arguments():
    cpus = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a look of a minute: does everything run?")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma separated: %(default)s")
    parser.add_argument("--reps", type=int, help="repetitions (3)")
    parser.add_argument("--proxies", default=",".join(PROXIES), help="which, comma separated: %(default)s")
    parser.add_argument("--binary", help="a built shardgate (default: what scripts/build makes; --quick: the plain release)")
    parser.add_argument("--baseline", metavar="FILE", help="another build, to be beside; or an earlier JSON")
    parser.add_argument("--json", default=str(OUT / "summary.json"), metavar="FILE", help="where the figures go")
    parser.add_argument("--near-cpu", type=int, default=cpus[0], help="CPU of the proxies")
    parser.add_argument("--far-cpu", type=int, default=cpus[-1], help="CPU of load and provider")
    found = parser.parse_args()
    found.only, found.names = set(found.only.split(",")), found.proxies.split(",")
    if wrong := found.only - set(PARTS):
        parser.error(f"--only: there is no part {', '.join(sorted(wrong))}")
    if wrong := set(found.names) - set(PROXIES):
        parser.error(f"--proxies: there is no {', '.join(sorted(wrong))}")
    found.earlier = None
    if found.baseline and found.baseline.endswith(".json"):
        found.earlier = json.loads(Path(found.baseline).read_text())
    elif found.baseline:
        found.baseline = os.path.abspath(found.baseline)
        found.names.insert(1, "baseline")
    sizes(found)
    return found


def sizes(found):
    """How long and how much: of a whole run, or of a quick one."""
    quick = found.quick
    found.reps = found.reps or (1 if quick else 3)
    # Lines of progress come at whole seconds: the last one, at 5 s, has to find the run still going.
    found.run_s, found.warm_s = (0.6, 0.1) if quick else (5.3, 1)
    found.turns = parts.TURNS_QUICK if quick else parts.TURNS
    found.connections = (1, 64, 1000) if quick else parts.CONNECTIONS
    found.connections_busy = (64,) if quick else parts.CONNECTIONS_BUSY
    found.idle_streams = 500 if quick else parts.IDLE_STREAMS
    found.held_streams = (500,) if quick else parts.HELD_STREAMS
    found.held_events = 3 if quick else 15
    found.ramp_s, found.settle_s = (1, 0.5) if quick else (6, 2)
    found.empty_s, found.idle_s = (1, 2) if quick else (10, 20)


def build(quick):
    """The release as it is installed; for a quick look without the profile, which takes minutes to make."""
    command, made = ["scripts/build"], "pgo/shardgate"
    if quick:
        command, made = ["cargo", "build", "--release", "--locked"], "release/shardgate"
    subprocess.run(command, cwd=ROOT, check=True)
    return str(ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / made)


def run(bench, todo):
    is_alone = False
    for part, reps, names, _, function in todo:
        if part in ("idle", "held", "inside") and not is_alone:
            is_alone = True  # from here on each run has a process of its own
            for name in list(bench.running):
                bench.end(name)
        turns, _ = bench.options.turns.get(part, (1, None))
        for rep in range(reps):
            for bench.turn in range(turns):
                for name in random.sample(names, len(names)) if turns > 1 else names:
                    function(bench, name, rep)


def commit():
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"


def tell(bench, options, began):
    rows = verdicts.Rows(bench.rows)
    found = verdicts.goals(rows, options)
    verdicts.tell_rows(rows, options.names, say)
    verdicts.tell_baseline(rows, say)
    if options.earlier:
        verdicts.tell_earlier(found, options.earlier, say)
    verdicts.tell_goals(found, say)
    took = time.monotonic() - began
    told = {
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "commit": commit(),
        "machine": machine.told(),
        "proxies": proxies.versions(options.names),
        "took_s": took,
        "repetitions": options.reps,
        "quick": options.quick,
        "goals": [goal.told() for goal in found],
        "rows": bench.rows,
    }
    Path(options.json).write_text(json.dumps(told, indent=1))
    say(f"took {took / 60:.1f} min; figures in {os.path.relpath(options.json)}")
    if failed := sum(row["failed"] for row in bench.rows):
        say(f"{failed} requests failed; see bench/out/*.json")
    return 1 if failed else 0


def warn(options, todo):
    if os.getloadavg()[0] > 0.5:
        say(f"note: load average {os.getloadavg()[0]:.1f}; other work makes these numbers worse")
    if options.near_cpu == options.far_cpu:
        say("note: only one CPU: proxy, load and provider take it from each other")
    if options.quick:
        say("note: --quick shows that everything runs; its figures mean nothing")
    seconds = sum(reps * len(names) * each for _, reps, names, each, _ in todo)
    say(f"takes about {seconds / 60:.0f} min")


def main():
    options = arguments()
    if not sys.platform.startswith("linux"):
        raise SystemExit("Linux only")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if set(options.names) & {"nginx", "haproxy"} or "inside" in options.only:
        proxies.install(with_tcpdump="inside" in options.only)
    options.binary = os.path.abspath(options.binary) if options.binary else build(options.quick)
    OUT.mkdir(exist_ok=True)
    todo = parts.plan(options)
    # In each proxy a stream takes two descriptors.
    most, files = max(options.idle_streams, *options.held_streams), machine.files_max()
    if options.only & {"idle", "held", "inside"} and most * 2 + 200 > files:
        raise SystemExit(f"{most} streams need more than {files} descriptors")
    warn(options, todo)
    os.sched_setaffinity(0, {options.far_cpu})  # the near one is the proxies' alone
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shardgate-bench-") as folder:
        bench = Bench(options, Path(folder))
        try:
            run(bench, todo)
        finally:
            bench.close()
    sys.exit(tell(bench, options, began))


if __name__ == "__main__":
    main()
