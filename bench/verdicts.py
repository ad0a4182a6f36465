"""How it is told: a table of medians, the goals with a verdict each, and a comparison with an earlier run.

A ratio is made within one turn, where both stood in the same seconds of the machine. That of a repetition
is the median of its turns'; what counts is the median of the repetitions', and the least and the most are
told beside it.
"""

import math
import statistics
from dataclasses import dataclass, field

SATURATED = 0.95  # share of the time in which a saturated proxy runs or waits for its CPU


class Rows:
    """All measurements, to be asked by scenario, proxy and key."""

    def __init__(self, rows):
        self.rows = rows

    def pick(self, scenario, name, key):
        """One value for each turn of each repetition."""
        rows = (r for r in self.rows if r["scenario"] == scenario and r["proxy"] == name)
        found = {(row["rep"], row["turn"]): row.get(key) for row in rows}
        return {when: v for when, v in found.items() if v is not None and not math.isnan(v)}

    def median(self, scenario, name, key):
        values = self.pick(scenario, name, key).values()
        return statistics.median(values) if values else None

    def paired(self, make, ours, theirs):
        """`make(our value, their value)` for each repetition: the median of its turns that have both."""
        found = {}
        for rep, turn in ours.keys() & theirs.keys():
            found.setdefault(rep, []).append(make(ours[rep, turn], theirs[rep, turn]))
        return [statistics.median(found[rep]) for rep in sorted(found)]

    def ratios(self, scenario, key, other, name="gateway", over=None):
        ours, theirs = self.pick(scenario, name, key), self.pick(over or scenario, other, key)
        return self.paired(lambda a, b: a / b if b > 0 else math.inf, ours, theirs)

    def added(self, scenario, name, key):
        """What the proxy adds to what the provider alone takes, for each turn of each repetition."""
        ours, direct = self.pick(scenario, name, key), self.pick(scenario, "direct", key)
        return {when: value - direct[when] for when, value in ours.items() if when in direct}


@dataclass
class Goal:
    what: str
    values: list
    most: float | None = None  # None: reported, without a goal
    unit: str = ""
    notes: list = field(default_factory=list)
    is_void: bool = False  # what the goal presumes was not so

    @property
    def value(self):
        return statistics.median(self.values)

    @property
    def verdict(self):
        if self.most is None:
            return "reported"
        if self.is_void:
            return "VOID"
        return "ok" if self.value <= self.most else "MISSED"

    def told(self):
        return {
            "what": self.what, "median": self.value, "least": min(self.values), "most": max(self.values),
            "goal": self.most, "unit": self.unit, "verdict": self.verdict, "notes": self.notes,
        }  # fmt: skip


def plain_goals(rows, options):
    limits = {1: 1.1, 2: 1.1, 8: 1.0, 64: 1.0, 256: 1.0}
    for count in options.connections:
        scenario, note = f"plain-500-c{count}", medians(rows, f"plain-500-c{count}")
        yield Goal(
            f"1 CPU per exchange, {count} connections / nginx",
            rows.ratios(scenario, "cpu_us", "nginx"), limits.get(count), notes=note,
        )  # fmt: skip
    scenario = "plain-32768-c64"
    values = rows.ratios(scenario, "cpu_us", "nginx")
    yield Goal("1 CPU per exchange, 64, 32 KiB / nginx", values, 1.0, notes=medians(rows, scenario))
    for count in options.connections_busy:
        scenario = f"busy-500-c{count}"
        wanted = [rows.median(scenario, name, "wanted_share") for name in ("gateway", "nginx")]
        note = medians(rows, scenario)
        is_void = None not in wanted and min(wanted) < SATURATED
        if is_void:
            note.append(f"not saturated ({min(wanted):.0%})")
        yield Goal(
            f"2 saturated, {count} connections / nginx",
            rows.ratios(scenario, "cpu_us", "nginx"), 0.9, notes=note, is_void=is_void,
        )  # fmt: skip


