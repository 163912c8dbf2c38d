"""Commands and replies, as message filters of Redis see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from l4proxy.message import MessageFilter, Request, Response
from l4proxy.protocols.redis.commands import Command, CommandTable, Head
from l4proxy.protocols.redis.keys import KeySpec
from l4proxy.protocols.redis.request import arguments, encode_command
from l4proxy.protocols.redis.values import Failure, Value, decode, encode

if TYPE_CHECKING:
    from l4proxy.plugins.redis.session import Task

__all__ = ["RedisFilter", "RedisRequest", "RedisResponse", "request_of"]

C = TypeVar("C")


class RedisRequest(Request):
    """A command. ``kind`` is its name in capitals, without a subcommand: ``GET``, ``CONFIG``."""

    __slots__ = ("_arguments", "_raw", "_table", "aborted", "beginning", "collected", "head", "number", "own",
                 "queued")  # fmt: skip

    def __init__(self, head: Head, raw: bytes, table: CommandTable) -> None:
        super().__init__(head.name)
        self.head = head
        self._raw: bytes | None = raw
        self._table = table
        self._arguments: tuple[bytes, ...] | None = None
        self.queued = -1
        """Its place among the commands of a transaction, once it has come through all filters: that of its reply in the
        one to ``EXEC``."""
        # What the front remembers.
        self.number = 0
        self.own = False
        self.aborted = False
        self.beginning: RedisResponse | None = None
        self.collected = b""

    @property
    def arguments(self) -> tuple[bytes, ...]:
        """All of them; the first is the name. What is assigned here is sent instead, also under another name."""
        if self._arguments is None:
            self._arguments = tuple(arguments(self._raw or b""))
        return self._arguments

    @arguments.setter
    def arguments(self, value: Sequence[bytes]) -> None:
        self._arguments = tuple(value)
        self._raw = None

    @property
    def name(self) -> str:
        """What the command is called by now, in capitals: ``kind``, unless a filter in front has renamed it."""
        return self.kind if self._raw is not None else self.arguments[0].decode("latin-1").upper()

    @property
    def raw(self) -> bytes:
        """The bytes to be sent: those that came, unless ``arguments`` were assigned."""
        return encode_command(*self.arguments) if self._raw is None else self._raw

    @property
    def changed(self) -> bool:
        return self._raw is None

    @property
    def command(self) -> Command:
        """What is known of it; of a subcommand, where it is one (``CONFIG|GET``)."""
        return self._table.of(self.arguments)

    @property
    def keys(self) -> list[bytes]:
        return self.command.keys(self.arguments)

    @property
    def key_uses(self) -> list[tuple[bytes, KeySpec]]:
        """The keys, each with what is done with it (``reads``, ``writes``)."""
        return self.command.key_uses(self.arguments)


def request_of(run: Task) -> RedisRequest | None:
    """What message filters know the command as; None where it went by them."""
    return run[3] if len(run) == 4 else None


class RedisResponse(Response):
    """A reply. Where ``complete`` is False, it is a long one of which ``raw`` is the beginning: it can be let pass or
    be replaced, and has no ``value``."""

    __slots__ = ("_decoded", "_raw", "_value", "delivered", "rest")

    def __init__(self, value: Value = None, *, raw: bytes | None = None, complete: bool = True) -> None:
        """``value`` is of ``l4proxy.protocols.redis.values``. It is encoded in the version of the protocol that the
        client speaks when it is sent."""
        super().__init__(complete=complete)
        self._value = value
        self._raw = raw
        self._decoded = raw is None
        # What the front remembers: whether it was sent, and what has come behind ``raw`` before that.
        self.delivered = False
        self.rest: list[bytes] = []

    @classmethod
    def error(cls, text: str) -> RedisResponse:
        """``RedisResponse.error("ERR no")``. The first word is the kind of error."""
        return cls(Failure(text.encode()))

    @property
    def value(self) -> Value:
        """What it says; where one command has several replies (``SUBSCRIBE``), the first; None where the client wants
        no reply. What is assigned here is sent instead."""
        if not self._decoded:
            if not self.complete:
                raise ValueError("only the beginning of the reply is there")
            self._value, self._decoded = decode(self._raw)[0] if self._raw else None, True
        return self._value

    @value.setter
    def value(self, value: Value) -> None:
        self._value, self._decoded = value, True
        self._raw = None

    @property
    def is_error(self) -> bool:
        return self._raw[:1] in (b"-", b"!") if self._raw is not None else isinstance(self._value, Failure)

    def encode(self, protocol: int) -> bytes:
        """The bytes to be sent to a client that speaks this version."""
        return self._raw if self._raw is not None else encode(self._value, protocol)


class RedisFilter(MessageFilter[C, RedisRequest, RedisResponse]):
    """Base of the message filters of Redis: ``class Audit(RedisFilter[AuditConfig])``.

    They see every command by itself, also those of a pipeline, and inside of a transaction. When a filter answers a
    command inside of a transaction, the transaction is aborted, as it is when the server refuses one. What the server
    says unasked (messages, invalidations) does not come by.
    """

    protocol = "redis"
