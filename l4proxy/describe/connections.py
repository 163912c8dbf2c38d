"""Connections: all of them in short, and one of them in full, as long as it lives and for a while after."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from l4proxy.address import format_host_port
from l4proxy.connection import CONNECTING
from l4proxy.describe.times import utc
from l4proxy.path import FULL, GATE, PAUSED
from l4proxy.splice import PIPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from l4proxy.access_log.record import AccessRecord
    from l4proxy.connection import Connection
    from l4proxy.filter import Peer, TlsInfo
    from l4proxy.path import Path
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server
    from l4proxy.stream import Stream

__all__ = ["closed_connections", "connection", "connections"]

HOLDS = {
    CONNECTING: "an on_connect is not done",
    PAUSED: "something waits in front of a filter or for the upstream",
    FULL: "the other side does not keep up",
    PIPED: "the other side does not keep up with what the kernel moves",
}
"""Why a stream is not read, by the bits that it keeps for it."""


def connections(server: Server, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """The first ``limit`` open connections with a number above ``after``: who wants all of them asks page by page."""
    open_now = [
        (number, one)
        for generation in server.generations
        for listener in generation.listeners
        for number, one in listener.connections.items()
        if number > after
    ]
    return [_row(one) for _, one in sorted(open_now, key=lambda pair: pair[0])[:limit]]


def _row(one: Connection) -> dict[str, Any]:
    info, client = one.info, one.client
    return {
        "id": one.id,
        "age_seconds": round(time.monotonic() - one.started, 3),
        "listener": one.listener.name,
        "client": str(one.client_peer),
        "server_name": info.server_name,
        "protocol": info.protocol,
        "filters": [use.name for use in one.chain.filters],
        "cluster": one.cluster,
        "endpoint": one.endpoint,
        "phase": one.phase,
        "bytes_received": client.received,
        "bytes_sent": client.sent,
    }


def closed_connections(server: Server, limit: int = 200) -> list[dict[str, Any]]:
    """The connections that ended last, the latest first."""
    return [_closed_row(record) for record in list(reversed(server.recent.records))[:limit]]


def _closed_row(record: AccessRecord) -> dict[str, Any]:
    return {
        "id": record.connection_id,
        "ended": utc(record.started + record.duration),
        "duration_seconds": round(record.duration, 3),
        "listener": record.listener,
        "client": str(record.client),
        "server_name": record.server_name,
        "protocol": record.protocol,
        "cluster": record.cluster,
        "endpoint": record.endpoint,
        "bytes_received": record.bytes_received,
        "bytes_sent": record.bytes_sent,
        "reason": str(record.reason),
    }


def connection(server: Server, id: int) -> dict[str, Any] | None:
    """Everything that is known of one connection, open or closed; None when nothing is."""
    for generation in server.generations:
        for listener in generation.listeners:
            if (found := listener.connections.get(id)) is not None:
                return _open_in_full(found)
    record = next((record for record in reversed(server.recent.records) if record.connection_id == id), None)
    return _closed_in_full(record) if record is not None else None


def _open_in_full(one: Connection) -> dict[str, Any]:
    age = time.monotonic() - one.started
    last = len(one.chain.filters) - 1
    return {
        "id": one.id,
        "state": "open" if one.reason is None else "closing",
        **_about(one.listener.name, one.chain.name, one.client_peer, one.info.direct_source, one.tls),
        "started": utc(time.time() - age),
        "age_seconds": round(age, 3),
        "phase": one.phase,
        "protocol": one.info.protocol,
        "server_name": one.info.server_name,
        "filters": [use.name for use in one.chain.filters],
        "close_reason": _reason(one.reason),
        "client": {"address": str(one.client_peer), **_stream(one.client)},
        "upstream": {
            **_upstream(one.cluster, one.endpoint, one.upstream_peer, one.attempts, one.connect_seconds),
            **(_stream(one.upstream) if one.upstream is not None else {}),
        },
        "waiting": {
            "client_to_upstream": _waiting(getattr(one, "up", None), one, lambda position: position),
            "upstream_to_client": _waiting(getattr(one, "down", None), one, lambda position: last - position),
        },
    }


def _closed_in_full(record: AccessRecord) -> dict[str, Any]:
    return {
        "id": record.connection_id,
        "state": "closed",
        **_about(record.listener, record.chain, record.client, record.direct_client, record.tls),
        "started": utc(record.started),
        "ended": utc(record.started + record.duration),
        "duration_seconds": round(record.duration, 3),
        "protocol": record.protocol,
        "server_name": record.server_name,
        "close_reason": _reason(record.reason),
        "client": {
            "address": str(record.client),
            "bytes_received": record.bytes_received,
            "bytes_sent": record.bytes_sent,
        },
        "upstream": {
            **_upstream(record.cluster, record.endpoint, record.upstream, record.attempts, record.connect_seconds),
            "bytes_received": record.upstream_bytes_received,
            "bytes_sent": record.upstream_bytes_sent,
        },
    }


def _about(listener: str, chain: str, client: Peer, direct: tuple[str, int], tls: TlsInfo | None) -> dict[str, Any]:
    return {
        "listener": listener,
        "filter_chain": chain,
        "local_address": _host_port(client.local_host, client.local_port),
        "direct_client": _host_port(*direct),
        "tls": {**asdict(tls), "peer_sans": list(tls.peer_sans)} if tls is not None else None,
    }


def _upstream(
    cluster: str, endpoint: str, peer: Peer | None, attempts: int, connect_seconds: float | None
) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "endpoint": endpoint,
        "address": str(peer) if peer is not None else "",
        "local_address": _host_port(peer.local_host, peer.local_port) if peer is not None else "",
        "attempts": attempts,
        "connect_seconds": round(connect_seconds, 6) if connect_seconds is not None else None,
    }


def _stream(stream: Stream) -> dict[str, Any]:
    return {
        "bytes_received": stream.received,
        "bytes_sent": stream.sent,
        "bytes_buffered": stream.buffered,
        "end_received": stream.eof_received,
        "end_sent": stream.eof_sent,
        "reading": stream.reading,
        "not_read_because": [text for bit, text in HOLDS.items() if stream.holds & bit],
    }


def _waiting(path: Path | None, one: Connection, place: Callable[[int], int]) -> list[dict[str, Any]]:
    """Where bytes wait. ``place`` makes the position of a filter in the chain of one in the path."""
    return [
        {
            "in_front_of": "the upstream" if position == GATE else one.chain.filters[place(position)].name,
            "bytes": size,
            "paused": paused,
        }
        for position, size, paused in (path.waiting() if path is not None else ())
        if size or position != GATE  # it also stands where no upstream ever comes
    ]


def _reason(reason: CloseReason | None) -> dict[str, Any] | None:
    if reason is None:
        return None
    return {**asdict(reason), "flags": list(reason.flags), "text": str(reason)}


def _host_port(host: str, port: int) -> str:
    """Empty for a unix socket, which has neither."""
    return format_host_port(host, port) if port else ""
