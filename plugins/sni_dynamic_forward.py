"""``sni_dynamic_forward``: connect each client to the host that it names in its TLS ClientHello."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy import CloseReason, Register, UpstreamError, hookimpl
from l4proxy.address import Address
from l4proxy.config.types import Duration, Range
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.forwarder import Forwarder
from l4proxy.plugins.host_files import check_servers
from l4proxy.plugins.name_cache import KnownName, NameCache
from l4proxy.plugins.name_patterns import NamePattern, NamePatterns
from l4proxy.plugins.names import one_endpoint
from l4proxy.plugins.private_networks import private_networks
from l4proxy.plugins.requested_hosts import HostRequest, host_cluster
from l4proxy.stats import Stats, gauge, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["SniDynamicForward", "SniDynamicForwardConfig"]


@dataclass(frozen=True, slots=True)
class SniDynamicForwardConfig:
    allow: tuple[NamePattern, ...]
    """Server names that clients may ask for: exact, or `*.example.com` for all below it. `*` alone is refused: anybody
    could use the proxy for anything."""
    port: Annotated[int, Range(1, 65535)] = 443
    """The port to connect to."""
    allow_private: bool = False
    """Connect also to addresses that are not public: loopback, private and link-local networks and the like. Whoever
    controls a name decides its address, and could reach what is only meant for this host or its network."""
    connect_timeout: Annotated[Duration, Range(0.001)] = Duration(5.0)
    """How long a look-up may take, and then a host to accept."""
    max_connections: Annotated[int, Range(1)] = 1024
    """Connections at a time to all hosts; more wait."""
    idle_timeout: Duration = Duration(3600.0)
    """A connection on which nothing moves for this long, or up to a quarter longer, is closed; 0: never."""
    max_connection_duration: Duration = Duration(0.0)
    """Close every connection that is this old; 0: never."""
    servers: tuple[Address, ...] = ()
    """Name servers to ask (`192.0.2.53:53`) instead of the system's."""
    max_names: Annotated[int, Range(1)] = 1024
    """Names of which the addresses are kept."""
    min_ttl: Duration = Duration(1.0)
    """An answer is kept for at least so long."""
    max_ttl: Duration = Duration(300.0)
    """An answer is kept for at most so long."""
    refresh: Duration = Duration(5.0)
    """How long an answer is kept that says no time itself, and a failure."""
    name: str = "sni_dynamic_forward"
    """What logs and statistics show as the cluster."""

    def __post_init__(self) -> None:
        if not self.allow:
            raise ValueError("allow: name at least one host")
        if any(pattern.text == "*" for pattern in self.allow):
            raise ValueError('allow: "*" would let everybody connect to everything (write "*.example.com")')
        if not 0 < self.min_ttl <= self.max_ttl:
            raise ValueError("min_ttl: must be more than 0 and at most max_ttl")
        check_servers(self.servers)
        if not self.name:
            raise ValueError("name: cannot be empty")


class SniDynamicForwardStats(Stats, subsystem="sni_dynamic_forward", labels=("name",)):
    """Connections of one use."""

    refused_total = labelled_counter("Connections that were not forwarded, by reason.", label="reason")
    names = gauge("Names of which the addresses are known now.")


class Hosts:
    """What all connections of one use share: which hosts they may go to, and where those are."""

    def __init__(self, config: SniDynamicForwardConfig, server: Server) -> None:
        self.allowed = NamePatterns(config.allow)
        self.cluster = host_cluster(config.name, config.connect_timeout, config.max_connections, server)
        self.names = NameCache(
            DnsResolver(config.servers),
            server.loop.time,
            max_names=config.max_names,
            timeout=config.connect_timeout,
            min_ttl=config.min_ttl,
            max_ttl=config.max_ttl,
            refresh=config.refresh,
        )
        self.stats = server.stats.group(SniDynamicForwardStats, name=config.name)
        self._stop_collecting = server.stats.on_collect(self._collect)

    def _collect(self) -> None:
        self.stats.names = len(self.names)

    def close(self) -> None:
        self._stop_collecting()
        self.names.close()


class SniDynamicForward(Forwarder[SniDynamicForwardConfig]):
    """Connect each client to the host that its TLS ClientHello names (SNI), if that is on the list.

    An outgoing gateway that passes TLS through:

        [[listeners.filter_chains]]
        match = { tls = true }
        filters = [{ use = "sni_dynamic_forward", allow = ["*.example.com", "pypi.org"] }]

    The chain needs the `tls` matcher, or terminates TLS itself; a connection without a server name is refused. Names
    are looked up when they are asked for, and kept for as long as the answer says. Addresses that are not public are
    refused unless `allow_private`. Of several addresses the first that accepts is taken (RFC 8305).
    """

    name = "sni_dynamic_forward"
    shared: Hosts

    @classmethod
    def provision(cls, config: SniDynamicForwardConfig, server: Server) -> Hosts:
        return Hosts(config, server)

    @classmethod
    def cleanup(cls, shared: Hosts) -> None:
        shared.close()

    def on_connect(self) -> Awaitable[None] | None:
        hosts = self.shared
        host = self.conn.server_name.lower().removesuffix(".")
        if host not in hosts.allowed:
            self._refuse("host_not_allowed" if host else "no_server_name", host)
            return None
        self.conn.connecting(hosts.cluster.name)
        known = hosts.names.known(host)
        if known is None:
            return self._look_up(host)
        self._connect(host, known)
        return None

    async def _look_up(self, host: str) -> None:
        self._connect(host, await self.shared.names.look_up(host))

    def _connect(self, host: str, known: KnownName) -> None:
        if known.error is not None:
            self.conn.connect_failed(UpstreamError("DF", f"dns_{known.error.code}", str(known.error)))
            return
        private = private_networks()
        addresses = [one for one in known.hosts if self.config.allow_private or one not in private]
        if not addresses:
            self._refuse("private_address", f"{host} is {', '.join(known.hosts)}")
            return
        (spec,) = one_endpoint(host, self.config.port, 1, addresses, "all")
        self.forward(self.shared.cluster, HostRequest(server_name=host, host=spec))

    def _refuse(self, why: str, message: str) -> None:
        self.shared.stats.refused_total.add(why)
        self.conn.close(CloseReason("filter", "on_connect", why, self.name, message=message), flush=False)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(SniDynamicForward)
