"""The operators of connections: ``%DURATION%``, ``%RESPONSE_FLAGS%``, ``%FILTER_STATE(sniff:user)%`` ...

These are the ones that every connection has, with Envoy's names and meanings.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from l4proxy.access_log.flags import RESPONSE_FLAGS
from l4proxy.access_log.operator_table import Attribute, OperatorTable, Reader
from l4proxy.access_log.record import AccessRecord
from l4proxy.access_log.times import ISO_8601, time_formatter
from l4proxy.address import format_host_port
from l4proxy.errors import did_you_mean

__all__ = ["OPERATORS"]

OPERATORS = OperatorTable()
"""What formats are compiled with. Protocols add theirs when their plugin is imported."""

_add, _add_with_argument = OPERATORS.add, OPERATORS.add_with_argument


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


# Time


def _start_time(pattern: str) -> Reader:
    return Attribute("started", show=time_formatter(pattern or ISO_8601))


def _start_time_local(pattern: str) -> Reader:
    return Attribute("started", show=time_formatter(pattern or "%Y-%m-%dT%H:%M:%S.%3f%z", local=True))


def _emit_time(pattern: str) -> Reader:
    show = time_formatter(pattern or ISO_8601)
    return lambda record: show(record.started + record.duration)


_add_with_argument("START_TIME", _start_time, "When it began, in UTC, in a form that strftime knows.", optional=True)
_add_with_argument("START_TIME_LOCAL", _start_time_local, "When it began, in local time.", optional=True)
_add_with_argument("EMIT_TIME", _emit_time, "When the record was made: the end of the connection.", optional=True)
_add("DURATION", Attribute("duration", show=_milliseconds), "Milliseconds from the beginning to the end.")
_add("DOWNSTREAM_HANDSHAKE_DURATION", lambda r: _milliseconds(r.handshake_seconds), "Milliseconds of TLS handshake.")
_add(
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    lambda r: _milliseconds(r.connect_seconds),
    "Milliseconds until the upstream was connected, all attempts together.",
)

# Bytes

_add("BYTES_RECEIVED", Attribute("bytes_received"), "Bytes received from the client.")
_add("BYTES_SENT", Attribute("bytes_sent"), "Bytes sent to the client.")
_add("DOWNSTREAM_WIRE_BYTES_RECEIVED", Attribute("bytes_received"), "Bytes received from the client.")
_add("DOWNSTREAM_WIRE_BYTES_SENT", Attribute("bytes_sent"), "Bytes sent to the client.")
_add("UPSTREAM_WIRE_BYTES_RECEIVED", Attribute("upstream_bytes_received"), "Bytes received from the upstream.")
_add("UPSTREAM_WIRE_BYTES_SENT", Attribute("upstream_bytes_sent"), "Bytes sent to the upstream.")

# Addresses


def _host_port(host: str, port: int) -> str | None:
    return format_host_port(host, port) if host else None


_add("DOWNSTREAM_REMOTE_ADDRESS", Attribute("client.text"), "The client's address and port.")
_add("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", lambda r: r.client.host or None, "The client's address.")
_add("DOWNSTREAM_REMOTE_PORT", lambda r: r.client.port or None, "The client's port.")
_add(
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    lambda r: _host_port(*r.direct_client),
    "The socket's own peer, where a PROXY header named another client.",
)
_add("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", lambda r: r.direct_client[0] or None, "Its address.")
_add("DOWNSTREAM_DIRECT_REMOTE_PORT", lambda r: r.direct_client[1] or None, "Its port.")
_add(
    "DOWNSTREAM_LOCAL_ADDRESS",
    lambda r: _host_port(r.client.local_host, r.client.local_port),
    "The address and port that the client connected to.",
)
_add("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", lambda r: r.client.local_host or None, "The address connected to.")
_add("DOWNSTREAM_LOCAL_PORT", lambda r: r.client.local_port or None, "The port connected to.")


def _upstream_local(record: AccessRecord) -> str | None:
    return _host_port(record.upstream.local_host, record.upstream.local_port) if record.upstream else None


def _upstream(attribute: str) -> Reader:
    return lambda record: (record.upstream and getattr(record.upstream, attribute)) or None


_add(
    "UPSTREAM_HOST",
    Attribute("upstream.text", "endpoint", text=True),
    "The endpoint's address and port; where none was reached, the last one tried.",
)
_add("UPSTREAM_HOST_NAME", Attribute("endpoint", text=True), "The endpoint as the configuration or discovery names it.")
_add("UPSTREAM_REMOTE_ADDRESS", lambda r: str(r.upstream) if r.upstream else None, "The endpoint's address and port.")
_add("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", _upstream("host"), "The endpoint's address.")
_add("UPSTREAM_REMOTE_PORT", _upstream("port"), "The endpoint's port.")
_add("UPSTREAM_LOCAL_ADDRESS", _upstream_local, "Our own address and port on the upstream's side.")
_add("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", _upstream("local_host"), "Our own address there.")
_add("UPSTREAM_LOCAL_PORT", _upstream("local_port"), "Our own port there.")

# Where it went

_add("LISTENER_NAME", Attribute("listener"), "The listener. (l4proxy's own)")
_add("FILTER_CHAIN_NAME", Attribute("chain", text=True), "The filter chain.")
_add("UPSTREAM_CLUSTER", Attribute("cluster", text=True), "The cluster.")
_add("UPSTREAM_CLUSTER_RAW", Attribute("cluster", text=True), "The cluster.")
_add("UPSTREAM_REQUEST_ATTEMPT_COUNT", Attribute("attempts"), "Attempts to connect upstream.")
_add("PROTOCOL", Attribute("protocol", text=True), "The protocol, as far as a matcher has found it.")
_add("CONNECTION_ID", Attribute("connection_id", text=True), "The number that logs and /connections show, too.")
_add("ACCESS_LOG_TYPE", Attribute("log_type"), "TcpConnectionEnd, for connections.")

# How it ended


def _long_flags(record: AccessRecord) -> str | None:
    return ",".join(RESPONSE_FLAGS.get(flag, flag) for flag in record.reason.flags) or None


def _upstream_failure(record: AccessRecord) -> str | None:
    reason = record.reason
    return (reason.message or reason.detail) if reason.who == "upstream" and reason.phase == "connecting" else None


def _downstream_failure(record: AccessRecord) -> str | None:
    reason = record.reason
    return (reason.message or reason.detail) if reason.phase == "tls_handshake" else None


def _termination(record: AccessRecord) -> str:
    reason = record.reason
    return ":".join(filter(None, (reason.who, reason.detail, reason.filter)))


_CLOSE_REASON = ("who", "phase", "detail", "filter", "errno", "message")


def _close_reason(field: str) -> Reader:
    if not field:
        return lambda record: str(record.reason)
    if field not in _CLOSE_REASON:
        raise ValueError(f"%CLOSE_REASON({field})%: unknown part {field!r}{did_you_mean(field, _CLOSE_REASON)}")
    return lambda record: getattr(record.reason, field) or None


_add("RESPONSE_FLAGS", Attribute("reason.flags", show=",".join, text=True), "What went wrong, in Envoy's flags.")
_add("RESPONSE_FLAGS_LONG", _long_flags, "The flags in words.")
_add("CONNECTION_TERMINATION_DETAILS", _termination, "Who ended it and why: client:eof, filter:filter_error:rbac.")
_add_with_argument(
    "CLOSE_REASON",
    _close_reason,
    f"The whole reason, or one part of it: {', '.join(_CLOSE_REASON)}. (l4proxy's own)",
    optional=True,
)
_add("UPSTREAM_TRANSPORT_FAILURE_REASON", _upstream_failure, "Why the upstream could not be connected.")
_add("DOWNSTREAM_TRANSPORT_FAILURE_REASON", _downstream_failure, "Why the TLS handshake with the client failed.")

# TLS


def _tls(attribute: str) -> Reader:
    return lambda record: (record.tls and getattr(record.tls, attribute)) or None


def _sans(kind: str) -> Reader:
    """The client certificate's alternative names of one kind, written ``URI:spiffe://...``, ``DNS:...``."""

    def read(record: AccessRecord) -> str | None:
        sans = record.tls.peer_sans if record.tls else ()
        return ",".join(san.removeprefix(kind) for san in sans if san.startswith(kind)) or None

    return read


