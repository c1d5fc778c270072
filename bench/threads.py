"""What the threads of a process group did, as the kernel counts it: ran, or waited for a core.

Linux only, from /proc. Reads; never touches a process.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Thread(msgspec.Struct, frozen=True):
    """Seconds since a thread began: on a core, and ready to run without one (0 where unknown)."""

    name: str
    cpu_s: float
    waiting_s: float


Threads = Mapping[tuple[int, int], Thread]


def threads_of(pids: Iterable[int], proc: Path = _PROC) -> Threads:
    """The threads of processes `pids` by process and thread id, without those that end just now."""
    found: dict[tuple[int, int], Thread] = {}
    for pid in pids:
        try:
            tasks = [int(entry.name) for entry in (proc / f"{pid}/task").iterdir()]
        except OSError:
            continue
        for task in tasks:
            thread = _maybe_thread(proc / f"{pid}/task/{task}")
            if thread is not None:
                found[pid, task] = thread
    return found


def busiest(before: Threads, after: Threads) -> Thread:
    """The thread that ran longest between two looks, and what it did in between.

    A thread that is new did all of it in between. Raises ValueError without any thread.
    """
    if not after:
        raise ValueError("no thread lives")
    nothing = Thread("", 0.0, 0.0)
    spent = []
    for key, now in after.items():
        then = before.get(key, nothing)
        spent.append(Thread(now.name, now.cpu_s - then.cpu_s, now.waiting_s - then.waiting_s))
    return max(spent, key=lambda thread: thread.cpu_s)


def cpu_between(before: Threads, after: Threads) -> float:
    """CPU seconds of all threads between two looks, without what ended in between."""
    return sum(
        now.cpu_s - (before[key].cpu_s if key in before else 0.0) for key, now in after.items()
    )


def busy_s(proc: Path = _PROC) -> float:
    """Seconds since the system began that its cores were not idle, added up."""
    line = (proc / "stat").read_text().partition("\n")[0]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


def _maybe_thread(folder: Path) -> Thread | None:
    try:
        name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        scheduled = _maybe_text(folder / "schedstat").split()
    except OSError:
        return None
    if len(scheduled) < 2:
        return Thread(name, cpu_s, 0.0)
    # In nanoseconds, where `stat` counts hundredths of a second.
    return Thread(name, int(scheduled[0]) / 1e9, int(scheduled[1]) / 1e9)


def _maybe_text(path: Path) -> str:
    """What is in `path`, "" where the kernel was built without it."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
