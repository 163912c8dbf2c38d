"""A supervisor's workers as one: what the admin interface asks and tells, and the statistics of all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.admin_target import Answer
from l4proxy.control import ControlError
from l4proxy.logging_setup import once_per, set_all_levels, set_level
from l4proxy.snapshot import merge, without_gauges

if TYPE_CHECKING:
    from l4proxy.snapshot import Snapshot
    from l4proxy.stats_registry import StatsRegistry
    from l4proxy.supervisor import Slot

__all__ = ["AllWorkers"]

log = logging.getLogger("l4proxy.supervisor")

ASK_TIMEOUT = 5.0
"""Seconds that a worker has to answer; who hangs is left out."""


class AllWorkers:
    """An ``AdminTarget``. The supervisor tells it when a worker is ready and when one has died."""

    def __init__(
        self,
        slots: Sequence[Slot],
        stats: StatsRegistry,
        *,
        reload: Callable[[], Awaitable[None]],
        stop: Callable[[float | None], None],
    ) -> None:
        self._slots = slots
        self._stats = stats
        self._reload = reload
        self._stop = stop
        self.draining = False
        """No worker accepts any more, and one that dies is not started again."""
        self._withdrawn = False
        self._last: dict[int, Snapshot] = {}
        """What each worker that lives has answered last."""
        self._dead: Snapshot = {}
        """What those that have died had counted."""
        self._lasting: dict[tuple[str, str], dict[str, Any]] = {}
        """Changes that a worker which is started later has to know, in the order in which they were made."""

    def ready(self, slot: Slot) -> None:
        """A worker serves: tell it what was changed before its time."""
        for (what, _), arguments in self._lasting.items():
            if slot.control is not None:
                slot.control.tell("change", what=what, **arguments)

    def died(self, slot: Slot) -> None:
        """Keep what a worker had counted when it was last asked: counters never go backwards."""
        if (last := self._last.pop(slot.number, None)) is not None:
            self._dead = _merged([self._dead, without_gauges(last)])

    # What the admin interface asks

    @property
    def state(self) -> str:
        if self.draining or self._withdrawn:
            return "DRAINING"
        return "LIVE" if any(slot.ready.is_set() for slot in self._slots) else "INITIALIZING"

    @property
    def workers(self) -> int:
        return len(self._slots)

    async def snapshot(self) -> Snapshot:
        """The statistics of all workers in one. Of one that does not answer, what it said last."""
        await asyncio.gather(*map(self._refresh, self._slots))
        return _merged([self._stats.snapshot(), self._dead, *self._last.values()])

    async def _refresh(self, slot: Slot) -> None:
        control = slot.control
        for answer in await self._ask([slot], "snapshot"):
            if slot.control is control:  # it has not died meanwhile
                self._last[slot.number] = answer.value

    async def describe(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        return await self._ask(self._chosen(worker), "describe", what=what, **arguments)

    async def change(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        if what == "drain_listeners":
            self.draining = True
        elif what == "set_health":
            self._withdrawn = not arguments["ready"]
            self._remember(what, "", arguments)
        elif what == "set_log_level":
            logger, level = arguments["logger"], arguments["level"]
            self._remember(what, logger, arguments)
            if logger:
                set_level(logger, level)
            else:
                set_all_levels(level)
        answers = await self._ask(self._chosen(worker), "change", what=what, **arguments)
        if what == "drain_listeners":
            for slot in self._slots:
                slot.store.keep_only(set())
        return answers

    def _remember(self, what: str, about: str, arguments: dict[str, Any]) -> None:
        self._lasting.pop((what, about), None)
        self._lasting[what, about] = arguments

    async def reload(self) -> None:
        await self._reload()

    def stop(self, drain_time: float | None = None) -> None:
        self._stop(drain_time)

    def _chosen(self, worker: int | None) -> list[Slot]:
        return [slot for slot in self._slots if worker in (None, slot.number)]

    async def _ask(self, slots: Iterable[Slot], call: str, **arguments: Any) -> list[Answer]:
        """Ask workers, all at once; leave out those that do not answer."""
        asked = [(slot.number, slot.control) for slot in slots if slot.control is not None and slot.ready.is_set()]
        answers = await asyncio.gather(
            *(control.call(call, timeout=ASK_TIMEOUT, **arguments) for _, control in asked), return_exceptions=True
        )
        found = []
        for (number, _), answer in zip(asked, answers, strict=True):
            if not isinstance(answer, BaseException):
                found.append(Answer(number, answer))
            elif not isinstance(answer, ControlError):
                raise answer
            elif times := once_per(60, f"worker {number} {call}"):
                log.warning("worker %d: %s (%d times)", number, answer, times)
        return found


def _merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """All that fit together: a worker that was started anew may be of another version."""
    merged: Snapshot = {}
    for snapshot in snapshots:
        try:
            merged = merge([merged, snapshot])
        except ValueError as error:
            if times := once_per(600, "statistics of another version"):
                log.warning("the statistics of a worker are left out: %s (%d times)", error, times)
    return merged
