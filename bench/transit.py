"""How long an event is inside a proxy: from the provider's segment on loopback to the proxy's.

    provider ──► lo ──► proxy ──► lo ──► load
                 │ t0             │ t1          tcpdump: the kernel's own time of each segment
                 └───── t1 - t0 ──┘

The load generator's own figure holds the time in which provider, generator and this process wait for
each other on the far CPU. Here both times are taken by the kernel when the segments pass. Provider and
proxy run before all others (SCHED_FIFO), so that events leave at their pace, not in bursts after a
wait, and other work of the machine does not count. What is left is the proxy's part: being woken, its
work, its queue. An event is known by the id of its
stream and the number of its token; one that was not seen on both sides is left out and counted.

Source: pcap-savefile(5), magic 0xa1b23c4d (nanoseconds).
"""

import re
import shutil
import signal
import struct
import subprocess
import time

TOKEN = re.compile(rb'data: \{"id":"([^"]+)"[^\n]*?"content":"token (\d+) "')
SNAP = 2048  # bytes kept of a segment; an event is about 300, and a proxy may join some
KERNEL_KIB = 65536  # what the kernel keeps for tcpdump while that waits for its CPU


class Capture:
    """Segments with payload that come from `ports`, from now until `read`."""

    def __init__(self, folder, ports, cpu):
        self.file = folder / "transit.pcap"
        self.file.unlink(missing_ok=True)
        sources = " or ".join(f"tcp src port {port}" for port in ports)
        payload = "(ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2)) != 0"
        command = [
            "taskset", "-c", str(cpu), shutil.which("tcpdump", path="/usr/bin:/usr/sbin:/sbin"), "-i", "lo",
            "-n", "-s", str(SNAP), "-B", str(KERNEL_KIB), "--time-stamp-precision=nano", "-Z", "root",
            "-w", str(self.file), f"({sources}) and {payload}",
        ]  # fmt: skip
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 10
        while not self.file.exists() and self.child.poll() is None and time.monotonic() < until:
            time.sleep(0.05)

    def end(self):
        """Ends it; what it says it lost."""
        time.sleep(0.5)
        self.child.send_signal(signal.SIGINT)
        _, said = self.child.communicate(timeout=60)
        lost = re.search(r"(\d+) packets dropped by kernel", said)
        return int(lost[1]) if lost else 0

    def segments(self):
        """(source port, nanoseconds, payload) of each segment."""
        data = self.file.read_bytes()
        magic = struct.unpack_from("<I", data)[0] if len(data) >= 24 else 0
        if magic != 0xA1B23C4D:
            raise SystemExit(f"tcpdump wrote no capture with nanoseconds (magic {magic:#x})")
        at = 24
        while at + 16 <= len(data):
            seconds, nanos, kept, _ = struct.unpack_from("<IIII", data, at)
            frame = data[at + 16 : at + 16 + kept]
            at += 16 + kept
            tcp = 14 + (frame[14] & 0xF) * 4
            payload = frame[tcp + (frame[tcp + 12] >> 4) * 4 :]
            yield int.from_bytes(frame[tcp : tcp + 2], "big"), seconds * 10**9 + nanos, payload


def transits(capture, provider, proxy):
    """Milliseconds of each event between the two ports, in order; and events that were left out.

    Those count that came while all streams were open: after the first event of the last stream, before
    the last event of the first one.
    """
    seen = {provider: {}, proxy: {}}
    for port, nanos, payload in capture.segments():
        for found in TOKEN.finditer(payload):
            seen[port].setdefault(found.groups(), nanos)
    came, went = seen[provider], seen[proxy]
    first, last = {}, {}
    for (stream, _), nanos in came.items():
        first.setdefault(stream, nanos)
        last[stream] = nanos
    began, ended = max(first.values(), default=0), min(last.values(), default=0)
    steady = {event for event, nanos in came.items() if began <= nanos < ended}
    both = steady & went.keys()
    return sorted((went[event] - came[event]) / 1e6 for event in both), len(steady - both)
