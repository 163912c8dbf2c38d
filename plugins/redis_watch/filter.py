"""The ``redis`` filter: the inspector in a filter chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.exchange import Exchange
from l4proxy.filter import Conn
from l4proxy.plugins.observer import Observer
from l4proxy.plugins.redis_watch.command_log import CommandLog, RedisRecord
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.exchange import RedisExchange
from l4proxy.plugins.redis_watch.inspector import RedisInspector
from l4proxy.plugins.watch import Watch

if TYPE_CHECKING:
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server

__all__ = ["RedisFilterConfig", "RedisWatch"]


@dataclass(frozen=True, slots=True)
class RedisFilterConfig(RedisWatchConfig):
    log_commands: bool | CommandLog = False
    """Give the listener's access log a line for every command, or for those that are chosen here, beside that of the
    connection."""


class RedisFilterWatch(Watch):
    """What all connections of one use share. ``connections`` are those whose commands are logged, by id."""

    def __init__(self, config: RedisFilterConfig, server: Server) -> None:
        super().__init__(RedisInspector(config, server.stats), server.stats)
        self.connections: dict[int, Conn] = {}
        log = config.log_commands
        self._chosen = log if isinstance(log, CommandLog) else CommandLog()
        self._names = self._chosen.names()
        if log:
            self.inspector.on_exchange = self._log

    def _log(self, exchange: Exchange) -> None:
        conn = self.connections.get(exchange.link.id)
        if conn is not None and isinstance(exchange, RedisExchange) and self._chosen.chooses(exchange, self._names):
            conn.log_access(RedisRecord.of(exchange, conn), instead=False)


class RedisWatch(Observer[RedisFilterConfig]):
    """Watch clients talk to Redis or Valkey: commands, latency, errors; hot and big keys. Never changes or delays a
    byte."""

    name = "redis"
    inspector = RedisInspector
    shared: RedisFilterWatch

    @classmethod
    def provision(cls, config: RedisFilterConfig, server: Server) -> RedisFilterWatch:
        return RedisFilterWatch(config, server)

    def on_connect(self) -> None:
        super().on_connect()
        if self.config.log_commands and self.conn.logs_access:
            self.shared.connections[self.conn.id] = self.conn

    def on_close(self, reason: CloseReason) -> None:
        super().on_close(reason)
        self.shared.connections.pop(self.conn.id, None)
