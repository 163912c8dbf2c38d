"""What is known of a connection when it is over: the thing that access logs print."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from l4proxy.filter import Peer, TlsInfo
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.connection import Connection
    from l4proxy.matcher import PeekInfo

__all__ = ["AccessRecord", "of_connection", "of_refusal"]

_BEFORE_THE_RELAY = frozenset({"accept", "peek", "tls_handshake", "connecting"})


@dataclass(slots=True)
class AccessRecord:
    """One connection, in a form that outlives it. Protocols derive from it for their requests and add operators that
    read what they added. Empty text and None mean "there was none"."""

    default_text: ClassVar[str] = ""
    """What the format ``"text"`` is for records of this type; empty: that of connections."""
    default_json: ClassVar[Mapping[str, Any]] = {}
    """The same for ``"json"``."""

    listener: str
    client: Peer
    reason: CloseReason
    started: float
    """When it was accepted, in seconds since the epoch."""
    duration: float = 0.0
    """Seconds from then to the end."""
    connection_id: int = 0
    """0 for a connection that never got a filter chain."""
    chain: str = ""
    protocol: str = ""
    server_name: str = ""
    """What the client asked for by SNI, terminated here or passed through."""
    tls: TlsInfo | None = None
    handshake_seconds: float | None = None
    direct_client: tuple[str, int] = ("", 0)
    """The socket's own peer, where a PROXY header named another client."""
    bytes_received: int = 0
    """From the client."""
    bytes_sent: int = 0
    """To the client."""
    cluster: str = ""
    endpoint: str = ""
    upstream: Peer | None = None
    attempts: int = 0
    connect_seconds: float | None = None
    upstream_bytes_received: int = 0
    upstream_bytes_sent: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    log_type: str = "TcpConnectionEnd"

    @property
    def failed(self) -> bool:
        """Did something go wrong? A response flag, a failed system call or filter, an end before bytes were relayed."""
        reason = self.reason
        early = reason.phase in _BEFORE_THE_RELAY and reason.detail != "eof"
        return bool(reason.flags or reason.errno or early) or reason.detail == "filter_error"

    @property
    def warning(self) -> bool:
        """Is it worth a second look, though nothing has failed? The proxy ended it."""
        return self.reason.who == "proxy"


def of_connection(connection: Connection) -> AccessRecord:
    """The record of a connection that ends, made while its sockets are still open."""
    assert connection.reason is not None
    duration = time.monotonic() - connection.started
    client, upstream, info = connection.client, connection.upstream, connection.info
    return AccessRecord(
        listener=connection.listener.name,
        client=connection.client_peer,
        reason=connection.reason,
        started=time.time() - duration,
        duration=duration,
        connection_id=connection.id,
        chain=connection.chain.name,
        protocol=info.protocol,
        server_name=info.server_name,
        tls=connection.tls,
        handshake_seconds=connection.handshake_seconds if connection.tls else None,
        direct_client=info.direct_source,
        bytes_received=client.received,
        bytes_sent=client.sent,
        cluster=connection.cluster,
        endpoint=connection.endpoint,
        upstream=connection.upstream_peer,
        attempts=connection.attempts,
        connect_seconds=connection.connect_seconds if upstream else None,
        upstream_bytes_received=upstream.received if upstream else 0,
        upstream_bytes_sent=upstream.sent if upstream else 0,
        state=connection.state,
    )


def of_refusal(listener: str, info: PeekInfo, reason: CloseReason) -> AccessRecord:
    """The record of a connection that ended before it had a filter chain."""
    return AccessRecord(
        listener=listener,
        client=Peer(*info.source, *info.destination, info.direct_source[0]),
        reason=reason,
        started=time.time(),
        protocol=info.protocol,
        server_name=info.server_name,
        direct_client=info.direct_source,
    )
