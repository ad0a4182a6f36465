"""What is measured: one function for each kind of run. Each takes the bench, a proxy and the repetition."""

import time

import machine
import proxies
import transit

PLAIN = "sim/ttft-0ms/events-20"
BURST = "sim/ttft-0ms/rate-0/events-100"
PACED = "sim/ttft-0ms/rate-100/events-100"
# Connections of the plain exchanges; of those with the proxy's CPU saturated.
CONNECTIONS = (1, 2, 8, 64, 256, 1000)
CONNECTIONS_BUSY = (64, 256)
SPINNERS = 2  # beside a saturated proxy; what it gets is a third of its CPU
# Measured in short turns: how many make a repetition, and their length in seconds. The ratios of single turns
# have quartiles 0.3 to 0.6 apart for the added p50 and 0.1 to 0.2 for most others; `plain` is seven rows, so more
# turns cost the most there. A turn is over before a line of progress comes, which would be taken for the edge of a window.
TURNS = {"plain": (5, 0.9), "sse": (11, 0.9), "low": (15, 0.45)}
TURNS_QUICK = dict.fromkeys(TURNS, (2, 0.4))
RATE = 500  # requests a second: low load
RATE_SHARD = 4000  # requests a second for each shard
IDLE_STREAMS = 5000
HELD_STREAMS = (5000, 9000)


def per_request(row):
    row["cpu_us"] = row["cpu_s"] / max(row["answered"], 1) * 1e6


def per_event(row):
    row["cpu_us"] = row["cpu_s"] / max(row["events"], 1) * 1e6


def plain(bench, name, rep, connections, prompt, label="plain"):
    """Closed loop: each connection asks again when it has its answer."""
    timed = bench.one_turn(label) if label in TURNS else bench.timed()
    load = ["-c", connections, "--model", PLAIN, "--prompt-bytes", prompt]
    row = bench.measure(f"{label}-{prompt}-c{connections}", name, rep, "plain", *load, *timed)
    per_request(row)
    row["p50"], row["p99"] = (row["times"]["latency"][f"{p}_us"] for p in ("p50", "p99"))


def busy(bench, name, rep, connections):
    """The same while processes that only spin take their shares of the proxy's CPU."""
    bench.proxy(name)
    spinners = [proxies.spinner(bench.options.near_cpu, bench.folder) for _ in range(SPINNERS)]
    try:
        plain(bench, name, rep, connections, 500, "busy")
    finally:
        for spinner in spinners:
            spinner.end()


def stream(bench, name, rep, label, connections, model):
    load = ["-c", connections, "--stream", "--model", model]
    per_event(bench.measure(f"sse-{label}", name, rep, "stream", *load, *bench.one_turn("sse")))


def low(bench, name, rep):
    """Open loop, 500 requests a second: added latency, and what being woken costs."""
    load = ["-c", 64, "--rate", RATE, "--model", PLAIN]
    row = bench.measure("low", name, rep, "plain", *load, *bench.one_turn("low"))
    per_request(row)
    row["p50"], row["p99"] = (row["times"]["latency"][f"{p}_us"] for p in ("p50", "p99"))


def shards(bench, name, rep, label, count):
    """Open loop at `count` times the rate of one shard, on `count` times 64 connections."""
    load = ["-c", 64 * count, "--rate", RATE_SHARD * count, "--model", PLAIN]
    per_request(bench.measure(f"shards-{label}", name, rep, "plain", *load, *bench.timed()))


def fresh(bench, name):
    """A new process that has served a little: a freed page used again would hide what a stream costs."""
    if name != "direct":
        bench.end(name)
    proxy = bench.proxy(name)
    few = ["--streams", 8, "--model", "sim/ttft-0ms/events-2", "--ramp", "50ms"]
    bench.load(proxy.url("held"), "fresh", *few)
    return proxy


def idle(bench, name, rep):
    """CPU of a process with nothing to do, then of one with streams in which nothing happens."""
    options, proxy = bench.options, fresh(bench, name)
    warm = ["-c", 64, "--model", PLAIN, "-d", "500ms"]
    bench.load(proxy.url("plain"), "idle-warm", *warm)
    time.sleep(1)
    empty, empty_wakes = quiet(proxy, options.empty_s)
    streams, found = options.idle_streams, []
    # Two events: one at once, one after everything has been looked at.
    silent_s = options.ramp_s + options.settle_s + options.idle_s + 4
    began = time.monotonic()

    def watch(is_open):
        if is_open == streams and not found:
            time.sleep(options.settle_s)
            found.extend(quiet(proxy, options.idle_s))
            found.append(time.monotonic() - began)

    load = ["--streams", streams, "--ramp", f"{options.ramp_s}s", "--timeout", f"{silent_s + 30}s"]
    model = f"sim/ttft-0ms/rate-{1 / silent_s:.5f}/events-2"
    row = bench.measure("idle", name, rep, "held", *load, "--model", model, watch=watch)
    share, wakes, until = found or (float("nan"), float("nan"), 0)
    if until > silent_s:
        raise SystemExit(f"idle: looked until {until:.1f} s, but events came at {silent_s} s")
    row["idle_percent"], row["empty_percent"] = share * 100, empty * 100
    row["idle_wakes"], row["empty_wakes"] = wakes, empty_wakes
    bench.end(name)


