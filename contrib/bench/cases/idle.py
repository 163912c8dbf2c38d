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

    def __init__(self, name: str, title: str, mode: str, *, http: bool = False, http2: bool = False) -> None:
        columns = (
            Column("per_connection", "KiB/conn", 2, "ratio"),
            Column("rss", "RSS MiB", 1),
            Column("connections", "connections", 0),
        )
        super().__init__(name, title, columns)
        self.mode = mode
        self.http = http
        self.http2 = http2

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        count = bench.many_connections
        one, many = (Work(self.mode, number, MESSAGE, http=self.http, http2=self.http2) for number in (1, count))
        with bench.proxy(peer, connections=count + SPARE, http=self.http, http2=self.http2) as proxy:
            with bench.load(proxy, one, warm_up=False):
                time.sleep(SETTLE)
                before = memory(proxy.pid)["rss"]
            with bench.load(proxy, many, warm_up=False):
                time.sleep(SETTLE)
                after = memory(proxy.pid)["rss"]
        return {"per_connection": (after - before) / count, "rss": after / 1024, "connections": count}


class IdleStreams(Case):
    """The same for streams of HTTP/2: requests whose bodies do not come, with HTTP/2 on both sides."""

    CONNECTIONS = 30
    """With so many, the requests stay below 1024, which is as many as most let a cluster have."""
    STREAMS = 32
    """Of each connection, in the mode ``open`` of ``http2_load.c``."""

    def __init__(self) -> None:
        columns = (Column("per_stream", "KiB/stream", 2, "ratio"), Column("rss", "RSS MiB", 1))
        super().__init__("http2_streams", "memory of open streams of HTTP/2, both sides of each", columns)

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        with bench.proxy(peer, http2=True, upstream_http2=True) as proxy:
            resident = []
            for mode in ("once", "open"):
                work = Work(mode, self.CONNECTIONS, MESSAGE, http2=True, upstream_http2=True)
                with bench.load(proxy, work, warm_up=False):
                    time.sleep(SETTLE)
                    resident.append(memory(proxy.pid)["rss"])
        before, after = resident
        return {"per_stream": (after - before) / self.CONNECTIONS / self.STREAMS, "rss": after / 1024}


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
    IdleConnections("http2_idle", "the same of HTTP/2", "once", http2=True),
    IdleStreams(),
    IdleProcess(),
)
