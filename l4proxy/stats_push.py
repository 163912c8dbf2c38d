"""Pushes statistics to the sinks of the configuration, each at its own interval.

A sink that fails or hangs holds up itself alone. One that a reload does not change goes on; one that goes gets a last
push, so that nothing counted is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.logging_setup import once_per
from l4proxy.stats import SECONDS, Stats, counter, histogram

if TYPE_CHECKING:
    from l4proxy.config.types import Use
    from l4proxy.snapshot import Snapshot
    from l4proxy.stats_registry import StatsRegistry
    from l4proxy.stats_sink import StatsSink

__all__ = ["PUSH_TIMEOUT", "Feed", "StatsPush", "StatsSinkStats"]

log = logging.getLogger("l4proxy.stats_sink")

PUSH_TIMEOUT = 10.0
"""Seconds after which a push is given up."""
LAST_PUSH_TIMEOUT = 1.0
"""The same for a sink's last push: the process wants to end."""


class StatsSinkStats(Stats, subsystem="stats_sink", labels=("sink",)):
    """What the stats sinks of one name did."""

    pushes_total = counter("Pushes that went well.")
    failures_total = counter("Pushes that failed or took too long; the next one covers their time, too.")
    push_seconds = histogram("How long a push took.", buckets=SECONDS)


class Feed:
    """One sink at work."""

    def __init__(self, use: Use, sink: StatsSink[Any]) -> None:
        self.use = use
        self.sink = sink
        self.previous: Snapshot | None = None
        """What the last push got; None: nothing that happened before its first turn concerns it."""
        self.task: asyncio.Task[None] | None = None


class StatsPush:
    """The sinks of a process. ``switch(prepare(uses))`` takes over the first configuration and each further one."""

    def __init__(self, snapshot: Callable[[], Awaitable[Snapshot]], stats: StatsRegistry) -> None:
        self._snapshot = snapshot
        self._stats = stats
        self._feeds: list[Feed] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._started = False

    def prepare(self, uses: Sequence[Use]) -> list[Feed]:
        """The sinks of a configuration: those at work where nothing about them has changed, else new ones. Raises
        ConfigError; nothing has happened then."""
        left = list(self._feeds)
        feeds = []
        for use in uses:
            feed = next((one for one in left if one.use == use), None)
            if feed is None:
                feed = Feed(use, _make(use))
            else:
                left.remove(feed)
            feeds.append(feed)
        return feeds

    def switch(self, feeds: list[Feed]) -> None:
        """Take over what ``prepare`` returned."""
        for feed in self._feeds:
            if feed not in feeds:
                ending = asyncio.get_running_loop().create_task(self._end(feed))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
        self._feeds = feeds
        if self._started:
            self._run_all()

    def start(self) -> None:
        """Begin to push. What was counted before belongs to the first push."""
        self._started = True
        for feed in self._feeds:
            feed.previous = {}
        self._run_all()

    def _run_all(self) -> None:
        for feed in self._feeds:
            if feed.task is None:
                feed.task = asyncio.get_running_loop().create_task(self._run(feed))

    async def _run(self, feed: Feed) -> None:
        if feed.previous is None:
            feed.previous = await self._snapshot()
        while True:
            await asyncio.sleep(feed.sink.interval)
            await self._push(feed, PUSH_TIMEOUT)

    async def _push(self, feed: Feed, timeout: float) -> None:
        stats = self._stats.group(StatsSinkStats, sink=feed.sink.name)
        begin = time.monotonic()
        try:
            async with asyncio.timeout(timeout) as limit:
                snapshot = await self._snapshot()
                await feed.sink.push(snapshot, feed.previous or {})
        except Exception as error:
            stats.failures_total += 1
            if times := once_per(60, f"stats sink {feed.sink.name}"):
                cause = f"no end within {timeout:g} s" if limit.expired() else str(error)
                log.warning("stats sink %s: %s (%d times)", feed.sink.name, cause or type(error).__name__, times)
        else:
            feed.previous = snapshot
            stats.pushes_total += 1
        stats.push_seconds.record(time.monotonic() - begin)

    async def _end(self, feed: Feed) -> None:
        if feed.task is not None:
            feed.task.cancel()
            await asyncio.wait([feed.task])
            await self._push(feed, LAST_PUSH_TIMEOUT)
        feed.sink.close()

    async def close(self) -> None:
        """Push for the last time, and close the sinks."""
        self.switch([])
        if self._ending:
            await asyncio.wait(list(self._ending))


def _make(use: Use) -> StatsSink[Any]:
    try:
        sink: StatsSink[Any] = use.cls(use.config)
    except (ValueError, OSError) as error:
        raise ConfigError([ConfigProblem(use.path, str(error))]) from error
    return sink
