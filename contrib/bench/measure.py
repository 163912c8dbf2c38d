"""What a process and all its children have cost so far, read from /proc.

CPU comes from ``/proc/PID/task/TID/schedstat`` (proc(5)): nanoseconds on a CPU, user and system together, and those in
which the task could have run but something else had its core. The second tells whether the first can be trusted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from errors import BenchError

__all__ = ["Usage", "Window", "memory", "usage"]

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of one process tree since it began, and the moment at which they were read."""

    at: float
    cpu: float
    waited: float

    def until(self, later: Usage) -> Window:
        return Window(later.at - self.at, later.cpu - self.cpu, later.waited - self.waited)


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds between two readings: by the clock, on the CPU, and waiting for the CPU."""

    wall: float
    cpu: float
    waited: float

    @property
    def busy(self) -> float:
        """Share of the time that the tree was running, in percent of one core: threads can make it more than 100."""
        return 100 * self.cpu / self.wall

    @property
    def share_waited(self) -> float:
        """Share of the time that the tree wanted the CPU and did not get it, in percent."""
        return 100 * self.waited / self.wall


def usage(*roots: int) -> Usage:
    """What the processes ``roots`` and their children have used. Threads that have ended are not counted."""
    cpu = waited = 0
    for root in roots:
        for pid in _tree(root):
            for task in (PROC / str(pid) / "task").iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    on_cpu, waiting, _ = (task / "schedstat").read_text().split()
                    cpu += int(on_cpu)
                    waited += int(waiting)
    if roots and not cpu:
        raise BenchError("this kernel does not count CPU time in /proc/PID/task/TID/schedstat (CONFIG_SCHED_INFO)")
    return Usage(time.monotonic(), cpu / 1e9, waited / 1e9)


def memory(root: int) -> dict[str, float]:
    """Resident memory of a process tree in KiB: ``rss`` as ``ps`` shows it, and ``pss``, which divides what is shared
    among those who share it (also with processes that have nothing to do with the tree)."""
    total = {"rss": 0.0, "pss": 0.0}
    for pid in _tree(root):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
            key, value, *_ = line.split()
            if key in ("Rss:", "Pss:"):
                total[key[:-1].lower()] += int(value)
    return total


def _tree(root: int) -> Iterator[int]:
    yield root
    for task in (PROC / str(root) / "task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))
