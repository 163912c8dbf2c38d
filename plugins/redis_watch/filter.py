"""The ``redis`` filter: the inspector in a filter chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from l4proxy.config.types import Range
from l4proxy.filter import Conn, Passed
from l4proxy.plugins.exchange_log import LoggedObserver, Recorder
from l4proxy.plugins.redis_watch.command_log import CommandLog, RedisRecord
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.conversation import RedisConversation
from l4proxy.plugins.redis_watch.exchange import RedisExchange
from l4proxy.plugins.redis_watch.inspector import RedisInspector
from l4proxy.plugins.redis_watch.together import look_at_all

__all__ = ["RedisFilterConfig", "RedisWatch"]


@dataclass(frozen=True, slots=True)
class RedisFilterConfig(RedisWatchConfig):
    keys_per_second: Annotated[int, Range(0)] = 500  # it looks while it proxies, which a recording can wait for
    log_commands: bool | CommandLog = False
    """Give the listener's access log a line for every command, or for those that are chosen here, beside that of the
    connection."""


class RedisWatch(LoggedObserver[RedisFilterConfig]):
    """Watch clients talk to Redis or Valkey: commands, latency, errors; hot and big keys. Never changes or delays a
    byte."""

    name = "redis"
    inspector = RedisInspector
    conversation: RedisConversation

    def on_connect(self) -> None:
        super().on_connect()
        self.conversation = cast(RedisConversation, self.watched.conversation)

    @classmethod
    def on_passed(cls, passed: Sequence[Passed]) -> None:
        inspector = passed[0][0].shared.inspector
        if inspector.on_exchange is None:
            look_at_all(passed, inspector.view)
        else:
            super().on_passed(passed)

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
