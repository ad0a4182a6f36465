"""What the kernel says about processes: CPU time, memory, limits. Linux only, no packages."""

import os
import platform
import resource
import socket
import time
from pathlib import Path


def tree(pid):
    """`pid` and all processes under it (a master and its workers)."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo.extend(children.get(found[-1], []))
    return found


def cpu_s(pids):
    """Seconds of CPU that these processes have used, all threads, ended ones too, to the nanosecond.

    A clock of another process: ~pid << 3 | 2 (CPUCLOCK_SCHED), as clock_getcpuclockid(3) makes it.
    """
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime(~pid << 3 | 2)
        except OSError:
            continue  # it ended
    return total


def wanted_s(pids):
    """Per thread: seconds in which it ran or waited for a CPU (the first two fields of schedstat)."""
    found = {}
    for pid in pids:
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                ran, waited = stat.read_text().split()[:2]
            except (OSError, ValueError):
                continue
            found[stat.parent.name] = (int(ran) + int(waited)) / 1e9
    return found


def sleeps(pids):
    """How often their threads went to sleep so far (a count, so no other work changes it)."""
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            total += int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return total


def memory(pid):
    """Resident and proportional bytes of `pid` and what is under it."""
    rss = pss = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name == "Rss":
                rss += int(rest.split()[0]) * 1024
            elif name == "Pss":
                pss += int(rest.split()[0]) * 1024
    return {"rss": rss, "pss": pss}


def run_first(pid, on):
    """Lets all threads of `pid` run before others (SCHED_FIFO), or as others again. Whether it may."""
    policy, priority = (os.SCHED_FIFO, 1) if on else (os.SCHED_OTHER, 0)
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))
    except PermissionError:
        return False
    return True


def files_max():
    """Raises the soft limit of descriptors to the hard one (children inherit it)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_ports(count):
    """Ports that are free now, all different."""
    sockets = []
    for _ in range(count):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sockets.append(sock)
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def is_open(port):
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def told():
    """What a reader of the figures has to know of the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "load_average": os.getloadavg()[0],
    }
