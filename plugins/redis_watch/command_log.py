"""Lines of the access log for single commands, beside that of their connection: which ones, and what they print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import random
from typing import Any, ClassVar

from l4proxy.access_log.operator_table import Reader
from l4proxy.access_log.operators import OPERATORS
from l4proxy.config.types import Duration, Percent
from l4proxy.plugins.exchange_record import ExchangeRecord, fits, reader_of
from l4proxy.plugins.redis_watch.exchange import RedisExchange

__all__ = ["CommandLog", "RedisRecord"]

DEFAULT_TEXT = (
    "%START_TIME% #%CONNECTION_ID% %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% %REDIS_COMMAND% keys=%REDIS_KEYS%"
    " client=%REDIS_CLIENT% > %UPSTREAM_HOST% received=%BYTES_RECEIVED% sent=%BYTES_SENT% ms=%DURATION% %REDIS_ERROR%"
)
DEFAULT_JSON = {
    "start_time": "%START_TIME%",
    "connection_id": "%CONNECTION_ID%",
    "listener": "%LISTENER_NAME%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "upstream_host": "%UPSTREAM_HOST%",
    "command": "%REDIS_COMMAND%",
    "keys": "%REDIS_KEYS%",
    "database": "%REDIS_DATABASE%",
    "user": "%REDIS_USER%",
    "client": "%REDIS_CLIENT%",
    "error": "%REDIS_ERROR%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
}


@dataclass(frozen=True, slots=True)
class CommandLog:
    """Which commands the access log has lines of. All conditions have to hold."""

    commands: tuple[str, ...] = ()
    """Only these: `["SET", "DEL"]`."""
    keys: tuple[str, ...] = ()
    """Only about keys that one of these patterns fits: `["session:*"]`."""
    clients: tuple[str, ...] = ()
    """Only of clients whose name, or address, one of these patterns fits."""
    errors_only: bool = False
    """Only what was answered with an error."""
    min_duration: Duration = Duration(0.0)
    """Only what took at least so long. Some commands wait as long as the client wants."""
    sample: Percent = Percent(100.0)
    """So many of those that are left, chosen at random."""

    def names(self) -> frozenset[str]:
        return frozenset(name.upper() for name in self.commands)

    def chooses(self, exchange: RedisExchange, names: frozenset[str]) -> bool:
        """``names`` are the commands' own. The cheap conditions first; sampling before what has to read the command."""
        return (
            (not names or exchange.kind in names)
            and (not self.errors_only or bool(exchange.error))
            and (not self.min_duration or (exchange.seconds or 0) >= self.min_duration)
            and (self.sample >= 100 or random() * 100 < self.sample)
            and (not self.clients or fits(exchange.callers(), self.clients))
            and (not self.keys or fits(exchange.keys(), self.keys))
        )


@dataclass(slots=True)
class RedisRecord(ExchangeRecord):
    """One command with its reply."""

    default_text: ClassVar[str] = DEFAULT_TEXT
    default_json: ClassVar[Mapping[str, Any]] = DEFAULT_JSON
    spoken: ClassVar[str] = "redis"
    line_type: ClassVar[str] = "RedisCommand"


def _of_command(read: Callable[[RedisExchange], Any]) -> Reader:
    return reader_of(RedisExchange, read)


_add = OPERATORS.add
_add("REDIS_COMMAND", _of_command(lambda command: command.kind), "The command: GET, SET ...")
_add("REDIS_KEYS", _of_command(lambda command: ",".join(command.keys()) or None), "The keys that it is about.")
_add("REDIS_DATABASE", _of_command(lambda command: command.database), "The database that the client has selected.")
_add("REDIS_USER", _of_command(lambda command: command.user or None), "Who the client has logged in as.")
_add("REDIS_CLIENT", _of_command(lambda command: command.name or None), "What the client calls itself.")
_add("REDIS_ERROR", _of_command(lambda command: command.error or None), "The first word of the error, if it was one.")
