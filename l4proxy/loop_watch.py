"""Does the event loop turn? A plugin that keeps it busy is caught in the act and named.

A timer of the loop beats twice a second and measures how late it is; a thread looks whether it beats. When it has not
for too long, the thread reads the stack of the loop's thread: the innermost ``self`` that is a filter, matcher or other
plugin is the one. It costs the loop one timer, and nothing per connection or chunk.

The thread cannot look while a C function holds the interpreter's lock (a regular expression that backtracks for ever):
then the beat finds out afterwards, and nobody can be named.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType
from typing import NamedTuple

from l4proxy.chain import FilterStats
from l4proxy.kind import Kind, base_of
from l4proxy.logging_setup import once_per
from l4proxy.stats import SECONDS, Stats, counter, histogram
from l4proxy.stats_registry import StatsRegistry

__all__ = ["LoopStats", "LoopWatch", "Suspect", "suspect_of"]

log = logging.getLogger("l4proxy.loop_watch")

LONGEST_BEAT = 0.5
"""Seconds between two beats at most."""
STACK_LINES = 6
"""Innermost frames that are logged."""


class LoopStats(Stats, subsystem="event_loop"):
    """The event loop."""

    lag_seconds = histogram("How late a timer of the event loop was, measured twice a second.", buckets=SECONDS)
    blocked_total = counter("Times that the event loop did not turn for longer than slow_callback.")


class Suspect(NamedTuple):
    """Who keeps the loop busy. ``kind`` is None where no plugin is in sight."""

    kind: Kind | None
    name: str
    where: str
    stack: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name} ({self.where})" if self.kind else f"no plugin ({self.where})"


class LoopWatch:
    """Watches the loop that runs in the thread that calls ``start``."""

    def __init__(self, registry: StatsRegistry, slow: float) -> None:
        """``slow``: seconds without a turn that are too many."""
        self._registry = registry
        self._stats = registry.group(LoopStats)
        self._slow = slow
        self._beat_time = min(LONGEST_BEAT, slow / 2)
        self._due = 0.0
        """When the next beat has to come. Read by the thread."""
        self._caught: Suspect | None = None
        """Whom the thread has reported for the beat that is due."""
        self._handle: asyncio.TimerHandle | None = None
        self._closing = threading.Event()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._beat_later()
        threading.Thread(target=self._look, name="l4proxy loop watch", daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        if self._handle is not None:
            self._handle.cancel()

    # In the loop

    def _beat_later(self) -> None:
        self._due = time.monotonic() + self._beat_time
        self._handle = self._loop.call_later(self._beat_time, self._beat)

    def _beat(self) -> None:
        lag = max(time.monotonic() - self._due, 0.0)
        self._stats.lag_seconds.record(lag)
        caught, self._caught = self._caught, None
        if lag > self._slow:
            self._stats.blocked_total += 1
            if caught is None and (times := once_per(60, "event loop blocked unseen")):
                log.warning(
                    "the event loop did not turn for %.1f s, and nobody could look meanwhile: a C function held the"
                    " interpreter's lock, or the process was stopped (%d times)",
                    lag,
                    times,
                )
        if caught is not None and caught.kind is Kind.FILTER:
            self._registry.group(FilterStats, filter=caught.name).blocked_total += 1
        self._beat_later()

    # In the thread

    def _look(self) -> None:
        """A beat that is late by three quarters of the limit is looked at again a quarter later: after a pause of the
        whole process both threads wake up at once, and that is nobody's fault."""
        late = 0.0
        while not self._closing.wait(self._slow / 4):
            due = self._due
            missed = time.monotonic() - due
            if missed > self._slow and due == late and self._caught is None:
                self._catch(due, missed)
            late = due if missed > self._slow * 3 / 4 else 0.0

    def _catch(self, due: float, missed: float) -> None:
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return
        suspect = suspect_of(frame)
        if due != self._due:
            return  # it has just turned
        self._caught = suspect
        if times := once_per(60, f"event loop {suspect.kind} {suspect.name}"):
            log.warning(
                "the event loop has not turned for %.1f s: %s keeps it busy, and all connections wait (%d times)\n%s",
                missed,
                suspect,
                times,
                suspect.stack,
            )


def suspect_of(frame: FrameType) -> Suspect:
    """The plugin whose code a thread is in, ``frame`` being the innermost of its stack."""
    stack = "".join(traceback.format_stack(frame)[-STACK_LINES:]).rstrip()
    at: FrameType | None = frame
    while at is not None:
        kind, name = _plugin_in(at)
        if kind is not None:
            return Suspect(kind, name, _place(at), stack)
        at = at.f_back
    return Suspect(None, "", _place(frame), stack)


def _plugin_in(frame: FrameType) -> tuple[Kind | None, str]:
    """The kind and name of the plugin whose method a frame is."""
    code = frame.f_code
    if not code.co_argcount or code.co_varnames[0] not in ("self", "cls"):
        return None, ""
    owner = frame.f_locals.get(code.co_varnames[0])
    cls = owner if isinstance(owner, type) else type(owner)
    for kind in Kind:
        # A command stands at the bottom of every stack.
        if kind is not Kind.COMMAND and base_of(kind, cls) is not None:
            return kind, str(getattr(cls, "name", cls.__name__))
    return None, ""


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
