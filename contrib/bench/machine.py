"""The machine: which core is whose, how many files may be open, and what it is called in a report."""

from __future__ import annotations

import os
import platform
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cores", "describe", "raise_file_limit"]


@dataclass(frozen=True, slots=True)
class Cores:
    """The proxy has a core of its own; load, upstream and this program share the others. One core is shared by all."""

    proxy: frozenset[int]
    load: frozenset[int]

    @classmethod
    def split(cls) -> Cores:
        available = sorted(os.sched_getaffinity(0))
        return cls(frozenset(available[-1:]), frozenset(available[:-1] or available))

    @property
    def shared(self) -> bool:
        return self.proxy == self.load

    @contextmanager
    def for_proxy(self) -> Iterator[None]:
        """Processes started within run on the proxy's core."""
        os.sched_setaffinity(0, self.proxy)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.load)

    def take_load(self) -> None:
        os.sched_setaffinity(0, self.load)


def raise_file_limit(wanted: int) -> int:
    """Let this process and its children open ``wanted`` files; returns how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def describe(cores: Cores) -> dict[str, object]:
    """What a reader of the figures has to know of the machine."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "proxy_core": sorted(cores.proxy),
        "load_cores": sorted(cores.load),
        "load_average": os.getloadavg()[0],
    }