def quiet(proxy, seconds):
    """Share of one CPU that `proxy` uses in the next `seconds`, and how often a second a thread woke."""
    pids, began = machine.tree(proxy.pid), time.monotonic()
    before, slept = machine.cpu_s(pids), machine.sleeps(pids)
    time.sleep(seconds)
    passed = time.monotonic() - began
    return (machine.cpu_s(pids) - before) / passed, (machine.sleeps(pids) - slept) / passed


def hold(bench, part, name, rep, streams, **options):
    """Streams with an event a second each."""
    return bench.measure(
        f"{part}-{streams}", name, rep, "held", "--streams", streams, "--ramp", f"{bench.options.ramp_s}s",
        "--event-interval", "1s", "--timeout", "120s",
        "--model", f"sim/ttft-200ms/rate-1/events-{bench.options.held_events}", **options,
    )  # fmt: skip


def held(bench, name, rep, streams):
    """Streams with an event a second each: memory of one, and how late the events are."""
    options, proxy = bench.options, fresh(bench, name)
    before, looks = machine.memory(proxy.pid), []
    # One look, when every stream has passed several events: it costs a millisecond of the far CPU,
    # so `direct` has it too.
    look_at = max(1, options.held_events - options.ramp_s - 3)

    def watch(is_open):
        if is_open == streams:
            looks.append(machine.memory(proxy.pid) if len(looks) + 1 == look_at else None)

    row = hold(bench, "held", name, rep, streams, watch=watch)
    if name != "direct" and len(looks) >= look_at:
        row.update({kind: (now - before[kind]) / streams for kind, now in looks[look_at - 1].items()})
    late = row["times"].get("lateness", {})
    row["late_p99_ms"], row["late_max_ms"] = (late.get(f"{p}_us", float("nan")) / 1e3 for p in ("p99", "max"))
    per_event(row)
    bench.end(name)


def inside(bench, name, rep, streams):
    """The same streams, and how long each event is inside the proxy."""
    options, proxy = bench.options, fresh(bench, name)
    ports = [bench.simulate.ports["held"], proxy.ports["held"]]
    capture = transit.Capture(bench.folder, ports, options.far_cpu)
    pids = {bench.simulate.pid, *machine.tree(proxy.pid)}
    try:
        if not all(machine.run_first(pid, True) for pid in pids):
            raise SystemExit("inside: provider and proxy must be allowed to run first (SCHED_FIFO, as root)")
        row = hold(bench, "inside", name, rep, streams)
    finally:
        row_lost = capture.end()
        machine.run_first(bench.simulate.pid, False)
    delays, left_out = transit.transits(capture, *ports)
    if len(delays) < 100:
        raise SystemExit(f"inside: {len(delays)} events were seen on both sides")
    for label, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
        row[f"inside_{label}_ms"] = delays[int(len(delays) * share)]
    row["inside_seen"], row["inside_left_out"], row["inside_lost"] = len(delays), left_out, row_lost
    per_event(row)
    bench.end(name)


def plan(options):
    """All runs in order: (part, repetitions, proxies, seconds of one, function of bench, name, rep)."""
    names, ours = options.names, [n for n in options.names if n in ("gateway", "baseline")]
    others = [name for name in names if name not in ours]
    reps, run_s = options.reps, options.run_s + 0.4
    turns_s = {part: turns * (turn_s + 0.3) for part, (turns, turn_s) in options.turns.items()}
    todo = []

    def add(part, count, who, seconds, function, *arguments):
        todo.append((part, count, who, seconds, lambda b, n, r: function(b, n, r, *arguments)))

    for connections in options.connections:
        with_direct = ["direct"] if connections == 64 else []
        add("plain", reps, with_direct + names, turns_s["plain"], plain, connections, 500)
    add("plain", reps, names, turns_s["plain"], plain, 64, 32768)
    for connections in options.connections_busy:
        add("busy", reps, names, run_s, busy, connections)
    add("sse", reps, names, turns_s["sse"], stream, "burst", 64, BURST)
    add("sse", reps, names, turns_s["sse"], stream, "paced", 100, PACED)
    add("low", reps, ["direct", *names], turns_s["low"], low)
    # A pair for each repetition: the same load in all, and the same for each shard.
    if "gateway" in names:
        add("shards", reps, ["gateway", "two-shards"], run_s, shards, "same", 1)
        add("shards", reps, ["two-shards"], run_s, shards, "each", 2)
    idle_s = options.empty_s + options.ramp_s + options.settle_s + options.idle_s + 8
    add("idle", min(reps, 2), ours, idle_s, idle)
    for streams in options.held_streams:
        held_s = options.ramp_s + options.held_events + 2
        with_direct = ["direct"] if streams == options.held_streams[-1] else []
        add("held", reps, with_direct + ours, held_s, held, streams)
        # Memory has an absolute goal: the others' is looked at once.
        add("held", 0 if options.quick else 1, others, held_s, held, streams)
    add("inside", reps, names, held_s + 4, inside, options.held_streams[-1])
    return [one for one in todo if one[0] in options.only]
