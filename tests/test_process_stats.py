from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

import pytest

from l4proxy.process_stats import ProcessStats, collect_process_stats
from l4proxy.snapshot import merge
from l4proxy.stats_registry import StatsRegistry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def registry() -> StatsRegistry:
    registry = StatsRegistry()
    collect_process_stats(registry)
    return registry


def test_memory_and_cpu_are_those_of_this_process(registry: StatsRegistry) -> None:
    registry.snapshot()
    stats = registry.group(ProcessStats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 1 << 20 < stats.resident_memory_bytes <= peak * 1.05
    assert stats.virtual_memory_bytes > stats.resident_memory_bytes
    assert 0 < stats.cpu_seconds_total <= time.process_time()
    assert stats.threads >= 1


def test_open_files_are_counted(registry: StatsRegistry) -> None:
    stats = registry.group(ProcessStats)
    registry.snapshot()
    before = stats.open_fds
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    registry.snapshot()
    assert stats.open_fds == before + 5
    for file in files:
        os.close(file)
    assert stats.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_start_time_lies_between_fork_and_answer() -> None:
    code = "from l4proxy.process_stats import _start_time; print(_start_time())"
    before = time.time()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    clock_tick = 1 / os.sysconf("SC_CLK_TCK")
    assert before - clock_tick <= float(answer.stdout) <= time.time()


def test_workers_share_a_limit_and_add_their_memory(registry: StatsRegistry) -> None:
    snapshot = registry.snapshot()
    merged = merge([snapshot, snapshot])

    def value(name: str) -> object:
        return merged[f"l4proxy_process_{name}"]["samples"][0]["value"]

    stats = registry.group(ProcessStats)
    assert value("resident_memory_bytes") == 2 * stats.resident_memory_bytes
    assert value("max_fds") == stats.max_fds
    assert value("start_time_seconds") == stats.start_time_seconds
