"""The HTTP inspector: what ``l4proxy sniff http`` and the ``http_watch`` filter look with."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeVar

from l4proxy.exchange import Selector
from l4proxy.histograms import SECONDS, Histogram
from l4proxy.inspector import Inspector, Link
from l4proxy.plugins.http_watch.config import HttpWatchConfig
from l4proxy.plugins.http_watch.conversation import HttpConversation
from l4proxy.plugins.http_watch.exchange import Call, HttpExchange
from l4proxy.stats import Stats, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry
from l4proxy.table import Column, ColumnKind, Row, Table

__all__ = ["HttpInspector"]

OTHER = "other"
K = TypeVar("K", bound=Hashable)


class HttpWatchStats(Stats, subsystem="http_watch"):
    """Requests that passed, whoever answered them."""

    requests_total = labelled_counter("Requests, by method.", label="method")
    responses_total = labelled_counter("Responses, by class of status; none: there was none.", label="class")
    errors_total = labelled_counter("Requests that ended without a whole response, by why.", label="error")
    request_seconds = histogram("From a request to the end of its response.", buckets=SECONDS)


class GrpcWatchStats(Stats, subsystem="grpc_watch", labels=("service", "method")):
    """Calls of a method that passed."""

    calls_total = labelled_counter("Calls, by the status of gRPC.", label="status")
    call_seconds = histogram("From a call to its status.", buckets=SECONDS)


class Tally:
    """What the rows of a table count."""

    __slots__ = ("errors", "received", "requests", "seconds", "sent")

    def __init__(self) -> None:
        self.requests = self.errors = self.received = self.sent = 0
        self.seconds = Histogram(SECONDS)

    def add(self, call: Call, seconds: float | None, failed: bool) -> None:
        self.requests += 1
        self.errors += failed
        self.received += call.request_bytes
        self.sent += call.response_bytes
        if seconds is not None:
            self.seconds.record(seconds)

    def cells(self) -> Row:
        median, slow = self.seconds.quantile(0.5), self.seconds.quantile(0.99)
        share = self.errors / self.requests if self.requests else 0.0
        return self.requests, self.requests, share, median, slow, self.received, self.sent


_COUNTS = (
    Column("requests", ColumnKind.NUMBER),
    Column("per second", ColumnKind.RATE),
    Column("errors", ColumnKind.RATIO),
    Column("p50", ColumnKind.SECONDS),
    Column("p99", ColumnKind.SECONDS),
    Column("in", ColumnKind.BYTE_RATE),
    Column("out", ColumnKind.BYTE_RATE),
)


class HttpInspector(Inspector[HttpWatchConfig]):
    """Watch HTTP/1, HTTP/2 and gRPC: requests with their status, latency and size, by host, path and method."""

    name = "http"
    ports = (80, 8000, 8080, 50051)
    kind_word = "method"
    selectors = (
        Selector("host", "HOST", "requests to hosts that fit", lambda exchange: (exchange.call.host,)),
        Selector("path", "PATH", "requests whose path fits", lambda exchange: (exchange.call.path,)),
        Selector("status", "STATUS", "responses whose status fits, also that of gRPC", lambda e: _statuses(e.call)),
    )

    def __init__(self, config: HttpWatchConfig, stats: StatsRegistry) -> None:
        super().__init__(config, stats)
        self.http_stats = stats.group(HttpWatchStats)
        self._grpc: dict[tuple[str, str], GrpcWatchStats] = {}
        self._paths: dict[tuple[str, str, str], Tally] = {}
        self._hosts: dict[str, Tally] = {}
        self._calls: dict[tuple[str, str], Tally] = {}

    def conversation(self, link: Link) -> HttpConversation:
        return HttpConversation(self, link)

    def ended(self, link: Link, call: Call, at: float) -> None:
        """All of a request and its response has been seen, or all that there will be."""
        seconds = at - call.at if call.status else None
        stats, failed = self.http_stats, bool(call.outcome)
        stats.requests_total.add(call.method)
        stats.responses_total.add(f"{call.status // 100}xx" if call.status else "none")
        if call.error:
            stats.errors_total.add(call.error)
        if seconds is not None:
            stats.request_seconds.record(seconds)
        path = call.path.partition("?")[0]
        self._tally(self._hosts, call.host, OTHER).add(call, seconds, failed)
        self._tally(self._paths, (call.host, call.method, path), (OTHER, OTHER, OTHER)).add(call, seconds, failed)
        if call.rpc:
            self._ended_call(call, call.rpc, seconds, failed)
        if self.on_exchange is not None:
            self.on_exchange(HttpExchange(link, call, seconds))

    def _ended_call(self, call: Call, rpc: tuple[str, str], seconds: float | None, failed: bool) -> None:
        stats = self._grpc.get(rpc)
        if stats is None:
            stats = self.stats.group(GrpcWatchStats, service=rpc[0], method=rpc[1])
            if len(self._grpc) < self.config.max_paths:
                self._grpc[rpc] = stats
        stats.calls_total.add(call.outcome or "OK")
        if seconds is not None:
            stats.call_seconds.record(seconds)
        self._tally(self._calls, rpc, (OTHER, OTHER)).add(call, seconds, failed)

    def _tally(self, tallies: dict[K, Tally], key: K, other: K) -> Tally:
        tally = tallies.get(key)
        if tally is None:
            if len(tallies) >= self.config.max_paths:
                key = other
            tally = tallies.setdefault(key, Tally())
        return tally

    def tables(self) -> Sequence[Table]:
        return (
            Table("hosts", (Column("host"), *_COUNTS), lambda: _rows(self._hosts), into="paths", sort="requests"),
            Table(
                "paths",
                (Column("host"), Column("method"), Column("path"), *_COUNTS),
                lambda: _rows(self._paths),
                keys=3,
                sort="requests",
            ),
            Table(
                "grpc",
                (Column("service"), Column("rpc"), *_COUNTS),
                lambda: _rows(self._calls),
                keys=2,
                sort="requests",
            ),
        )


def _rows(tallies: dict[Any, Tally]) -> Iterator[Row]:
    for key, tally in tallies.items():
        yield (*(key if isinstance(key, tuple) else (key,)), *tally.cells())


def _statuses(call: Call) -> tuple[str, ...]:
    return (str(call.status), call.outcome)
