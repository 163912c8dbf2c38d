"""Latency without a queue: requests come at half of what the slowest peer can do, whether or not earlier ones have been
answered."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from bench import Bench
from case import CPU_SHARES, Case, Column, Sample
from errors import BenchError
from peers import Peer
from programs import Work

__all__ = ["HalfLoad"]


class ClosedLoop(Protocol):
    """A case whose load has the mode ``paced``, too."""

    work: Work

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]: ...

    def sample(self, bench: Bench, peer: Peer) -> Sample: ...


class HalfLoad(Case):
    """What ``closed`` does, at half of the lowest rate that it has just shown to be a peer's limit: the same rate for
    all peers, found anew in every round.

    A request's latency is counted from the moment at which it was due. So one that could not be sent, because whoever
    should have been answered was not, has waited for that long (no coordinated omission)."""

    def __init__(self, name: str, title: str, closed: ClosedLoop, connections: int) -> None:
        """``connections``: over so many the requests come, which should be more than ever wait at a time."""
        columns = (
            Column("p50", "p50 us", 0, "ratio"),
            Column("p99", "p99 us", 0, "ratio"),
            Column("rate", "req/s", 0),
            *CPU_SHARES,
        )
        super().__init__(name, title, columns)
        self.closed = closed
        self.connections = connections
        self._peers: Sequence[Peer] = ()
        self._measured: set[str] = set()
        """Who was measured in this round."""
        self._rate = 0.0

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]:
        self._peers = self.closed.peers(chosen)
        return self._peers

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        if not self._rate or peer.name in self._measured:
            self._measured.clear()
            self._rate = self._lowest_limit(bench) / 2
        self._measured.add(peer.name)
        paced = copy.copy(self.closed)
        paced.work = replace(self.closed.work, mode="paced", connections=self.connections, rate=self._rate)
        return paced.sample(bench, peer)

    def _lowest_limit(self, bench: Bench) -> float:
        limits: list[float] = []
        failures: list[BenchError] = []
        for peer in self._peers:
            try:
                limits.append(self.closed.sample(bench, peer)["rate"])
            except BenchError as error:  # which will be told when its turn comes
                failures.append(error)
        if not limits:
            raise failures[0]
        return min(limits)
