"""Which connections are logged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.access_log.flags import RESPONSE_FLAGS
from l4proxy.config.types import Duration, Percent
from l4proxy.errors import did_you_mean

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord

__all__ = ["When"]


@dataclass(frozen=True, slots=True)
class When:
    """Conditions that all have to hold; without any, every connection is logged."""

    errors_only: bool = False
    """Only what went wrong: a response flag, a failed system call or filter, an end before bytes were relayed."""
    flags: tuple[str, ...] = ()
    """Only with one of these response flags: `["UF", "UH"]`."""
    min_duration: Duration = Duration(0.0)
    """Only what lasted at least so long."""
    sample: Percent = Percent(100.0)
    """So many of those that are left, chosen at random."""

    def __post_init__(self) -> None:
        for flag in self.flags:
            if flag not in RESPONSE_FLAGS:
                raise ValueError(f"flags: unknown response flag {flag!r}{did_you_mean(flag.upper(), RESPONSE_FLAGS)}")

    def compile(self) -> Callable[[AccessRecord], bool]:
        """Return the function that says whether a record is logged."""
        conditions = list(self._conditions())
        if not conditions:
            return lambda _record: True
        if len(conditions) == 1:
            return conditions[0]
        return lambda record: all(condition(record) for condition in conditions)

    def _conditions(self) -> list[Callable[[AccessRecord], bool]]:
        """The cheap ones first, sampling last."""
        conditions: list[Callable[[AccessRecord], bool]] = []
        if self.errors_only:
            conditions.append(lambda record: record.failed)
        if self.flags:
            wanted = frozenset(self.flags)
            conditions.append(lambda record: not wanted.isdisjoint(record.reason.flags))
        if self.min_duration:
            shortest = self.min_duration
            conditions.append(lambda record: record.duration >= shortest)
        if self.sample < 100:
            from random import random

            fraction = self.sample / 100
            conditions.append(lambda _record: random() < fraction)
        return conditions
