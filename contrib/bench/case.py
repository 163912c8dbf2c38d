"""What a case is: a job for a proxy, and the columns of the table that it fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench import Bench
from peers import Peer

__all__ = ["CPU_SHARES", "Case", "Column", "Sample"]

Sample = dict[str, float]
"""One measurement of one peer, by column key."""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure. With ``compare``, the table has its range, and its ratio or difference to another peer's."""

    key: str
    title: str
    digits: int = 1
    compare: Literal["", "ratio", "difference"] = ""


CPU_SHARES = (Column("busy", "busy %", 0), Column("load_busy", "load %", 0), Column("waited", "wait %", 1))
"""How busy the proxy was, how busy load and upstream were, and for how long the proxy wanted its core in vain."""


class Case(ABC):
    """One job. ``sample`` is called once per peer and round, on a proxy that it starts itself."""

    def __init__(self, name: str, title: str, columns: Sequence[Column]) -> None:
        self.name = name
        self.title = title
        self.columns = tuple(columns)

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]:
        """Who is measured, of those that the user has chosen."""
        return chosen

    @abstractmethod
    def sample(self, bench: Bench, peer: Peer) -> Sample:
        """Measure once. Raises BenchError where the peer or the machine cannot do it."""
