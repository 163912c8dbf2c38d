"""Access-log operators that read requests, with Envoy's names and meanings.

A record may also be that of a connection, which has none of this.
https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from l4proxy.access_log.operator_table import Attribute, Reader
from l4proxy.access_log.operators import OPERATORS
from l4proxy.plugins.http.conditions import query_parameter
from l4proxy.protocols.trace_context import TraceContext, parse_traceparent

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange

__all__ = ["PROBLEM"]

PROBLEM = "http:problem"
"""Key in the state of a request."""

_PSEUDO: dict[str, Reader] = {
    ":method": Attribute("exchange.request.kind"),
    ":path": Attribute("exchange.request.target", text=True),
    ":authority": Attribute("exchange.request.authority", text=True),
    ":scheme": Attribute("exchange.request.scheme"),
    # Envoy tells upstreams in a field of this name; here it is for logs alone.
    "x-envoy-original-path": Attribute("exchange.request.original_target", text=True),
}


def _of_state(key: str) -> Reader:
    """What the layer has written down of a request to which something happened."""

    def read(record: Any) -> Any:
        request = getattr(record, "request", None)
        state = None if request is None else request._state
        return None if state is None else state.get(key)

    return read


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
        if isinstance(read, Attribute) and isinstance(other, Attribute):
            return Attribute(*read.paths, *other.paths, text=True)
        return lambda record: other(record) if (value := read(record)) is None else value

    return make


def _trailer(name: str) -> Reader:
    name = name.lower()

    def read(record: Any) -> str | None:
        response = getattr(record, "response", None)
        trailers = None if response is None else response.trailers
        return None if trailers is None else trailers.get(name)

    return read


def _without_query(argument: str) -> Reader:
    read = _fields("request")(argument)
    return lambda record: None if (value := read(record)) is None else str(value).partition("?")[0]


def _query_parameter(name: str) -> Reader:
    def read(record: Any) -> str | None:
        request = getattr(record, "request", None)
        return None if request is None else query_parameter(request.query, name)

    return read


_POINTS: dict[str, Callable[[Any], float]] = {
    "DS_RX_BEG": lambda record: record.exchange.started,
    "DS_RX_END": lambda record: record.exchange.request_done_at,
    "US_TX_BEG": lambda record: record.exchange.sent_at,
    "US_RX_BEG": lambda record: record.exchange.first_byte_at,
    "DS_TX_END": lambda record: record.exchange.started + record.duration,
}
_UNITS = {"ms": 1e3, "us": 1e6, "ns": 1e9}


def _common_duration(argument: str) -> Reader:
    """Raises ValueError."""
    parts = argument.split(":")
    first, last, unit = parts if len(parts) == 3 else ("", "", "")
    if first not in _POINTS or last not in _POINTS or unit not in _UNITS:
        raise ValueError(
            f"{argument!r} is not START:END:UNIT, with points of {', '.join(_POINTS)} and a unit of {', '.join(_UNITS)}"
        )
    begin, end, scale = _POINTS[first], _POINTS[last], _UNITS[unit]

    def read(record: Any) -> int | None:
        if getattr(record, "exchange", None) is None:
            return None
        since, until = begin(record), end(record)
        return round((until - since) * scale) if since and until else None

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


_add, _add_with_argument = OPERATORS.add, OPERATORS.add_with_argument
_add_with_argument("REQ", _fields("request"), "A field of the request: %REQ(user-agent)%, %REQ(:PATH)%, %REQ(X?Y)%.")
_add_with_argument("RESP", _fields("response"), "A field of the response.")
_add_with_argument(
    "REQ_WITHOUT_QUERY", _without_query, "A field of the request, without what is behind a question mark."
)
_add_with_argument("QUERY_PARAM", _query_parameter, "A parameter of the request's query.")
_add_with_argument("TRAILER", _trailer, "A trailer of the response.")
_add("RESPONSE_CODE", Attribute("status"), "The status; 0 where the client was gone before.")
_add(
    "RESPONSE_CODE_DETAILS",
    Attribute("details", text=True),
    "Why: via_upstream, route_not_found ...",
)
_add("PROBLEM", _of_state(PROBLEM), "What went wrong, in words: endpoint 10.0.0.1:80: Connection refused.")
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
    "RESPONSE_TX_DURATION",
    lambda r: None if (e := getattr(r, "exchange", None)) is None else _ms(e.first_byte_at, e.started + r.duration),
    "Milliseconds from the response's first byte to its last.",
)
_add_with_argument(
    "COMMON_DURATION",
    _common_duration,
    "Between two points, in ms, us or ns: %COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%.",
)
_add(
    "STREAM_ID",
    lambda r: None if (q := getattr(r, "request", None)) is None else q.field("x-request-id"),
    "The request's id.",
)
_add("TRACE_ID", _of_trace(lambda t: t.trace_id), "The trace that the request belongs to (W3C traceparent).")
_add("SPAN_ID", _of_trace(lambda t: t.parent_id), "The step of it that the upstream takes for its parent.")
_add("TRACE_SAMPLED", _of_trace(lambda t: "01"[t.sampled]), "1 where the trace says that it is recorded, 0 where not.")
_add(
    "GRPC_STATUS",
    Attribute("grpc_status", text=True),
    "How a gRPC call ended: OK, UNAVAILABLE ...; nothing for other requests.",
)
