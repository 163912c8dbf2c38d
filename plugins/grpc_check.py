"""The health check ``grpc``: does an endpoint say, by the gRPC health checking protocol, that it serves?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.health_check import HealthCheck, HealthCheckOptions, Unhealthy
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http_check import http2_answer
from l4proxy.protocols.grpc import status_name
from l4proxy.protocols.grpc_health import SERVING, encode_health_request, read_health
from l4proxy.protocols.http2 import Http2Connection
from l4proxy.protocols.http2.events import DataReceived, Event, ResponseReceived, TrailersReceived
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster
    from l4proxy.endpoint import Endpoint

__all__ = ["GrpcCheck", "GrpcCheckConfig"]

BODY_LIMIT = 1024
"""Bytes of an answer; one has seven."""


@dataclass(frozen=True, slots=True)
class GrpcCheckConfig(HealthCheckOptions):
    service: str = ""
    """Which service has to serve, such as `"shop.v1.Orders"`; empty: the server as a whole."""
    authority: str = ""
    """The `:authority` of the call; empty: the endpoint's own name or address."""


class GrpcCheck(HealthCheck[GrpcCheckConfig]):
    """Does the endpoint say that it serves (`grpc.health.v1.Health/Check`)?"""

    name = "grpc"
    alpn = ("h2",)

    def __init__(self, config: GrpcCheckConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        self._request = encode_health_request(config.service)
        if not config.authority.isascii() or not config.authority.isprintable() or " " in config.authority:
            raise ValueError(f"authority: {config.authority!r} is none")
        self._scheme = "http" if cluster.tls is None else "https"

    async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        authority = self.config.authority or ("localhost" if endpoint.name.startswith("unix:") else endpoint.name)
        connection = Http2Connection(client=True)
        fields = FieldBlock([("content-type", "application/grpc")])
        path = "/grpc.health.v1.Health/Check"
        stream = connection.request("POST", self._scheme, path, authority, fields, te_trailers=True)
        connection.send_data(stream, self._request, end=True)
        answer = _Answer()
        async for event in http2_answer(connection, reader, writer):
            answer.take(event)
        answer.judge()


class _Answer:
    """What an endpoint has answered up to now."""

    def __init__(self) -> None:
        self._http = 0
        self._grpc: str | None = None
        self._body = b""

    def take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            self._http = event.head.status
            self._grpc = event.head.block.index.get("grpc-status")
        elif isinstance(event, DataReceived):
            self._body += event.data
        elif isinstance(event, TrailersReceived):
            self._grpc = event.trailers.index.get("grpc-status", self._grpc)
        if len(self._body) > BODY_LIMIT:
            raise Unhealthy("its answer is no HealthCheckResponse")

    def judge(self) -> None:
        """Raises Unhealthy unless the answer says that the service serves."""
        if self._http != 200:
            raise Unhealthy(f"it answers with HTTP status {self._http}")
        if self._grpc != "0":
            raise Unhealthy(f"it answers with {status_name(self._grpc)}")
        status = read_health(self._body)
        if status is None:
            raise Unhealthy("its answer is no HealthCheckResponse")
        if status != SERVING:
            raise Unhealthy(f"it says that it does not serve ({status})")


@hookimpl
def register_health_checks(register: Register[type[GrpcCheck]]) -> None:
    register(GrpcCheck)
