"""Where the bytes come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from l4proxy.plugins.sniff.sight import Sight

__all__ = ["Source"]


class Source(ABC):
    """One source. ``open``, ``run`` and ``close`` are called in this order, by one run.
    ``waits`` tells that it may take its time, for as long as its output is not read."""

    waits: ClassVar[bool] = False

    @abstractmethod
    async def open(self, sight: Sight) -> str:
        """Get ready, call ``sight.begin``, and return what is looked at, for people. Raises L4ProxyError, which says
        what is missing, with nothing left open."""

    @abstractmethod
    async def run(self) -> None:
        """Feed connections until the source is at its end, or the task is cancelled. Raises L4ProxyError."""

    @abstractmethod
    async def close(self) -> None:
        """End all connections, give back what was opened. Called once, also when ``open`` did not succeed."""

    @abstractmethod
    def began(self) -> float:
        """The time of what was seen first, or 0 while nothing was."""

    @abstractmethod
    def now(self) -> float:
        """The time of what is seen, in seconds since the epoch."""

    def facts(self) -> Iterable[tuple[str, str]]:
        """What is worth a word about the source itself: a name and a value."""
        return ()