_add("REQUESTED_SERVER_NAME", Attribute("server_name", text=True), "The server name that the client asked for (SNI).")
_add("DOWNSTREAM_TLS_VERSION", _tls("version"), "TLSv1.3 ...")
_add("DOWNSTREAM_TLS_CIPHER", _tls("cipher"), "The cipher of the client's TLS connection.")
_add("DOWNSTREAM_PEER_SUBJECT", _tls("peer_subject"), "The subject of the client's certificate.")
_add("DOWNSTREAM_PEER_URI_SAN", _sans("URI:"), "The URIs among the alternative names of the client's certificate.")
_add("DOWNSTREAM_PEER_DNS_SAN", _sans("DNS:"), "The host names among them.")
_add("DOWNSTREAM_PEER_IP_SAN", _sans("IP Address:"), "The addresses among them.")
_add("DOWNSTREAM_ALPN", _tls("alpn"), "The application protocol agreed on (ALPN). (l4proxy's own)")

# What filters left, and surroundings


def _filter_state(key: str) -> Reader:
    return lambda record: record.state.get(key)


def _dynamic_metadata(path: str) -> Reader:
    """``namespace:key`` is a key of the state; what follows leads into mappings."""
    namespace, colon, rest = path.partition(":")
    first, *inner = rest.split(":")
    if not colon or not namespace or not first:
        raise ValueError(f"%DYNAMIC_METADATA({path})%: write namespace:key")

    def read(record: AccessRecord) -> Any:
        value: Any = record.state.get(f"{namespace}:{first}")
        for key in inner:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    return read


def _environment(name: str) -> Reader:
    value = os.environ.get(name)
    return lambda _record: value


def _hostname() -> Reader:
    name = socket.gethostname()
    return lambda _record: name


_add_with_argument("FILTER_STATE", _filter_state, "What a filter left in conn.state under this key.")
_add_with_argument("DYNAMIC_METADATA", _dynamic_metadata, "The same, with Envoy's namespace:key:key.")
_add_with_argument("ENVIRONMENT", _environment, "A variable of the environment.")
_add("HOSTNAME", _hostname(), "This machine's name.")
