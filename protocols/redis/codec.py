"""The codec: one direction of a connection as whole commands or replies, each with the bytes it was read from.

For plugins of others that look at every one, and for tests that play a client or a server, as our own do. An object for
each message is what the proxy and the sniffer cannot afford: they use `RequestSplitter` and `ReplyScanner`, on which
this stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from l4proxy.codec import LocalProtocolError
from l4proxy.protocols.redis.commands import BUILT_IN, CommandTable
from l4proxy.protocols.redis.limits import DEFAULT_LIMITS, RedisLimits
from l4proxy.protocols.redis.reply import ReplyScanner
from l4proxy.protocols.redis.request import RequestSplitter, arguments, encode_command, one_by_one
from l4proxy.protocols.redis.values import Value, decode, encode

__all__ = ["RedisCommand", "RedisReply", "ReplyCodec", "RequestCodec"]


@dataclass(slots=True)
class RedisCommand:
    """One command. ``raw`` are the bytes it came in; None, once ``arguments`` were changed."""

    arguments: list[bytes]
    raw: bytes | None = field(default=None, compare=False)


@dataclass(slots=True)
class RedisReply:
    """One reply. ``raw`` are the bytes it came in; None, once ``value`` was changed."""

    value: Value
    raw: bytes | None = field(default=None, compare=False)


class RequestCodec:
    """What a client sends, as `RedisCommand`s."""

    name: ClassVar[str] = "redis_request"

    def __init__(self, table: CommandTable = BUILT_IN, limits: RedisLimits = DEFAULT_LIMITS) -> None:
        whole = RedisLimits(
            limits.max_arguments, limits.max_bulk, limits.max_inline, stream_from=limits.max_arguments * limits.max_bulk
        )
        self._splitter = RequestSplitter(table, whole)

    def receive_data(self, data: bytes) -> list[RedisCommand]:
        """The commands that ``data`` completes. Raises RemoteProtocolError, when those before it were returned."""
        runs = [] if self._splitter.error else self._splitter.split(data)
        if not runs:
            self._splitter.raise_error()
        return [RedisCommand(arguments(command), command) for run in runs for command in one_by_one(run)]

    def send(self, event: RedisCommand) -> bytes:
        """Its bytes. Raises LocalProtocolError for a command without a name."""
        if event.raw is not None:
            return event.raw
        if not event.arguments:
            raise LocalProtocolError("a command has at least a name")
        return encode_command(*event.arguments)

    def leftover(self) -> bytes:
        return self._splitter.leftover


class ReplyCodec:
    """What a server sends, as `RedisReply`s; pushes are among them."""

    name: ClassVar[str] = "redis_reply"

    def __init__(self, limits: RedisLimits = DEFAULT_LIMITS, protocol: int = 3) -> None:
        """``protocol``: in which version a reply that was changed is encoded."""
        self._limits = limits
        self._protocol = protocol
        self._scanner = ReplyScanner(limits)
        self._rest = bytearray()

    def receive_data(self, data: bytes) -> list[RedisReply]:
        """The replies that ``data`` completes. Raises RemoteProtocolError."""
        self._rest += data
        replies, at = [], 0
        while at < len(self._rest) and (end := self._scanner.end(self._rest, at)) >= 0:
            raw = bytes(self._rest[at:end])
            replies.append(RedisReply(decode(raw, 0, self._limits)[0], raw))
            at = end
        self._scanner.errors.clear()
        del self._rest[:at]
        return replies

    def send(self, event: RedisReply) -> bytes:
        """Its bytes. Raises LocalProtocolError for what no reply is."""
        return event.raw if event.raw is not None else encode(event.value, self._protocol)

    def leftover(self) -> bytes:
        return bytes(self._rest)
