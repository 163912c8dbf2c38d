"""The ``redis`` filter: the inspector in a filter chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from l4proxy.filter import Conn
from l4proxy.plugins.exchange_log import LoggedObserver, LoggedWatch, Recorder
from l4proxy.plugins.observer import now
from l4proxy.plugins.redis_watch.command_log import CommandLog, RedisRecord
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.exchange import RedisExchange
from l4proxy.plugins.redis_watch.inspector import RedisInspector
from l4proxy.plugins.redis_watch.together import Chunk, look_at_all

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.conversation import RedisConversation
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server

__all__ = ["RedisFilterConfig", "RedisWatch"]

SHORT = 4096
"""Bytes of the longest chunk that may wait until others have been passed on, too."""


@dataclass(frozen=True, slots=True)
class RedisFilterConfig(RedisWatchConfig):
    log_commands: bool | CommandLog = False
    """Give the listener's access log a line for every command, or for those that are chosen here, beside that of the
    connection."""


class RedisFilterWatch(LoggedWatch):
    """What all connections of one use share: also the chunks that were passed on and not looked at yet, until the loop
    turn is over."""

    def __init__(self, inspector: RedisInspector, server: Server, record: Recorder | None) -> None:
        super().__init__(inspector, server.stats, record)
        self.view = inspector.view
        self.defer = server.poller.defer
        self.unseen: list[Chunk] = []

    def catch_up(self) -> None:
        """Look at all that was passed on."""
        chunks = self.unseen.copy()
        self.unseen.clear()
        look_at_all(chunks, self.view, quickly=self.inspector.on_exchange is None)


class RedisWatch(LoggedObserver[RedisFilterConfig]):
    """Watch clients talk to Redis or Valkey: commands, latency, errors; hot and big keys. Never changes or delays a
    byte."""

    name = "redis"
    inspector = RedisInspector
    shared: RedisFilterWatch

    @classmethod
    def provision(cls, config: RedisFilterConfig, server: Server) -> RedisFilterWatch:
        return RedisFilterWatch(RedisInspector(config, server.stats), server, cls.recorder(config))

    @classmethod
    def recorder(cls, config: RedisFilterConfig) -> Recorder | None:
        log = config.log_commands
        if not log:
            return None
        chosen = CommandLog() if log is True else log
        names = chosen.names()

        def record(exchange: RedisExchange, conn: Conn) -> RedisRecord | None:
            return RedisRecord.of(exchange, conn) if chosen.chooses(exchange, names) else None

        return record

    def on_connect(self) -> None:
        super().on_connect()
        self._unseen = self.shared.unseen
        self.conversation = cast("RedisConversation", self._watched.conversation)

    def on_client_data(self, data: bytes) -> None:
        unseen = self._unseen
        if len(data) > SHORT:
            self.shared.catch_up()
            super().on_client_data(data)
        else:
            if not unseen:
                self.shared.defer(self.shared.catch_up)
            unseen.append((self, True, data, now()))

    def on_upstream_data(self, data: bytes) -> None:
        unseen = self._unseen
        if len(data) > SHORT or self._link.server is None:
            self.shared.catch_up()
            super().on_upstream_data(data)
        else:
            if not unseen:
                self.shared.defer(self.shared.catch_up)
            unseen.append((self, False, data, now()))

    def look(self, from_client: bool, data: bytes, at: float) -> None:
        if from_client:
            self._watched.client_data(data, at)
        else:
            self._watched.server_data(data, at)

    def failed(self, error: Exception) -> None:
        self._stop(error)

    def on_client_eof(self) -> None:
        self.shared.catch_up()
        super().on_client_eof()

    def on_upstream_eof(self) -> None:
        self.shared.catch_up()
        super().on_upstream_eof()

    def on_close(self, reason: CloseReason) -> None:
        self.shared.catch_up()
        super().on_close(reason)
