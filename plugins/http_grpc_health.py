"""``grpc_health``: an answer for gRPC clients and load balancers in front that ask whether a service is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import ClusterName, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.grpc_answers import grpc_response
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.protocols.grpc import GrpcStatus, encode_message, is_grpc
from l4proxy.protocols.grpc_health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, encode_health, read_health_request
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.server import Server
    from l4proxy.timers import Timer

__all__ = ["GrpcHealth", "GrpcHealthConfig"]

_CHECK, _WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
_REQUEST_LIMIT = 4096
LOOK_EVERY = 0.5
"""Seconds between two looks at what watched services depend on."""
_ENDS = FieldBlock([("grpc-status", "0")])
_DRAINS = FieldBlock(
    [("grpc-status", str(int(GrpcStatus.UNAVAILABLE))), ("grpc-message", encode_message("the connection ends"))]
)


@dataclass(frozen=True, slots=True)
class GrpcHealthConfig:
    services: Mapping[str, ClusterName] = field(default_factory=dict)
    """Services and the clusters that have to have an endpoint that is well for them: `{ "shop.v1.Orders" = "orders" }`.
    The empty name, the whole server, is always known: it serves unless it drains, and all these clusters have one."""
    max_watches: Annotated[int, Range(0)] = 1000
    """Calls of `Watch` at a time; one more ends with `RESOURCE_EXHAUSTED`. 0: `Watch` is unimplemented, which clients
    take for no news."""


class _Services:
    """What is known of services, and who watches them. One timer looks for all of them, as long as there are any."""

    def __init__(self, config: GrpcHealthConfig, server: Server) -> None:
        self._clusters = config.services
        self._server = server
        self.watches: set[_Watch] = set()
        self._timer: Timer | None = None

    def status(self, service: str) -> int:
        """Now."""
        clusters = self._clusters
        if service and service not in clusters:
            return SERVICE_UNKNOWN
        find = self._server.clusters.find
        names = (clusters[service],) if service else clusters.values()
        there = all(find(name).endpoints.available() for name in names)
        return SERVING if there and self._server.state == "LIVE" else NOT_SERVING

    def add(self, watch: _Watch) -> None:
        self.watches.add(watch)
        if self._timer is None:
            self._timer = self._server.timers.call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        statuses = {service: self.status(service) for service in {watch.service for watch in self.watches}}
        for watch in list(self.watches):
            watch.look(statuses[watch.service])
        more = bool(self.watches)
        self._timer = self._server.timers.call_later(LOOK_EVERY, self._look) if more else None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Watch:
    """A call of ``Watch``, and what its client has been told last."""

    def __init__(self, exchange: Exchange, service: str, told: int) -> None:
        self._exchange = exchange
        self.service = service
        self._told = told

    def look(self, status: int) -> None:
        """Tell what has changed. A client that does not read is told later, and then only what holds by then."""
        exchange = self._exchange
        if exchange.host.draining:
            # Nothing else would end the call, and so the connection.
            if self._told != NOT_SERVING:
                exchange.on_response_data(encode_health(NOT_SERVING), False)
            exchange.on_response_trailers(_DRAINS)
        elif not exchange.response_full:
            exchange.moved += 1  # silence means that nothing changes, not that the call is stuck
            if status != self._told:
                self._told = status
                exchange.on_response_data(encode_health(status), False)


class GrpcHealth(HttpFilter[GrpcHealthConfig]):
    """Answer `Check` and `Watch` of the gRPC health checking protocol (`grpc.health.v1.Health`).

    { use = "grpc_health", services = { "shop.v1.Orders" = "orders" } }
    """

    name = "grpc_health"
    wants = frozenset({"POST"})
    shared: _Services

    @classmethod
    def provision(cls, config: GrpcHealthConfig, server: Server) -> _Services:
        return _Services(config, server)

    @classmethod
    def cleanup(cls, shared: _Services) -> None:
        shared.close()

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        if request.target not in (_CHECK, _WATCH) or not is_grpc(request.field("content-type")):
            return request
        request.body.gather(_REQUEST_LIMIT, lambda body: self._asked(request, body))
        return None

    def _asked(self, request: HttpRequest, body: bytes | None) -> None:
        service = None if body is None else read_health_request(body)
        if service is None:
            self.reply(request, grpc_response(GrpcStatus.INVALID_ARGUMENT, "not one HealthCheckRequest"))
        elif request.target == _WATCH:
            self._watch(request, service)
        elif (status := self.shared.status(service)) == SERVICE_UNKNOWN:
            self.reply(request, grpc_response(GrpcStatus.NOT_FOUND, "unknown service"))
        else:
            response = _answer(status)
            response.trailers = _ENDS
            self.reply(request, response)

    def _watch(self, request: HttpRequest, service: str) -> None:
        shared, most = self.shared, self.config.max_watches
        if len(shared.watches) >= most:
            status, why = GrpcStatus.RESOURCE_EXHAUSTED, f"{most} watches are open (max_watches)"
            if not most:
                status, why = GrpcStatus.UNIMPLEMENTED, "use Check"
            self.reply(request, grpc_response(status, why))
            return
        now = shared.status(service)
        watch = _Watch(request.exchange, service, now)
        request.when_done(lambda _why: shared.watches.discard(watch))
        shared.add(watch)
        response = _answer(now)
        response.complete = False
        self.reply(request, response)


def _answer(status: int) -> HttpResponse:
    response = HttpResponse(200, encode_health(status), content_type="application/grpc", details="grpc_health")
    response.headers.discard("content-length")
    response.content_length = None
    return response


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(GrpcHealth)
