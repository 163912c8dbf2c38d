"""What the system says of this process: memory, file descriptors, CPU. Read when statistics are collected."""

from __future__ import annotations

import os
import resource
import time

from l4proxy.logging_setup import lost_lines
from l4proxy.stats import Stats, counter, gauge
from l4proxy.stats_registry import StatsRegistry

__all__ = ["ProcessStats", "collect_process_stats", "memory_bytes"]

_PAGE = resource.getpagesize()


class ProcessStats(Stats, subsystem="process"):
    """This process; of several workers, all of them together."""

    resident_memory_bytes = gauge("Resident memory.")
    virtual_memory_bytes = gauge("Virtual memory.")
    open_fds = gauge("Open file descriptors.")
    max_fds = gauge("How many file descriptors one process may have open; 0 when there is no limit.", merge="min")
    threads = gauge("Threads.")
    cpu_seconds_total = counter("CPU time, user and system.", number=float)
    log_lost_lines_total = counter("Lines of the process's log that were not read in time, or not written.")
    start_time_seconds = gauge("When the process started, in seconds since the epoch.", number=float, merge="min")


def collect_process_stats(registry: StatsRegistry) -> None:
    """Keep a ``ProcessStats`` of ``registry`` up to date. What a system has no ``/proc`` for stays 0."""
    stats = registry.group(ProcessStats)
    stats.start_time_seconds = _start_time()
    registry.on_collect(lambda: _collect(stats))


def _collect(stats: ProcessStats) -> None:
    stats.cpu_seconds_total = time.process_time()
    stats.log_lost_lines_total = lost_lines()
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    stats.max_fds = 0 if limit == resource.RLIM_INFINITY else limit
    stats.virtual_memory_bytes, stats.resident_memory_bytes = memory_bytes()
    try:
        stats.threads = int(_stat_fields()[17])
        stats.open_fds = len(os.listdir("/proc/self/fd")) - 1  # one of them reads the folder
    except FileNotFoundError:
        return


def memory_bytes() -> tuple[int, int]:
    """Virtual and resident memory of this process; 0 where a system has no ``/proc``."""
    try:
        fields = _stat_fields()
    except FileNotFoundError:
        return 0, 0
    return int(fields[20]), int(fields[21]) * _PAGE


def _stat_fields() -> list[bytes]:
    """Fields of ``/proc/self/stat`` (proc_pid_stat(5)), from the third on: the second, a file name, may hold spaces."""
    with open("/proc/self/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def _start_time() -> float:
    try:
        since_boot = int(_stat_fields()[19]) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        return time.time() - time.monotonic()
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
