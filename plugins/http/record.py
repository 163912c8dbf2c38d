"""What access logs print of a request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import l4proxy.plugins.http.log_operators  # noqa: F401 (they are there from now on)
from l4proxy.access_log.record import AccessRecord
from l4proxy.protocols.bounded import remember
from l4proxy.protocols.grpc import http_status_of, is_grpc, status_name, status_of_http
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.message import HttpRequest, HttpResponse

__all__ = ["DEFAULT_JSON", "DEFAULT_TEXT", "GRPC_STATUS", "HttpRecord", "UnfinishedRecord"]

GRPC_STATUS = "grpc:status"
"""Key in the state of a request: the ``grpc-status`` of trailers that a filter has put elsewhere."""

DEFAULT_TEXT = (
    "%START_TIME% #%CONNECTION_ID% %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS%"
    ' "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"'
    " %RESPONSE_CODE% > %UPSTREAM_CLUSTER% %UPSTREAM_HOST% route=%ROUTE_NAME% received=%BYTES_RECEIVED%"
    " sent=%BYTES_SENT% ms=%DURATION% flags=%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
)
DEFAULT_JSON: dict[str, Any] = {
    "start_time": "%START_TIME%",
    "connection_id": "%CONNECTION_ID%",
    "listener": "%LISTENER_NAME%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "protocol": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "problem": "%PROBLEM%",
    "response_flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "response_duration": "%RESPONSE_DURATION%",
}

_EPOCH = time.time() - time.monotonic()
_REASONS_LIMIT = 256
_reasons: dict[tuple[str, tuple[str, ...]], CloseReason] = {}


def _reason(detail: str, flags: tuple[str, ...]) -> CloseReason:
    """How it ended. There are few ways, and each is made once, unless filters think of many."""
    who = "client" if detail.startswith("client") else "proxy" if flags else "upstream"
    reason = CloseReason(who, "relay", detail, flags=flags)
    remember(_reasons, (detail, flags), reason, _REASONS_LIMIT)
    return reason


def _later(find: Callable[[Exchange], Any]) -> Any:
    """An attribute that is found out when somebody asks. Not by ``__getattr__``, which would make all others slow."""
    return property(lambda record: find(record.exchange))


class HttpRecord(AccessRecord):
    """One request. What costs something to find out is found out when somebody asks."""

    __slots__ = ("details", "exchange", "status")

    default_text = DEFAULT_TEXT
    default_json = DEFAULT_JSON

    chain = _later(lambda exchange: exchange.host.chain_name)
    server_name = _later(lambda exchange: exchange.host.conn.server_name)
    tls = _later(lambda exchange: exchange.host.conn.tls)
    handshake_seconds = _later(lambda exchange: None)
    direct_client = _later(lambda exchange: (exchange.host.peer.direct_host, exchange.host.peer.port))
    connect_seconds = _later(lambda exchange: exchange.sent_at - exchange.started if exchange.sent_at else None)
    upstream_bytes_received = _later(lambda exchange: exchange.sent)
    upstream_bytes_sent = _later(lambda exchange: exchange.received)
    state = _later(lambda exchange: {**exchange.host.conn.state, **(exchange.request._state or {})})

    def __init__(self, exchange: Exchange, now: float, detail: str) -> None:
        response = exchange.response if exchange.responded else None
        self.status = 0 if response is None else response.status
        """0: the client was gone before there was one."""
        self.details = detail
        """Where the status comes from, or why there is none, or not all of a response."""
        host, pool, endpoint, connection = exchange.host, exchange.pool, exchange.endpoint, exchange.connection
        self.exchange = exchange
        self.started = exchange.started + _EPOCH
        self.duration = now - exchange.started
        self.reason = _reasons.get((detail, exchange.flags)) or _reason(detail, exchange.flags)
        self.log_type = "HttpRequest"
        self.listener = host.listener
        peer, client = host.peer, exchange.client
        self.client = peer if client == peer.host else replace(peer, host=client, port=0)
        self.connection_id = host.id
        self.protocol = exchange.request.version
        self.bytes_received = exchange.received
        self.bytes_sent = exchange.sent
        self.cluster = "" if pool is None else pool.cluster.name
        self.endpoint = "" if endpoint is None else endpoint.name
        self.upstream = None if connection is None else connection.peer
        self.attempts = exchange.attempts

    @property
    def request(self) -> HttpRequest:
        return self.exchange.request

    @property
    def response(self) -> HttpResponse | None:
        return self.exchange.response if self.exchange.responded else None

    @property
    def grpc_status(self) -> str:
        """How a gRPC call ended: the name of the status in its trailers, or in its head where there was no message, or
        what clients take for it where a whole response has none. Empty for other requests, and where it was cut off."""
        response = self.response
        if response is None:
            return ""
        status = None if response.trailers is None else response.trailers.get("grpc-status")
        status = status or response.field("grpc-status") or (self.request._state or {}).get(GRPC_STATUS)
        if status is not None:
            return status_name(status)
        if is_grpc(self.request.field("content-type")) and not self.reason.flags:
            return status_of_http(self.status).name
        return ""

    @property
    def verdict(self) -> int:
        """The status of HTTP that says how it went: of a gRPC call, which has 200 however it went, what its own status
        would be."""
        name = self.grpc_status if self.status == 200 else ""
        return http_status_of(name) if name else self.status

    @property
    def failed(self) -> bool:
        return bool(self.reason.flags) or self.verdict >= 500

    @property
    def warning(self) -> bool:
        return 400 <= self.verdict < 500


class UnfinishedRecord(HttpRecord):
    """A request under way, for fields that tell of it: its response, if there is one, is about to be sent."""

    __slots__ = ()

    def __init__(self, exchange: Exchange, now: float) -> None:
        super().__init__(exchange, now, "")
        if (response := exchange.response) is not None:
            self.status, self.details = response.status, response.details

    @property
    def response(self) -> HttpResponse | None:
        return self.exchange.response
