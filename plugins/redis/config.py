"""The options of ``redis_proxy``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from l4proxy.config.types import ClusterName, Duration, Plugin, Range, Secret, Size, Use
from l4proxy.protocols.redis.commands import Command
from l4proxy.protocols.redis.keys import KeySpec
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.registry import Kind

__all__ = ["CustomCommand", "RedisProxyConfig"]

UseRedisFilter = Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "redis")]
Amount = Annotated[int, Range(1)]


@dataclass(frozen=True, slots=True)
class CustomCommand:
    """A command of a module, or of a server that is newer than the table."""

    name: str
    """`JSON.GET`"""
    first_key: Annotated[int, Range(0)] = 1
    """The argument that is its first key; 0: it has no keys."""
    last_key: int = 0
    """How many arguments behind that the last one is; -1: all that follow are keys, -2: all but the last ..."""
    key_step: Amount = 1
    """2, where only every second argument is a key."""
    write: bool = True
    """Whether it changes something; what does not may be answered by a replica."""
    blocking: bool = False
    """Whether it keeps its connection waiting."""

    def command(self) -> Command:
        flags = {"write" if self.write else "readonly", *(["blocking"] if self.blocking else [])}
        uses = frozenset(("RW", "access", "update") if self.write else ("RO", "access"))
        numbers = (self.last_key, self.key_step, 0)
        specs = (KeySpec(b"", self.first_key, "range", numbers, uses),) if self.first_key else ()
        return Command(self.name.upper(), -1, frozenset(flags), key_specs=specs)


@dataclass(frozen=True, slots=True)
class RedisProxyConfig:
    cluster: ClusterName
    """Where commands go."""
    filters: tuple[UseRedisFilter, ...] = ()
    """Message filters, in the order in which they see commands: `[{ use = "block" }]`."""
    max_filtered: Annotated[Size, Range(1024)] = Size(16 << 20)
    """Bytes of the longest command that filters are shown; one that is longer, and that a filter wants, is refused."""
    connections: Amount = 1
    """Connections to an endpoint that clients share, for each way in which clients speak (RESP2 or RESP3, user,
    database). One is the fastest; more spread long replies."""
    username: str = ""
    """As whom to log in to the servers; with `password`, clients cannot do so themselves."""
    password: Secret | None = None
    """The password for it, or of the servers' `requirepass`."""
    database: Annotated[int, Range(0)] = 0
    """The database that clients begin in."""
    protocol: Literal["client", "resp2", "resp3"] = "client"
    """What is spoken to servers: what the client speaks, or always the same, whatever the client speaks. A server that
    knows no RESP3 is spoken to in RESP2, and its replies are translated."""
    op_timeout: Duration = Duration(30.0)
    """A server that owes replies and gives none for this long is given up, and whoever waits gets an error; 0: never.
    Commands that block are not meant."""
    max_waiting: Amount = 100_000
    """Commands that may wait for replies on one connection; more are answered with an error."""
    max_pipeline: Amount = 10_000
    """Commands of one client that may wait for replies, before it is not read for a while."""
    idle_timeout: Duration = Duration(60.0)
    """Connections to servers that nobody has used for this long are closed."""
    max_idle: Annotated[int, Range(0)] = 16
    """Connections of one kind that are kept for the next client who needs one to itself."""
    reply_buffer: Size = Size(1 << 20)
    """Bytes that may wait for a client that does not read, before the server's connection is held up for it."""
    slow_reader_timeout: Duration = Duration(5.0)
    """A client that takes nothing for this long, while it holds up a connection that others share, is disconnected."""
    max_bulk: Annotated[Size, Range(1)] = Size(512 << 20)
    """The longest argument that a client may send, and the longest string in a reply (`proto-max-bulk-len`)."""
    max_arguments: Amount = 1024 * 1024
    """Arguments that a command may have."""
    custom_commands: tuple[CustomCommand, ...] = ()
    """Commands of modules: `[{ name = "JSON.GET", write = false }]`. Others that are not known are passed on."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if self.username and not self.password:
            raise ValueError("username: needs a password beside it")

    @property
    def server_protocol(self) -> int:
        """2 or 3; 0: as the client."""
        return {"client": 0, "resp2": 2, "resp3": 3}[self.protocol]

    @property
    def limits(self) -> RedisLimits:
        limits = RedisLimits(max_arguments=self.max_arguments, max_bulk=self.max_bulk)
        return replace(limits, stream_from=self.max_filtered) if self.filters else limits
