"""A case that moves bytes for a while: what small messages, streams and churn have in common."""

from __future__ import annotations

from dataclasses import dataclass

from bench import Bench
from case import CPU_SHARES, Case, Column, Sample
from measure import memory, usage
from peers import Peer
from programs import Work

__all__ = ["CHUNK", "MESSAGE", "SPARE", "Traffic", "Unit"]

MESSAGE = 100
"""Bytes of a small message."""
CONNECTIONS = 1024
"""What every proxy is made for,"""
SPARE = 50
"""and beyond those that are opened at once, so that none is refused while another is being closed."""
CHUNK = 256 * 1024
"""Bytes of one read or write of a stream."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What costs are given for: ``size`` of what the client counts (bytes, exchanges)."""

    cpu_title: str
    cpu_scale: float
    """How many of the cost's own unit make a second."""
    rate_title: str
    size: float = 1
    latency: bool = True
    """Whether a unit has a beginning and an end, and so a latency."""


class Traffic(Case):
    """Start the proxy, warm it up, and read what a window of ``bench.seconds`` costs it."""

    def __init__(
        self, name: str, title: str, unit: Unit, work: Work, *, tls: bool = False, filters: int = 0, routes: int = 0
    ) -> None:
        columns = [
            Column("cpu", unit.cpu_title, 1, "ratio"),
            Column("rate", unit.rate_title, 0 if unit.latency else 2, "ratio"),
            *([Column("p50", "p50 us", 0), Column("p99", "p99 us", 0)] if unit.latency else []),
            Column("rss", "RSS MiB", 1),
            *CPU_SHARES,
        ]
        super().__init__(name, title, columns)
        self.unit = unit
        self.work = work
        self.tls = tls
        self.filters = filters
        self.routes = routes

    def _upstream_pid(self, bench: Bench) -> int:
        if self.work.upstream_http2:
            return bench.http2_upstream_pid
        return bench.http_upstream_pid if self.work.http or self.work.http2 else bench.upstream_pid

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        with (
            bench.proxy(
                peer,
                tls=self.tls,
                http=self.work.http,
                http2=self.work.http2,
                upstream_http2=self.work.upstream_http2,
                filters=self.filters,
                routes=self.routes,
                connections=max(CONNECTIONS, self.work.connections + SPARE),
            ) as proxy,
            bench.load(proxy, self.work) as client,
        ):
            upstream_pid = self._upstream_pid(bench)
            of_load = usage(client.pid, upstream_pid)
            of_proxy = usage(proxy.pid)
            result = client.run()
            window = of_proxy.until(usage(proxy.pid))
            load_window = of_load.until(usage(client.pid, upstream_pid))
            resident = memory(proxy.pid)["rss"] / 1024
        units = result.units / self.unit.size
        return {
            "cpu": window.cpu / units * self.unit.cpu_scale,
            "rate": units / result.seconds,
            "p50": result.p50,
            "p99": result.p99,
            "rss": resident,
            "busy": window.busy,
            "load_busy": load_window.busy,
            "waited": window.share_waited,
        }
