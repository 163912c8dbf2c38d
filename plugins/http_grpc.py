"""``grpc``: a limit for deadlines, and statistics of services and methods."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import Duration, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.protocols.grpc import MessageReader, encode_timeout, is_grpc, method_of, read_timeout, status_name
from l4proxy.stats import BYTES, SECONDS, Stats, counter, histogram, labelled_counter

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.server import Server
    from l4proxy.timers import Timer

__all__ = ["Grpc", "GrpcConfig"]

Timeout = Annotated[Duration, Range(0)]
_BY_DETAIL = {"client_reset": "CANCELLED", "deadline": "DEADLINE_EXCEEDED", "response_timeout": "DEADLINE_EXCEEDED"}
"""Statuses of calls that ended without one, by why."""


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    max_timeout: Timeout = Duration(0.0)
    """No call has longer, whatever its client wants, and one without a deadline gets this; 0: no limit."""
    message_sizes: bool = True
    """Count messages and their sizes."""


class GrpcStats(Stats, subsystem="grpc", labels=("service", "method")):
    """Calls of a method, over all uses of the filter. Methods that no endpoint knows are counted as ``other``."""

    calls_total = labelled_counter("Calls, by the status of gRPC that they ended with.", label="status")
    call_seconds = histogram("From the first byte of a call to its status.", buckets=SECONDS)
    deadlines_total = counter("Calls ended here because their time was over.")
    request_message_bytes = histogram("Sizes of messages from clients.", buckets=BYTES)
    response_message_bytes = histogram("Sizes of messages to clients.", buckets=BYTES)


class _Call:
    """What is remembered of a call."""

    __slots__ = ("exchange", "received", "sent", "status", "timer")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.received: list[int] = []
        self.sent: list[int] = []
        self.status = ""
        """The ``grpc-status`` of its trailers."""
        self.timer: Timer | None = None


_BATCH = 256
"""Sizes of messages that a call that lasts may remember before they are counted."""


class _Shared:
    """The statistics of all methods. One that has not been seen to work has none of its own: names are the client's."""

    def __init__(self, server: Server) -> None:
        self._stats = server.stats
        self._methods: dict[str, GrpcStats] = {}
        self._others = server.stats.group(GrpcStats, service="other", method="other")

    def of(self, path: str, status: str) -> GrpcStats:
        stats = self._methods.get(path)
        if stats is None:
            names = method_of(path)
            if names is None or status in ("UNIMPLEMENTED", "UNAVAILABLE", "CANCELLED"):
                return self._others
            stats = self._stats.group(GrpcStats, service=names[0], method=names[1])
            if stats is not self._others:
                self._methods[path] = stats
        return stats

    def known(self, path: str) -> GrpcStats | None:
        return self._methods.get(path)


class Grpc(HttpFilter[GrpcConfig]):
    """Watch over gRPC calls: count them by service, method and status, and let none have longer than `max_timeout`.

    { use = "grpc", max_timeout = "30s" }
    """

    name = "grpc"
    wants = frozenset({"POST"})
    shared: _Shared

    @classmethod
    def provision(cls, config: GrpcConfig, server: Server) -> _Shared:
        return _Shared(server)

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        exchange = request.exchange
        if exchange is None or not is_grpc(request.field("content-type")):
            return request
        call = _Call(exchange)
        request.when_done(lambda why: self._done(call, why))
        request.state["grpc:call"] = call
        if self.config.message_sizes:
            request.body.watch(MessageReader(lambda size: self._count(call, call.received, size)).feed)
        self._cap(request, call)
        return request

    def _cap(self, request: HttpRequest, call: _Call) -> None:
        """No more than ``max_timeout``. A deadline that is sooner than that is kept by the ``http`` filter."""
        most, value = self.config.max_timeout, request.field("grpc-timeout")
        wanted = None if value is None else read_timeout(value)
        if most and (wanted is None or wanted > most):
            request.headers["Grpc-Timeout"] = encode_timeout(most)
            call.exchange.call_limit = most
            call.timer = self.conn.call_later(most, lambda: self._too_late(call))

    def on_response(self, response: HttpResponse) -> HttpResponse | None:
        call: _Call | None = response.request.state.get("grpc:call")
        if call is not None and response.field("grpc-status") is None:

            def ended() -> None:
                """The trailers have come; a filter in front may put them elsewhere."""
                if response.trailers is not None:
                    call.status = response.trailers.get("grpc-status") or ""

            read = MessageReader(lambda size: self._count(call, call.sent, size)).feed
            response.body.watch(read if self.config.message_sizes else _ignore, ended)
        return response

    def _count(self, call: _Call, sizes: list[int], size: int) -> None:
        sizes.append(size)
        if len(sizes) >= _BATCH and (stats := self.shared.known(call.exchange.request.path)) is not None:
            _record(stats, call)

    def _too_late(self, call: _Call) -> None:
        call.exchange.fail(504, "deadline", "the deadline of the call is over (grpc-timeout)", "DT")

    def _done(self, call: _Call, why: str) -> None:
        if call.timer is not None:
            call.timer.cancel()
        exchange = call.exchange
        status = _status(call, why)
        stats = self.shared.of(exchange.request.path, status)
        stats.calls_total.add(status)
        stats.call_seconds.record(time.monotonic() - exchange.started)
        response = exchange.response
        stats.deadlines_total += (why or (response.details if response is not None else "")) == "deadline"
        _record(stats, call)


def _record(stats: GrpcStats, call: _Call) -> None:
    for size in call.received:
        stats.request_message_bytes.record(size)
    for size in call.sent:
        stats.response_message_bytes.record(size)
    call.received.clear()
    call.sent.clear()


def _ignore(_data: bytes) -> None:
    """Messages that nobody counts."""


def _status(call: _Call, why: str) -> str:
    """Of a call that is over: what was in its trailers, or in its head where it had no messages; else why it ended."""
    response = call.exchange.response
    if response is not None and not why:
        return status_name(call.status or response.field("grpc-status"))
    return _BY_DETAIL.get(why, "UNAVAILABLE")


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(Grpc)
