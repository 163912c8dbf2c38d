"""Base of the observer filters whose exchanges get lines in the listener's access log, beside those of connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from l4proxy.exchange import Exchange
from l4proxy.filter import Conn
from l4proxy.plugins.observer import Observer
from l4proxy.plugins.watch import Watch

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord
    from l4proxy.inspector import Inspector
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server
    from l4proxy.stats_registry import StatsRegistry

__all__ = ["LoggedObserver", "LoggedWatch", "Recorder"]

C = TypeVar("C")
Recorder = Callable[[Any, Conn], "AccessRecord | None"]
"""Makes the record of an exchange on a connection; None: no line."""


class LoggedWatch(Watch):
    """What all connections of one use share. ``connections`` are those whose exchanges are logged, by id."""

    def __init__(self, inspector: Inspector[Any], stats: StatsRegistry, record: Recorder | None) -> None:
        super().__init__(inspector, stats)
        self.connections: dict[int, Conn] = {}
        self.record = record
        if record is not None:
            inspector.on_exchange = self._log

    def _log(self, exchange: Exchange) -> None:
        conn = self.connections.get(exchange.link.id)
        if conn is not None and self.record is not None:
            record = self.record(exchange, conn)
            if record is not None:
                conn.log_access(record, instead=False)


class LoggedObserver(Observer[C]):
    """An observer with an option that says which exchanges are logged; ``recorder`` reads it."""

    shared: LoggedWatch

    @classmethod
    def recorder(cls, config: C) -> Recorder | None:
        """What makes the records. None: no exchange is logged, and then none are built."""
        raise NotImplementedError

    @classmethod
    def provision(cls, config: C, server: Server) -> LoggedWatch:
        return LoggedWatch(cls.inspector(config, server.stats), server.stats, cls.recorder(config))

    def on_connect(self) -> None:
        super().on_connect()
        if self.shared.record is not None and self.conn.logs_access:
            self.shared.connections[self.conn.id] = self.conn

    def on_close(self, reason: CloseReason) -> None:
        super().on_close(reason)
        self.shared.connections.pop(self.conn.id, None)
