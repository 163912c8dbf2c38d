"""The options of ``redis_proxy``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from l4proxy.address import format_host_port
from l4proxy.config.types import ClusterName, Duration, Percent, Plugin, Range, Secret, Size, Use
from l4proxy.errors import did_you_mean
from l4proxy.plugins.host_files import is_ip
from l4proxy.protocols.redis.commands import Command
from l4proxy.protocols.redis.keys import KeySpec
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.registry import Kind

__all__ = ["CustomCommand", "MirrorConfig", "RedisProxyConfig", "RouteConfig", "UpstreamConfig"]

UseRedisFilter = Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "redis")]
Amount = Annotated[int, Range(1)]
Topology = Literal["servers", "cluster", "sentinel", "replication"]
ReadPolicy = Literal["primary", "prefer_replica", "replica", "nearest", "any"]


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
    topology: Topology | None = None
    """How its servers belong together; what is not written here is as for the filter."""
    read_policy: ReadPolicy | None = None
    """Which servers answer commands that only read."""
    max_lag: Duration | None = None
    """How old a replica's data may be."""
    primary_name: str | None = None
    """What Sentinel calls its primary."""
    sentinel_username: str | None = None
    """As whom to log in to Sentinel."""
    sentinel_password: Secret | None = None
    """The password for it."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """All that is true of one cluster."""

    cluster: ClusterName
    username: str
    password: Secret | None
    topology: Topology
    read_policy: ReadPolicy
    max_lag: float
    primary_name: str
    sentinel_username: str
    sentinel_password: Secret | None


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
    topology: Topology = "servers"
    """How the servers of a cluster belong together. `servers`: they know nothing of each other; keys are divided among
    them where the load balancer is `ring_hash` or `maglev`, and with others all have the same data. `cluster`: they are
    nodes of a Redis Cluster. `sentinel`: they are Sentinels, and are asked for the primary and its replicas.
    `replication`: one of them is the primary, the others are its replicas; which, is found out."""
    read_policy: ReadPolicy = "primary"
    """Which servers answer commands that only read: the `primary`; a replica, if there is one (`prefer_replica`); only
    a `replica`; the one that answers fastest (`nearest`); `any` of them. A client stays with the same one while it can.
    """
    max_lag: Duration = Duration(10.0)
    """A replica is not read from while what it lacks is older than this; 0: however old. It is found out to the
    second."""
    primary_name: str = "mymaster"
    """What Sentinel calls the primary."""
    sentinel_username: str = ""
    """As whom to log in to Sentinel."""
    sentinel_password: Secret | None = None
    """The password for it; Sentinel has its own."""
    topology_refresh: Annotated[Duration, Range(0.1)] = Duration(10.0)
    """How often servers are asked who is there, if nothing speaks for it that this has changed; then it is at once."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Where servers really are that know each other by addresses which cannot be reached from here, as behind NAT:
    `{ "10.0.0.1:6379" = "203.0.113.5:7001", "10.0.0.2" = "203.0.113.6" }`. Without a port, it stays the same one."""
    advertised_host: str = ""
    """The host that clients are told who ask for the nodes of a Redis Cluster: this proxy, as its only one. Usually it
    is the address that they have connected to."""
    filters: tuple[UseRedisFilter, ...] = ()
    """Message filters, in the order in which they see commands: `[{ use = "block" }]`."""
    block_dangerous: bool = True
    """Where clients can come from other machines, because the listener has an address that is not loopback, put
    `{ use = "block" }` in front of `filters`, unless it is one of them: no FLUSHALL, CONFIG, DEBUG, KEYS ..."""
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
    on_failure: Literal["error", "disconnect"] = "error"
    """What a client gets that waits for a server which is lost, or cannot be reached: an error as its reply, or it is
    disconnected, as if it had been connected to that server. Applications that connect again when their server is
    restarted, and take an error for the last word (Celery, RQ), want the latter."""
    command_timeout: Duration = Duration(60.0)
    """A client that has sent a part of a command and nothing more for this long is disconnected; 0: never."""
    half_close_timeout: Duration = Duration(5.0)
    """A client that has ended its side and is owed replies is disconnected when none has come for this long; 0: never.
    Most of those are gone."""
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
    """A client that takes nothing for this long, while it holds up a connection that others share, is disconnected;
    where others wait for replies behind its own, also one that takes less than 1 MiB."""
    max_bulk: Annotated[Size, Range(1)] = Size(512 << 20)
    """The longest argument that a client may send, and the longest string in a reply (`proto-max-bulk-len`)."""
    max_arguments: Amount = 1024 * 1024
    """Arguments that a command may have."""
    custom_commands: tuple[CustomCommand, ...] = ()
    """Commands of modules: `[{ name = "JSON.GET", write = false }]`. Others that are not known are passed on."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        for real in self.addresses.values():
            if not is_ip(_host_and_port(real)[0]):
                raise ValueError(f"addresses: {real!r} is not an IP address, or one with a port")
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
        for upstream in self.all_upstreams():
            if upstream.topology == "servers" and upstream.read_policy != "primary":
                raise ValueError(
                    f"read_policy: cluster {upstream.cluster!r} has no replicas (topology: is 'cluster', 'sentinel' or "
                    "'replication' where there are some)"
                )

    def _cluster_names(self) -> list[str]:
        """All clusters that are named, each once."""
        routes = [name for route in self.routes for name in (route.cluster, route.read_cluster)]
        mirrors = [mirror.cluster for of_one in self._all_mirrors() for mirror in of_one]
        return list(dict.fromkeys(name for name in (self.cluster, self.read_cluster, *routes, *mirrors) if name))

    def _all_mirrors(self) -> list[tuple[MirrorConfig, ...]]:
        return [self.mirrors, *(route.mirrors for route in self.routes)]

    def all_upstreams(self) -> list[Upstream]:
        """All clusters, each with what is true of it."""
        return [self.upstream(name) for name in self._cluster_names()]

    def upstream(self, name: str) -> Upstream:
        own = next((one for one in self.upstreams if one.cluster == name), None)
        login = own or self
        inherited = ("topology", "read_policy", "max_lag", "primary_name", "sentinel_username", "sentinel_password")
        values = {of: getattr(self if getattr(login, of) is None else login, of) for of in inherited}
        return Upstream(ClusterName(name), login.username, login.password, **values)

    def real_address(self, host: str, port: int) -> tuple[str, int]:
        """Where the server really is that others know by this address."""
        real = self.addresses.get(format_host_port(host, port)) or self.addresses.get(host)
        if real is None:
            return host, port
        host, real_port = _host_and_port(real)
        return host, real_port or port

    @property
    def server_protocol(self) -> int:
        """2 or 3; 0: as the client."""
        return {"client": 0, "resp2": 2, "resp3": 3}[self.protocol]

    def limits(self, held: frozenset[str] | None = frozenset()) -> RedisLimits:
        """What a client may send; ``held`` are commands that are looked at when they have come whole, None: all."""
        limits = RedisLimits(max_arguments=self.max_arguments, max_bulk=self.max_bulk)
        if held is None:
            return replace(limits, stream_from=self.max_held)
        return replace(limits, held=held, max_held=self.max_held)


def _host_and_port(text: str) -> tuple[str, int]:
    """``192.0.2.1:6379``, ``[2001:db8::1]:6379``, or either without a port (0)."""
    if is_ip(text):
        return text, 0
    host, colon, port = text.rpartition(":")
    return (host.removeprefix("[").removesuffix("]"), int(port)) if colon and port.isdecimal() else (text, 0)
