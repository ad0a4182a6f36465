"""CPU time of the proxy and the provider beside what the load generator has counted so far.

    spawn      t=1s             t=2s …           t=5s    end
      │ connect, │◄──────── the window ──────────►│ leave │
      │ warm up  │                                │       │

The generator prints its counts each second; with each line the CPU clocks are read. The window lies
between the first and the last line, so opening and closing connections, cold caches and the start
of processes are outside. A run too short for two lines is measured whole.
"""

import re
import time

import machine

LINE = re.compile(r"t=(\d+)s answered=(\d+) errors=(\d+) open=(\d+) events=(\d+)")


class Meter:
    def __init__(self, **pids):
        self.pids = {role: machine.tree(pid) for role, pid in pids.items()}
        self.edges = [self.sample(0, 0)]  # spawn, and at last the end
        self.lines = []

    def sample(self, answered, events):
        return {
            "at": time.monotonic(),
            "answered": answered,
            "events": events,
            "cpu": {role: machine.cpu_s(pids) for role, pids in self.pids.items()},
            "wanted": machine.wanted_s(self.pids["proxy"]),
        }

    def listen(self, line):
        """Takes a line of progress; the number of open streams, if it was one."""
        found = LINE.search(line)
        if not found:
            return None
        _, answered, _, is_open, events = map(int, found.groups())
        self.lines.append(self.sample(answered, events))
        return is_open

    def end(self, answered, events):
        self.edges.append(self.sample(answered, events))

    def window(self):
        """What happened between the first and the last sample that count."""
        first, *_, last = self.lines if len(self.lines) >= 2 else self.edges
        wall = last["at"] - first["at"]
        wanted = [last["wanted"][one] - first["wanted"].get(one, 0.0) for one in last["wanted"]]
        return {
            "wall_s": wall,
            "answered": last["answered"] - first["answered"],
            "content_events": last["events"] - first["events"],
            "cpu_s": {role: last["cpu"][role] - cpu for role, cpu in first["cpu"].items()},
            # How much of the time its busiest thread ran or waited for its CPU: 1 = saturated.
            "wanted_share": max(wanted, default=0.0) / wall,
        }