def stream_goals(rows):
    for label, told in (("burst", "back to back"), ("paced", "paced")):
        for other in ("nginx", "haproxy"):
            values = rows.ratios(f"sse-{label}", "cpu_us", other)
            note = medians(rows, f"sse-{label}", other=other)
            yield Goal(f"3 CPU per event, {told} / {other}", values, 0.9, notes=note)


def latency_goals(rows):
    ours, theirs = (rows.added("low", name, "p50") for name in ("gateway", "nginx"))
    values = rows.paired(lambda a, b: a / b if b > 0 else math.inf, ours, theirs)
    note = [f"{statistics.median(x.values()):.0f} µs" for x in (ours, theirs) if x]
    yield Goal(f"4 added p50 at 500 requests/s / nginx", values, 1.0, notes=note)
    # Closed loop: the far CPU is full, so p50 is mostly waiting for it. The added p50 is at most
    # nginx's exactly when the p50 is.
    note = medians(rows, "plain-500-c64", "p50")
    values = rows.ratios("plain-500-c64", "p50", "nginx")
    yield Goal("4 p50 at 64 connections / nginx", values, 1.0, notes=note)
    note = medians(rows, "low", "cpu_us")
    yield Goal("8 CPU per exchange at 500 requests/s / nginx", rows.ratios("low", "cpu_us", "nginx"), notes=note)


def held_goals(rows, options):
    for key, told, most in (
        ("idle", f"{options.idle_streams:,} silent streams", 0.5),
        ("empty", "no streams", None),
    ):
        values = list(rows.pick("idle", "gateway", f"{key}_percent").values())
        note = [f"{rows.median('idle', 'gateway', f'{key}_wakes') or 0:.0f} wakes/s"]
        yield Goal(f"5 idle, {told}", values, most, "% of a CPU", note)
    for streams in options.held_streams:
        values = list(rows.pick(f"held-{streams}", "gateway", "rss").values())
        yield Goal(f"6 memory per stream, {streams:,} held", values, 4096, "B")
    scenario, last = f"inside-{options.held_streams[-1]}", f"{options.held_streams[-1]:,} events/s"
    for name in options.names:
        values = list(rows.pick(scenario, name, "inside_p99_ms").values())
        note = [f"p99.9 {rows.median(scenario, name, 'inside_p999_ms') or 0:.2f} ms"]
        note.append(f"{rows.median(scenario, name, 'inside_left_out') or 0:.0f} events not seen twice")
        most = 1.0 if name == "gateway" else None
        yield Goal(f"6 p99 inside {name}, {last}", values, most, "ms", note)


def shard_goals(rows):
    each = rows.ratios("shards-each", "cpu_us", "gateway", "two-shards", "shards-same")
    same = rows.ratios("shards-same", "cpu_us", "gateway", "two-shards")
    yield Goal("7 CPU per exchange, 2 shards / 1, load each", each, 1 / 0.9)
    yield Goal("7 CPU per exchange, 2 shards / 1, load in all", same)


def medians(rows, scenario, key="cpu_us", other="nginx"):
    found = [rows.median(scenario, name, key) for name in ("gateway", other)]
    return [f"{value:.4g} µs" for value in found if value is not None]


def goals(rows, options):
    found = [
        *plain_goals(rows, options),
        *stream_goals(rows),
        *latency_goals(rows),
        *held_goals(rows, options),
        *shard_goals(rows),
    ]
    return sorted((goal for goal in found if goal.values), key=lambda goal: goal.what[0])


def spread(values, form="{:.3f}"):
    if not values:
        return "-"
    low, middle, high = (form.format(v) for v in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}–{high})"


