"""The contract of stats sinks: where statistics are pushed to, as plugins write it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from l4proxy.snapshot import Snapshot

__all__ = ["StatsSink"]

C = TypeVar("C")


class StatsSink(ABC, Generic[C]):
    """Base of every sink. ``C`` is a frozen dataclass, its options. Registered by ``register_stats_sinks``, used by
    ``stats_sinks = [{ use = "NAME" }]``.

    One instance per place in the configuration, kept over reloads that do not change it. Of several workers the
    supervisor pushes, the statistics of all of them in one.
    """

    name: ClassVar[str]
    interval: float = 5.0
    """Seconds between two pushes."""

    def __init__(self, config: C) -> None:
        """Raise ValueError to refuse the configuration. What has to be opened is opened by ``push``."""
        self.config = config

    @abstractmethod
    async def push(self, snapshot: Snapshot, previous: Snapshot) -> None:
        """Send the statistics. ``previous`` is what the last push was given that went well, for sinks that send
        differences (``l4proxy.snapshot.increase``).

        Runs in the event loop, so it must not wait but by ``await``, and goes over long snapshots ``in_turns``. It is
        cancelled after ten seconds. What it raises is counted and logged.
        """

    def close(self) -> None:
        """Give back what was opened. Called once, after the last push."""
