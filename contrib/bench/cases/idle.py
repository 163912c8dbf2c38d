"""Memory: of a proxy that has just started, and per connection that has exchanged one message and is silent since."""

from __future__ import annotations

import time

from bench import Bench
from case import Case, Column, Sample
from errors import BenchError
from measure import memory
from peers import Peer
from programs import Work

from cases.traffic import MESSAGE

__all__ = ["CASES"]

CONNECTIONS = 10_000
FILES_PER_CONNECTION = 2.25
"""Two sockets, and what proxies keep back for pipes and for themselves."""
SPARE = 50
"""Connections that a proxy is allowed beyond those, so that none is refused while another is being closed."""
SETTLE = 1.0
"""Seconds for buffers to be given back."""


class IdleConnections(Case):
    """Resident memory after opening many connections, less what it was after the first, divided by their number."""

    def __init__(self) -> None:
        columns = (
            Column("per_connection", "KiB/conn", 2, "ratio"),
            Column("rss", "RSS MiB", 1),
            Column("connections", "connections", 0),
        )
        super().__init__("idle", "memory of idle connections, each after one exchange", columns)

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        count = min(CONNECTIONS, int(bench.file_limit / FILES_PER_CONNECTION))
        if count < CONNECTIONS // 10:
            raise BenchError(f"only {bench.file_limit} files may be open (ulimit -n), for {CONNECTIONS} connections")
        with bench.proxy(peer, connections=count + SPARE) as proxy:
            with bench.load(proxy, Work("ping", 1, MESSAGE), warm_up=False):
                time.sleep(SETTLE)
                before = memory(proxy.pid)["rss"]
            with bench.load(proxy, Work("ping", count, MESSAGE), warm_up=False):
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


CASES = (IdleConnections(), IdleProcess())
