"""``grpc_health``: an answer for gRPC clients and load balancers in front that ask whether a service is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from l4proxy.config.types import ClusterName
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.grpc_answers import grpc_response
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.protocols.grpc import GrpcStatus, is_grpc
from l4proxy.protocols.grpc_health import NOT_SERVING, SERVING, encode_health, read_health_request
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["GrpcHealth", "GrpcHealthConfig"]

_CHECK, _WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
_REQUEST_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class GrpcHealthConfig:
    services: Mapping[str, ClusterName] = field(default_factory=dict)
    """Services and the clusters that have to have an endpoint for them: `{ "shop.v1.Orders" = "orders" }`. The empty
    name, the whole server, is always known: it serves unless it drains, and all these clusters have one."""


class GrpcHealth(HttpFilter[GrpcHealthConfig]):
    """Answer `Check` of the gRPC health checking protocol (`grpc.health.v1.Health`). `Watch` is answered as
    unimplemented, which clients take for "no news".

    { use = "grpc_health", services = { "shop.v1.Orders" = "orders" } }
    """

    name = "grpc_health"
    wants = frozenset({"POST"})
    shared: Any

    @classmethod
    def provision(cls, config: GrpcHealthConfig, server: Server) -> Server:
        return server

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
            self.reply(request, grpc_response(GrpcStatus.UNIMPLEMENTED, "use Check"))
        elif (status := self._status(service)) is None:
            self.reply(request, grpc_response(GrpcStatus.NOT_FOUND, "unknown service"))
        else:
            self.reply(request, _answer(status))

    def _status(self, service: str) -> int | None:
        """None for a service that nobody has told us of."""
        server: Server = self.shared
        services = self.config.services
        if service and service not in services:
            return None
        clusters = [services[service]] if service else services.values()
        there = all(server.clusters.find(name).endpoints.choosable() for name in clusters)
        return SERVING if there and server.state == "LIVE" else NOT_SERVING


def _answer(status: int) -> HttpResponse:
    response = HttpResponse(200, encode_health(status), content_type="application/grpc", details="grpc_health")
    response.headers.discard("content-length")
    response.content_length = None
    response.trailers = FieldBlock([("grpc-status", "0")])
    return response


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(GrpcHealth)
