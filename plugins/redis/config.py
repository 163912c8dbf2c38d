"""The options of ``redis_proxy``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from l4proxy.config.types import ClusterName, Duration, Percent, Plugin, Range, Secret, Size, Use
from l4proxy.errors import did_you_mean
from l4proxy.protocols.redis.commands import Command
from l4proxy.protocols.redis.keys import KeySpec
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.registry import Kind

__all__ = ["CustomCommand", "MirrorConfig", "RedisProxyConfig", "RouteConfig", "UpstreamConfig"]

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
class UpstreamConfig:
    """What is different about one of several clusters."""

    example: ClassVar[str] = '{ cluster = "users", password = { env = "USERS_PASSWORD" } }'

    cluster: ClusterName
    """Which one."""
    username: str = ""
    """As whom to log in to its servers."""
    password: Secret | None = None
    """The password for it."""


@dataclass(frozen=True, slots=True)
class MirrorConfig:
    """A cluster that gets copies of commands that write. What it answers is dropped."""

    example: ClassVar[str] = '{ cluster = "next", percent = 10 }'

    cluster: ClusterName
    """Which one."""
    percent: Percent = Percent(100.0)
    """So many of the commands are copied."""


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """Where the keys are that begin alike."""

    example: ClassVar[str] = '{ prefix = "user:", cluster = "users" }'

    prefix: str
    """How the keys begin. The longest prefix counts."""
    cluster: ClusterName
    """Where they are."""
    strip: bool = False
    """Leave the prefix out of what the servers know the keys as."""
    replace: str | None = None
    """Replace the prefix by this."""
    read_cluster: ClusterName | None = None
    """Where commands go that only read."""
    mirrors: tuple[MirrorConfig, ...] = ()
    """Clusters that get copies of commands that write."""

    def __post_init__(self) -> None:
        if not self.prefix:
            raise ValueError("prefix: is not empty; the last resort is the cluster beside routes")
        if self.strip and self.replace is not None:
            raise ValueError("replace: is instead of strip")

    def replacement(self) -> bytes | None:
        return b"" if self.strip else None if self.replace is None else self.replace.encode()


@dataclass(frozen=True, slots=True)
class RedisProxyConfig:
    cluster: ClusterName | None = None
    """Where commands go: all of them, or those that no route is for."""
    routes: tuple[RouteConfig, ...] = ()
    """Clusters by how keys begin: `[{ prefix = "user:", cluster = "users" }]`."""
    read_cluster: ClusterName | None = None
    """Where commands go that only read and that no route is for."""
    mirrors: tuple[MirrorConfig, ...] = ()
    """Clusters that get copies of what no route is for, if it writes."""
    upstreams: tuple[UpstreamConfig, ...] = ()
    """What is different about single clusters: `[{ cluster = "users", password = ... }]`."""
    filters: tuple[UseRedisFilter, ...] = ()
    """Message filters, in the order in which they see commands: `[{ use = "block" }]`."""
    max_held: Annotated[Size, Range(1024)] = Size(64 << 20)
    """Bytes of the longest command that is held until it has come whole, where filters look at it, or it matters which
    server it goes to. Longer ones are refused there."""
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
        if not self.cluster and not self.routes:
            raise ValueError("cluster: write cluster, or routes, or both")
        if self.username and not self.password:
            raise ValueError("username: needs a password beside it")
        if not self.cluster and (self.read_cluster or self.mirrors):
            raise ValueError("read_cluster: and mirrors go with a cluster beside them")
        names = self._cluster_names()
        for at, one in enumerate(self.upstreams):
            if one.cluster not in names:
                raise ValueError(
                    f"upstreams[{at}].cluster: nothing goes to {one.cluster!r}{did_you_mean(one.cluster, names)}"
                )

    def _cluster_names(self) -> list[str]:
        """All clusters that are named, each once."""
        routes = [name for route in self.routes for name in (route.cluster, route.read_cluster)]
        mirrors = [mirror.cluster for of_one in self._all_mirrors() for mirror in of_one]
        return list(dict.fromkeys(name for name in (self.cluster, self.read_cluster, *routes, *mirrors) if name))

    def _all_mirrors(self) -> list[tuple[MirrorConfig, ...]]:
        return [self.mirrors, *(route.mirrors for route in self.routes)]

    def all_upstreams(self) -> list[UpstreamConfig]:
        """All clusters, each with what is true of it."""
        return [self.upstream(name) for name in self._cluster_names()]

    def upstream(self, name: str) -> UpstreamConfig:
        own = next((one for one in self.upstreams if one.cluster == name), None)
        return own or UpstreamConfig(ClusterName(name), self.username, self.password)

    @property
    def server_protocol(self) -> int:
        """2 or 3; 0: as the client."""
        return {"client": 0, "resp2": 2, "resp3": 3}[self.protocol]

    def limits(self, *, whole: bool) -> RedisLimits:
        """What a client may send; ``whole`` says that commands are looked at when they have come whole."""
        limits = RedisLimits(max_arguments=self.max_arguments, max_bulk=self.max_bulk)
        return replace(limits, stream_from=self.max_held) if whole else limits
