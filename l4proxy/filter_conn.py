"""The connection as one filter sees it: what `Conn` promises, from that filter's place in the chain.

A handle holds a connection and a position. Everything it does is done by the connection or by one of its paths;
positions on the way down are counted from the other end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any

from l4proxy.access_log.logger import log_access
from l4proxy.filter import Conn, Peer, Side, TlsInfo
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord
    from l4proxy.connection import Connection
    from l4proxy.errors import UpstreamError
    from l4proxy.matcher import PeekInfo
    from l4proxy.stream import Stream
    from l4proxy.timers import Timer

__all__ = ["FilterConn"]


class FilterConn(Conn):
    """The connection as the filter at ``position`` sees it."""

    __slots__ = ("_connection", "position")

    def __init__(self, connection: Connection, position: int) -> None:
        self._connection = connection
        self.position = position
        """Place in the chain, from 0."""

    @property
    def id(self) -> int:
        return self._connection.id

    @property
    def client(self) -> Peer:
        return self._connection.client_peer

    @property
    def upstream(self) -> Peer | None:
        return self._connection.upstream_peer

    @property
    def tls(self) -> TlsInfo | None:
        return self._connection.tls

    @property
    def info(self) -> PeekInfo:
        return self._connection.info

    @property
    def destination(self) -> tuple[str, int]:
        return self._connection.info.destination

    @property
    def server_name(self) -> str:
        return self._connection.info.server_name

    @property
    def retired(self) -> bool:
        return self._connection.listener.retired

    @property
    def state(self) -> dict[str, Any]:
        return self._connection.state

    @property
    def activity(self) -> int:
        return self._connection.activity

    @property
    def client_ended(self) -> bool:
        client = self._connection.client
        return client.eof_received or client.peer_ended

    @property
    def listener_name(self) -> str:
        return self._connection.listener.name

    @property
    def listener_ports(self) -> tuple[int, ...]:
        return self._connection.listener.ports

    @property
    def chain_name(self) -> str:
        return self._connection.chain.name

    @property
    def logs_access(self) -> bool:
        return bool(self._connection.listener.request_loggers)

    def log_access(self, record: AccessRecord, *, instead: bool = True) -> None:
        if instead:
            self._connection.logged = True
        log_access(self._connection.listener.request_loggers, record)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        return ConnectionLog(logging.getLogger(f"l4proxy.filter.{self._name}"), {"connection": self._connection.id})

    @property
    def _name(self) -> str:
        return self._connection.chain.filters[self.position].name

    def _here(self) -> Connection:
        """The connection, for who is in its thread. Whatever changes it is asked for in this way."""
        connection = self._connection
        if threading.get_ident() != connection.listener.thread:
            raise RuntimeError(
                f"a connection was touched in the thread {threading.current_thread().name!r}, which is not its event"
                " loop's: await asyncio.to_thread(...) within conn.spawn(...), and use the result there"
            )
        return connection

    def send_upstream(self, data: bytes) -> None:
        connection = self._here()
        if connection.reason is None:
            connection.up.inject(self.position, data)

    def send_client(self, data: bytes) -> None:
        connection = self._connection
        if get_ident() != connection.listener.thread:
            self._here()
        if connection.reason is None:
            connection.down.inject(len(connection.filters) - 1 - self.position, data)

    def skip(self, side: Side, size: int) -> bool:
        connection = self._here()
        if connection.reason is not None:
            return False
        if side is Side.CLIENT:
            return connection.up.skip(self.position, size)
        return connection.down.skip(len(connection.filters) - 1 - self.position, size)

    def bare_client(self) -> Stream | None:
        connection = self._connection
        if connection.reason is None and len(connection.filters) == 1 and connection.down.is_bare:
            return connection.client
        return None

    def pause(self, side: Side | None = None) -> None:
        connection = self._here()
        if connection.reason is None:
            if side is not Side.UPSTREAM:
                connection.up.pause(self.position)
            if side is not Side.CLIENT:
                connection.down.pause(len(connection.filters) - 1 - self.position)

    def resume(self, side: Side | None = None) -> None:
        connection = self._here()
        if connection.reason is None and side is not Side.UPSTREAM:
            connection.up.resume(self.position)
        if connection.reason is None and side is not Side.CLIENT:
            connection.down.resume(len(connection.filters) - 1 - self.position)

    def choose_upstream(self, cluster: str) -> None:
        connection = self._connection
        if connection.upstream is not None or connection.phase == "connecting":
            raise RuntimeError("choose_upstream: the upstream connection has begun")
        connection.listener.clusters.find(cluster)
        connection.cluster = cluster

    @property
    def chosen_upstream(self) -> str:
        return self._connection.cluster

    def connecting(self, cluster: str) -> None:
        self._connection.cluster = cluster
        self._connection.phase = "connecting"

    def attach_upstream(
        self,
        stream: Stream,
        *,
        preface: bytes = b"",
        endpoint: str = "",
        attempts: int = 1,
        connect_seconds: float = 0.0,
    ) -> None:
        connection = self._connection
        connection.endpoint = endpoint
        connection.attempts = attempts
        connection.connect_seconds = connect_seconds
        connection.attach_upstream(stream, preface)

    def connect_failed(self, error: UpstreamError) -> None:
        connection = self._connection
        connection.endpoint = error.endpoint
        connection.attempts = error.attempts
        reason = CloseReason("upstream", "connecting", error.detail, "", error.errno, error.flags, str(error))
        connection.close(reason)

    def failed(self, error: Exception) -> None:
        """This filter has raised where it was shown what had passed: the connection goes on without it."""
        connection = self._connection
        if connection.reason is None:
            connection.filter_failed(connection.filters[self.position].on_close, error)

    def detach(self) -> None:
        connection = self._here()
        if connection.reason is None:
            connection.detach(self.position)

    def close(self, why: str | CloseReason, *, flush: bool = True, reset: bool = False) -> None:
        self._here().close(self._reason(why), flush=flush, reset=reset)

    def finish(self, why: str | CloseReason) -> None:
        self._here().finish(self._reason(why), self.position)

    def _reason(self, why: str | CloseReason) -> CloseReason:
        return CloseReason("filter", self._connection.phase, why, self._name) if isinstance(why, str) else why

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        self._here().spawn(coro, self.position)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        return self._here().call_later(delay, callback, self.position)


class ConnectionLog(logging.LoggerAdapter[logging.Logger]):
    """Puts the connection's number in front of each line."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return f"[{(self.extra or {})['connection']}] {msg}", kwargs
