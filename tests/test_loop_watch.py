from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
import threading
import time
from typing import Any

import pytest

import l4proxy.logging_setup
from clusters import run, until
from l4proxy import Filter, Matcher, NoConfig, PeekInfo
from l4proxy.chain import FilterStats
from l4proxy.kind import Kind
from l4proxy.loop_watch import LoopStats, LoopWatch, suspect_of
from l4proxy.stats_registry import StatsRegistry

SLOW = 0.2


class Sleepy(Filter[NoConfig]):
    name = "sleepy"

    def on_client_data(self, data: bytes) -> bytes:
        _nap(SLOW * 2.5)
        return data

    async def on_connect(self) -> None:
        await asyncio.sleep(0)
        _nap(SLOW * 2.5)


class SlowMatch(Matcher[NoConfig]):
    name = "slow_match"

    def match(self, peek: bytes, info: PeekInfo) -> bool:
        _nap(SLOW * 2.5)
        return True


def _nap(seconds: float) -> None:
    time.sleep(seconds)


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l4proxy.logging_setup, "_last_said", {})


def watched(block: Any, *, slow: float = SLOW) -> StatsRegistry:
    """Run ``block()`` in a loop that is watched, and let the loop turn again."""
    registry = StatsRegistry()

    async def main() -> None:
        watch = LoopWatch(registry, slow)
        watch.start()
        beats = registry.group(LoopStats).lag_seconds
        try:
            await until(lambda: beats.count >= 1)
            waiting = block()
            if waiting is not None:
                await waiting
            before = beats.count
            await until(lambda: beats.count > before)
        finally:
            watch.close()

    run(main)
    return registry


def test_a_filter_that_blocks_is_named_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    registry = watched(lambda: Sleepy().on_client_data(b"x") and None)
    assert registry.group(FilterStats, filter="sleepy").blocked_total == 1
    assert registry.group(LoopStats).blocked_total == 1
    (record,) = caplog.records
    first, *stack = record.getMessage().split("\n")
    assert "filter sleepy (" in first
    assert "in on_client_data) keeps it busy" in first
    assert "time.sleep(seconds)" in stack[-1]


def test_also_in_a_coroutine(caplog: pytest.LogCaptureFixture) -> None:
    registry = watched(lambda: Sleepy().on_connect())
    assert registry.group(FilterStats, filter="sleepy").blocked_total == 1
    assert "filter sleepy (" in caplog.text


def test_other_plugins_are_named_too(caplog: pytest.LogCaptureFixture) -> None:
    registry = watched(lambda: SlowMatch(NoConfig()).match(b"", PeekInfo(("", 0), ("", 0))) and None)
    assert registry.group(LoopStats).blocked_total == 1
    assert "matcher slow_match (" in caplog.text


def test_nobody_is_accused_where_no_plugin_is_in_sight(caplog: pytest.LogCaptureFixture) -> None:
    registry = watched(lambda: _nap(SLOW * 2.5))
    assert registry.group(LoopStats).blocked_total == 1
    assert "no plugin (" in caplog.text
    assert "in _nap)" in caplog.text


def test_what_holds_the_interpreters_lock_is_counted_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    usleep = ctypes.PyDLL(None).usleep  # a PyDLL keeps the lock
    registry = watched(lambda: usleep(int(SLOW * 2.5e6)) or None)
    assert registry.group(LoopStats).blocked_total == 1
    assert "nobody could look meanwhile" in caplog.text


def test_a_loop_that_turns_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    registry = watched(lambda: asyncio.sleep(0.3), slow=5.0)
    assert registry.group(LoopStats).blocked_total == 0
    assert registry.group(LoopStats).lag_seconds.count >= 2
    assert not caplog.records


def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    async def twice() -> None:
        for _ in range(2):
            Sleepy().on_client_data(b"x")
            await asyncio.sleep(SLOW)

    with caplog.at_level(logging.WARNING):
        registry = watched(twice)
    assert registry.group(FilterStats, filter="sleepy").blocked_total == 2
    assert len(caplog.records) == 1


def test_the_thread_ends_with_the_watch() -> None:
    before = threading.active_count()
    watched(lambda: None)
    for thread in threading.enumerate():
        if thread.name == "l4proxy loop watch":
            thread.join()
    assert threading.active_count() <= before


def test_a_command_at_the_bottom_of_the_stack_is_nobody() -> None:
    from l4proxy.cli.command import Command

    class Run(Command):
        name = "run"

        def add_arguments(self, parser: Any) -> None:
            pass

        def run(self, args: Any, plugins: Any) -> int:
            assert suspect_of(sys._getframe()).kind is None
            return 0

    Run().run(None, None)


def test_a_class_method_is_recognised() -> None:
    class Provisions(Filter[NoConfig]):
        name = "provisions"

        @classmethod
        def provision(cls, config: NoConfig, server: Any) -> Any:
            return suspect_of(sys._getframe())

    suspect = Provisions.provision(NoConfig(), None)
    assert (suspect.kind, suspect.name) == (Kind.FILTER, "provisions")
