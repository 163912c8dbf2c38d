"""Memory: of a proxy that has just started, and per connection that has exchanged one message and is silent since."""

from __future__ import annotations

import time

from bench import Bench
from case import Case, Column, Sample
from measure import memory
from peers import Peer
from programs import Work

from cases.traffic import MESSAGE, SPARE

__all__ = ["CASES"]

SETTLE = 1.0
"""Seconds for buffers to be given back."""


class IdleConnections(Case):
    """Resident memory after opening many connections, less what it was after the first, divided by their number."""

    def __init__(self, name: str, title: str, mode: str, *, http: bool = False) -> None:
        columns = (
            Column("per_connection", "KiB/conn", 2, "ratio"),
            Column("rss", "RSS MiB", 1),
            Column("connections", "connections", 0),
        )
        super().__init__(name, title, columns)
        self.mode = mode
        self.http = http

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        count = bench.many_connections
        with bench.proxy(peer, connections=count + SPARE, http=self.http) as proxy:
            with bench.load(proxy, Work(self.mode, 1, MESSAGE, http=self.http), warm_up=False):
                time.sleep(SETTLE)
                before = memory(proxy.pid)["rss"]
            with bench.load(proxy, Work(self.mode, count, MESSAGE, http=self.http), warm_up=False):
                time.sleep(SETTLE)
                after = memory(proxy.pid)["rss"]
        return {"per_connection": (after - before) / count, "rss": after / 1024, "connections": count}


class IdleProcess(Case):
    """Resident memory of a proxy without connections."""

    def __init__(self) -> None:
        columns = (Column("rss", "RSS MiB", 1, "ratio"), Column("pss", "PSS MiB", 1))
        super().__init__("idle_rss", "memory of a proxy that has just started", columns)

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        with bench.proxy(peer) as proxy:
            time.sleep(SETTLE)
            return {kind: kib / 1024 for kind, kib in memory(proxy.pid).items()}


CASES = (
    IdleConnections("idle", "memory of idle connections, each after one exchange", "ping"),
    IdleConnections("http_idle", "memory of idle keep-alive connections, each after one GET", "once", http=True),
    IdleProcess(),
)
