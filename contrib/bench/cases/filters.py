"""What filters cost that read every byte: l4proxy without any, and with one or five of them, on small messages.

A request and its response are two chunks; the cost of the filters is the difference to the same round without them.
"""

from __future__ import annotations

from collections.abc import Sequence

from case import CPU_SHARES, Column
from peers import L4proxy, Peer
from programs import Work

from cases.traffic import MESSAGE, Traffic, Unit

__all__ = ["CASES"]

CHUNK = Unit(cpu_title="CPU us/chunk", cpu_scale=1e6, rate_title="chunks/s", size=0.5)


class ReadingFilters(Traffic):
    """l4proxy against itself."""

    def __init__(self, readers: int) -> None:
        noun = "filter" if readers == 1 else "filters"
        title = f"{readers} {noun} reading both ways; {MESSAGE} bytes there and back, 32 connections"
        super().__init__(f"filters{readers}", title, CHUNK, Work("ping", 32, MESSAGE))
        cost = Column("cpu", CHUNK.cpu_title, 2, "difference")
        self.columns = (cost, Column("rate", CHUNK.rate_title, 0), *CPU_SHARES)
        self.readers = readers

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]:
        if not any(isinstance(peer, L4proxy) for peer in chosen):
            return ()
        return (L4proxy("none"), L4proxy(f"filters{self.readers}", self.readers))


CASES = (ReadingFilters(1), ReadingFilters(5))
