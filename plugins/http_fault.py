"""``fault`` for requests: delays and errors on purpose."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import Duration, Percent, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.delays import Delays
from l4proxy.plugins.http.conditions import value_test
from l4proxy.plugins.http.field_config import FieldMatch
from l4proxy.plugins.http.grpc_answers import grpc_response
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.protocols.grpc import GrpcStatus, is_grpc
from l4proxy.stats import Stats, counter, gauge

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["HttpFault", "HttpFaultConfig"]


@dataclass(frozen=True, slots=True)
class HttpFaultConfig:
    delay: Duration = Duration(0.0)
    """How long a request is held."""
    delay_percent: Percent = Percent(100.0)
    """So many of them."""
    abort: Annotated[int, Range(0, 599)] = 0
    """A status that is answered instead of asking the upstream; 0: none."""
    abort_percent: Percent = Percent(100.0)
    """So many of them."""
    grpc_status: Annotated[int, Range(0, 16)] = 0
    """What gRPC calls are answered with instead of `abort`; 0: what `abort` means to them."""
    headers: tuple[FieldMatch, ...] = ()
    """Only requests with these fields."""
    max_active: Annotated[int, Range(1)] = 1000
    """Requests that are held at a time; more pass without a fault."""

    def __post_init__(self) -> None:
        if not self.delay and not self.abort and not self.grpc_status:
            raise ValueError("delay: write delay, or abort, or both")
        if self.abort and self.abort < 200:
            raise ValueError("abort: is a status from 200 to 599")


class HttpFaultStats(Stats, subsystem="http_fault"):
    """Faults that were made."""

    delays_total = counter("Requests held.")
    aborts_total = counter("Requests answered with an error.")
    active = gauge("Requests held now.")


class _Shared:
    def __init__(self, config: HttpFaultConfig, stats: HttpFaultStats) -> None:
        self.stats = stats
        self.tests = [(match.name.lower(), value_test(match)) for match in config.headers]


class HttpFault(HttpFilter[HttpFaultConfig]):
    """Delay requests, or answer them with an error, to see what becomes of it.

    { use = "fault", delay = "2s", delay_percent = 10, abort = 503, abort_percent = 1 }
    """

    name = "fault"
    shared: _Shared

    @classmethod
    def provision(cls, config: HttpFaultConfig, server: Server) -> _Shared:
        return _Shared(config, server.stats.group(HttpFaultStats))

    def on_connect(self) -> None:
        self._delays: Delays[HttpRequest] = Delays(self.config, self.shared.stats)

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        if not all(test(request.field(name)) for name, test in self.shared.tests):
            return request
        return self._delays.hold(self, request, self._abort)

    def _abort(self, request: HttpRequest) -> HttpRequest | None:
        config = self.config
        as_grpc = config.grpc_status and is_grpc(request.field("content-type"))
        if not (config.abort or as_grpc) or random.random() * 100 >= config.abort_percent:
            return request
        self.shared.stats.aborts_total += 1
        if as_grpc:
            status = GrpcStatus(config.grpc_status)
            self.reply(request, grpc_response(status, "a fault on purpose", details="fault", flags=("FI",)))
        else:
            self.reply(request, HttpResponse(config.abort, "a fault on purpose\n", details="fault", flags=("FI",)))
        return None

    def on_cancel(self, request: HttpRequest) -> None:
        self._delays.cancel(request)

    def on_close(self, reason: object) -> None:
        self._delays.close()


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(HttpFault)
