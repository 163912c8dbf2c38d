"""What access logs print of a request, and the operators that read it, with Envoy's names and meanings.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from l4proxy.access_log.operator_table import Attribute, Reader
from l4proxy.access_log.operators import OPERATORS
from l4proxy.access_log.record import AccessRecord
from l4proxy.protocols.grpc import status_name
from l4proxy.protocols.trace_context import TraceContext, parse_traceparent
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.message import HttpRequest, HttpResponse

__all__ = ["DEFAULT_JSON", "DEFAULT_TEXT", "HttpRecord"]

DEFAULT_TEXT = (
    '%START_TIME% #%CONNECTION_ID% %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%"'
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
    "path": "%REQ(:PATH)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
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
_reasons: dict[tuple[str, tuple[str, ...]], CloseReason] = {}


def _reason(detail: str, flags: tuple[str, ...]) -> CloseReason:
    """How it ended; there are few ways."""
    reason = _reasons.get((detail, flags))
    if reason is None:
        reason = _reasons[detail, flags] = CloseReason(
            "client" if detail.startswith("client") else "proxy" if flags else "upstream", "relay", detail, flags=flags
        )
    return reason


class HttpRecord(AccessRecord):
    """One request. What costs something to find out is found out when somebody asks."""

    __slots__ = ("details", "exchange", "status")

    default_text = DEFAULT_TEXT
    default_json = DEFAULT_JSON

    def __init__(self, exchange: Exchange, now: float, detail: str) -> None:
        response = exchange.response if exchange.responded else None
        self.status = 0 if response is None else response.status
        """0: the client was gone before there was one."""
        self.details = "" if response is None else response.details
        host, pool, endpoint, connection = exchange.host, exchange.pool, exchange.endpoint, exchange.connection
        self.exchange = exchange
        self.started = exchange.started + _EPOCH
        self.duration = now - exchange.started
        self.reason = _reason(detail, exchange.flags)
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

    def __getattr__(self, name: str) -> Any:
        """The attributes that ``__init__`` has not set."""
        find = _LATER.get(name)
        if find is None:
            raise AttributeError(name)
        value = find(self.exchange)
        setattr(self, name, value)
        return value

    @property
    def request(self) -> HttpRequest:
        return self.exchange.request

    @property
    def response(self) -> HttpResponse | None:
        return self.exchange.response if self.exchange.responded else None

    @property
    def failed(self) -> bool:
        return bool(self.reason.flags) or self.status >= 500

    @property
    def warning(self) -> bool:
        return 400 <= self.status < 500


_LATER: dict[str, Callable[[Exchange], Any]] = {
    "chain": lambda exchange: exchange.host.chain_name,
    "server_name": lambda exchange: exchange.host.conn.server_name,
    "tls": lambda exchange: exchange.host.conn.tls,
    "handshake_seconds": lambda exchange: None,
    "direct_client": lambda exchange: (exchange.host.peer.direct_host, exchange.host.peer.port),
    "connect_seconds": lambda exchange: exchange.sent_at - exchange.started if exchange.sent_at else None,
    "upstream_bytes_received": lambda exchange: exchange.sent,
    "upstream_bytes_sent": lambda exchange: exchange.received,
    "state": lambda exchange: {**exchange.host.conn.state, **(exchange.request._state or {})},
}


# Operators. A record may be that of a connection, which has none of this.

_PSEUDO: dict[str, Reader] = {
    ":method": Attribute("exchange.request.kind"),
    ":path": Attribute("exchange.request.target", text=True),
    ":authority": Attribute("exchange.request.authority", text=True),
    ":scheme": Attribute("exchange.request.scheme"),
}


def _field_reader(name: str, of: str) -> Reader:
    if of == "request" and name in _PSEUDO:
        return _PSEUDO[name]
    if of == "response" and name == ":status":
        return Attribute("status")
    return lambda record: None if (message := getattr(record, of, None)) is None else message.field(name)


def _fields(of: str) -> Callable[[str], Reader]:
    """``X?Y``: the field X, or where there is none, Y."""

    def make(argument: str) -> Reader:
        first, _, second = argument.lower().partition("?")
        read = _field_reader(first, of)
        if not second:
            return read
        other = _field_reader(second, of)
        return lambda record: other(record) if (value := read(record)) is None else value

    return make


def _trailer(name: str) -> Reader:
    name = name.lower()

    def read(record: Any) -> str | None:
        response = getattr(record, "response", None)
        trailers = None if response is None else response.trailers
        return None if trailers is None else trailers.get(name)

    return read


def _of_exchange(read: Callable[[Exchange], Any]) -> Reader:
    return lambda record: None if (exchange := getattr(record, "exchange", None)) is None else read(exchange)


def _ms(start: float, end: float) -> int | None:
    return round((end - start) * 1000) if start and end else None


def _of_trace(read: Callable[[TraceContext], str]) -> Reader:
    """Of the trace context as the upstream gets it."""

    def of_record(record: Any) -> str | None:
        request = getattr(record, "request", None)
        context = None if request is None else parse_traceparent(request.field("traceparent"))
        return None if context is None else read(context)

    return of_record


def _grpc_status(record: Any) -> str | None:
    """Of its trailers, or of its head where there was no message."""
    response = getattr(record, "response", None)
    if response is None:
        return None
    status = None if response.trailers is None else response.trailers.get("grpc-status")
    status = status or response.field("grpc-status")
    return None if status is None else status_name(status)


_add, _add_with_argument = OPERATORS.add, OPERATORS.add_with_argument
_add_with_argument("REQ", _fields("request"), "A field of the request: %REQ(user-agent)%, %REQ(:PATH)%, %REQ(X?Y)%.")
_add_with_argument("RESP", _fields("response"), "A field of the response.")
_add_with_argument("TRAILER", _trailer, "A trailer of the response.")
_add("RESPONSE_CODE", Attribute("status"), "The status; 0 where the client was gone before.")
_add(
    "RESPONSE_CODE_DETAILS",
    Attribute("details", text=True),
    "Why: via_upstream, route_not_found ...",
)
_add("ROUTE_NAME", Attribute("exchange.route.name"), "The route.")
_add(
    "REQUEST_DURATION",
    _of_exchange(lambda e: _ms(e.started, e.request_done_at)),
    "Milliseconds until the request was complete.",
)
_add(
    "RESPONSE_DURATION",
    _of_exchange(lambda e: _ms(e.started, e.first_byte_at)),
    "Milliseconds until the response began.",
)
_add(
    "STREAM_ID",
    lambda r: None if (q := getattr(r, "request", None)) is None else q.field("x-request-id"),
    "The request's id.",
)
_add("TRACE_ID", _of_trace(lambda t: t.trace_id), "The trace that the request belongs to (W3C traceparent).")
_add("SPAN_ID", _of_trace(lambda t: t.parent_id), "The step of it that the upstream takes for its parent.")
_add("TRACE_SAMPLED", _of_trace(lambda t: "01"[t.sampled]), "1 where the trace says that it is recorded, 0 where not.")
_add("GRPC_STATUS", _grpc_status, "How a gRPC call ended: OK, UNAVAILABLE ...; nothing for other requests.")