def tell_goals(found, say):
    say(f"\n{'goal (numbered as in --help)':<52}{'median (least–most)':>26}  at most  verdict")
    for goal in found:
        form = "{:.3f}" if goal.value < 100 else "{:,.0f}"
        most = "-" if goal.most is None else f"{goal.most:.4g}"
        note = f"  {' : '.join(goal.notes)}" if goal.notes else ""
        value = spread(goal.values, form) + (f" {goal.unit}" if goal.unit == "B" or goal.unit == "ms" else "")
        what = f"{goal.what}{', ' + goal.unit if goal.unit.startswith('%') else ''}"
        say(f"{what:<52}{value:>26}  {most:>7}  {goal.verdict:<8}{note}")
    judged = [goal for goal in found if goal.most is not None]
    met = sum(goal.verdict == "ok" for goal in judged)
    say(f"{met} of {len(judged)} goals met")


# What else the rows hold: key, title, form. A line for each scenario that has it.
KEYS = [
    ("cpu_us", "CPU µs", "{:.2f}"),
    ("p50", "p50 µs", "{:.0f}"),
    ("p99", "p99 µs", "{:.0f}"),
    ("rss", "RSS bytes per stream", "{:.0f}"),
    ("pss", "PSS bytes per stream", "{:.0f}"),
    ("inside_p50_ms", "inside the proxy p50 ms", "{:.3f}"),
    ("inside_p99_ms", "inside the proxy p99 ms", "{:.3f}"),
    ("late_p99_ms", "event delay p99 ms", "{:.2f}"),
    ("late_max_ms", "event delay max ms", "{:.2f}"),
    ("idle_percent", "CPU % with silent streams", "{:.3f}"),
    ("idle_wakes", "wakes/s, silent streams", "{:.1f}"),
    ("empty_percent", "CPU % without streams", "{:.3f}"),
    ("empty_wakes", "wakes/s, without streams", "{:.1f}"),
    ("ok", "answered", "{:.0f}"),
]


def tell_rows(rows, names, say):
    heads = [*names, "direct", "two-shards"]
    heads = [head for head in heads if any(row["proxy"] == head for row in rows.rows)]
    say(f"\n{'medians':<44}" + "".join(f"{head:>12}" for head in heads))
    for scenario in dict.fromkeys(row["scenario"] for row in rows.rows):
        is_held = scenario.startswith(("held", "idle"))
        for key, title, form in KEYS:
            if key == "ok" and not is_held:
                continue
            values = [rows.median(scenario, head, key) for head in heads]
            if any(value is not None for value in values):
                cells = (form.format(v) if v is not None else "-" for v in values)
                say(f"{scenario:<18}{title:<26}" + "".join(f"{cell:>12}" for cell in cells))
    say(f"\n{'CPU shares (wants: it ran or waited to run)':<44}{'proxy':>8}{'wants':>8}{'provider':>10}{'load':>8}")
    for scenario in dict.fromkeys(row["scenario"] for row in rows.rows):
        for head in heads:
            keys = ("proxy_share", "wanted_share", "simulate_share", "load_share")
            share = [rows.median(scenario, head, key) for key in keys]
            if None not in share:
                full = "  ← far CPU full" if share[2] + share[3] > 0.95 else ""
                say(f"{scenario:<26}{head:<18}" + "".join(f"{s:>8.0%}" for s in share) + full)


def tell_baseline(rows, say):
    """The gateway against another build of it that was measured beside it."""
    if not any(row["proxy"] == "baseline" for row in rows.rows):
        return
    say(f"\n{'gateway / baseline, ratios of one repetition':<48}{'median (least–most)':>26}")
    for scenario in dict.fromkeys(row["scenario"] for row in rows.rows):
        for key, title, _ in KEYS[:4]:
            values = rows.ratios(scenario, key, "baseline")
            if values:
                say(f"{scenario:<22}{title:<26}{spread(values):>26}")


def tell_earlier(found, earlier, say):
    """The goals beside those of an earlier run's file."""
    say(f"\nagainst the run of {earlier['when']}, commit {earlier['commit']}\n{'':<52}{'then':>10}{'now':>10}")
    known = {goal["what"]: goal["median"] for goal in earlier["goals"]}
    for goal in found:
        if goal.what in known:
            say(f"{goal.what:<52}{known[goal.what]:>10.4g}{goal.value:>10.4g}")
