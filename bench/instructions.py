"""Counts the instructions of an exchange and of an event, and compares them with the baseline.

    bench/instructions.rs under callgrind, twice:   (count of 2N - count of N) / N

One shard on a host without sockets, built with the release profile. The same binary gives the
same number, to the instruction: no clock, no random number, and callgrind fixes the addresses
and most of what the CPU says of itself. What may move the numbers is a compiler, a C library or
a CPU without AVX2, so the baseline names them and is only compared where they are the same.

Not counted: the kernel, the ring. Counted although it is not the gateway's: the thin host, about
250 instructions for each arrival of bytes. SHA-256 is counted without the CPU's instructions for
it, which callgrind does not have. Copies are told to use vector moves whatever their length: a
`rep movsb` would count as one instruction a byte.

Exit code 1: a scenario costs more than the baseline and 3 %.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = HERE / "out" / "instructions"
BASELINE = HERE / "instructions.json"
MARGIN = 0.03
TUNABLES = ":".join(
    f"glibc.cpu.x86_rep_{what}_threshold=1000000000" for what in ("movsb", "stosb")
)
# name: (what is counted, exchanges and events of the short run, of the long one, how many more)
SCENARIOS = {
    "plain-500": ("exchange", (100, 0), (200, 0), 100),
    "plain-32k": ("exchange", (50, 0), (100, 0), 50),
    # A model with an exact cache: a stored answer, and one that is asked for anew and stored.
    "cached-hit": ("exchange", (100, 0), (200, 0), 100),
    "cached-miss": ("exchange", (100, 0), (200, 0), 100),
    "cached-event-paced": ("event", (20, 100), (20, 200), 2000),
    "cached-event-back-to-back": ("event", (20, 100), (20, 200), 2000),
    # Three targets instead of one.
    "least_latency": ("exchange", (100, 0), (200, 0), 100),
    "prefix_affinity": ("exchange", (100, 0), (200, 0), 100),
    "stream": ("exchange of one event", (100, 1), (200, 1), 100),
    "event-back-to-back": ("event", (20, 100), (20, 200), 2000),
    "event-paced": ("event", (20, 100), (20, 200), 2000),
    # A client of Anthropic's dialect with a provider of OpenAI's, and the other way round.
    "to-anthropic-back-to-back": ("event", (20, 100), (20, 200), 2000),
    "to-anthropic-paced": ("event", (20, 100), (20, 200), 2000),
    "from-anthropic-back-to-back": ("event", (20, 100), (20, 200), 2000),
    "from-anthropic-paced": ("event", (20, 100), (20, 200), 2000),
}


def build():
    """The program's path, built."""
    command = ["cargo", "build", "--release", "--locked", "--example", "instructions"]
    subprocess.run([*command, "--quiet"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / "instructions"


def surroundings():
    """What the numbers depend on besides the source."""
    rustc = subprocess.run(["rustc", "-V"], cwd=ROOT, capture_output=True, text=True, check=True)
    cpu = Path("/proc/cpuinfo").read_text()
    return {
        "rustc": rustc.stdout.split("(")[0].strip(),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine() + (" with AVX2" if " avx2 " in cpu else ""),
    }


def count(binary, name, exchanges, events):
    """Instructions of one run; its profile stays in `bench/out/instructions`."""
    profile = OUT / f"{name}.{exchanges}x{events}"
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=*instructions::counted*"]
    command += [f"--callgrind-out-file={profile}", str(binary), name, str(exchanges), str(events)]
    env = {"PATH": os.environ["PATH"], "GLIBC_TUNABLES": TUNABLES}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"instructions: {' '.join(command)} failed:\n{done.stderr}")
    return int(found[1])


def judge(name, new, old):
    """A word on the change, and whether it is a regression."""
    if old is None:
        return "not in the baseline", False
    change = new / old - 1
    if change > MARGIN:
        return f"{change:+.1%}: REGRESSION", True
    return f"{change:+.1%}" + (": the baseline may be lowered" if change < -MARGIN else ""), False


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--update", action="store_true", help="write the baseline")
    options = parser.parse_args()
    unknown = set(options.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if shutil.which("valgrind") is None:
        sys.exit("instructions: no valgrind; install it (apt-get install valgrind)")
    OUT.mkdir(parents=True, exist_ok=True)
    binary, here = build(), surroundings()
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    known = baseline.get("instructions", {})
    is_same = baseline.get("measured_with") == here
    worse = []
    for name in options.names or SCENARIOS:
        per, short, long, more = SCENARIOS[name]
        each = round((count(binary, name, *long) - count(binary, name, *short)) / more)
        verdict, is_worse = judge(name, each, known.get(name))
        print(f"{name:25} {each:8,} instructions an {per:22} {verdict}", flush=True)
        worse += [name] * is_worse
        if options.update:
            known[name] = each
    if options.update:
        BASELINE.write_text(json.dumps({"measured_with": here, "instructions": known}, indent=2) + "\n")
        print(f"written to {BASELINE.relative_to(ROOT)}")
    elif not is_same:
        print(f"not judged: the baseline is of {baseline.get('measured_with')}, this is {here}")
    elif worse:
        print(f"more than {MARGIN:.0%} above the baseline: {', '.join(worse)}. Look at")
        print(f"  callgrind_annotate --auto=no {OUT.relative_to(ROOT)}/{worse[0]}.*")
        print("and cut it; or, where the work is wanted, run with --update and say why in the commit.")
        sys.exit(1)


if __name__ == "__main__":
    main()
