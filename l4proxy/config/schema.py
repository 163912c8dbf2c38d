"""The configuration of l4proxy, as dataclasses. What stands here is what a file may say.

The text under each field is its documentation: ``l4proxy explain`` prints it and ``l4proxy schema`` exports it. What
concerns a single object is checked in its ``__post_init__`` (a message that begins with ``field:`` is reported at
that field); what needs the whole configuration is checked in ``check``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from l4proxy.address import Address, AddressRange
from l4proxy.config.types import (
    Duration,
    FilePath,
    ListenAddress,
    MatchTable,
    Percent,
    Range,
    Secret,
    Size,
    Use,
    UseAccessLogger,
    UseDiscovery,
    UseFilter,
    UseHealthCheck,
    UseLoadBalancer,
    UsePreamble,
    UseStatsSink,
)

__all__ = [
    "Admin",
    "Certificate",
    "ClientTls",
    "Cluster",
    "Config",
    "EndpointConfig",
    "FilterChain",
    "Keepalive",
    "Listener",
    "ServerTls",
]

Count = Annotated[int, Range(0)]
Amount = Annotated[int, Range(1)]
Timeout = Annotated[Duration, Range(0.001)]
BufferSize = Annotated[Size, Range(1024)]
TlsVersion = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True)
class Keepalive:
    """TCP keep-alive probes: how a peer is noticed that went away without a word."""

    enabled: bool = True
    idle: Annotated[Duration, Range(1, 32767)] = Duration(60.0)
    """Silence before the first probe. Whole seconds."""
    interval: Annotated[Duration, Range(1, 32767)] = Duration(10.0)
    """Between probes. Whole seconds."""
    count: Annotated[int, Range(1, 127)] = 6
    """Probes without an answer after which the connection is reset."""
    user_timeout: Annotated[Duration, Range(0, 2_000_000)] = Duration(0.0)
    """How long bytes that were sent may go without an acknowledgement before the connection is reset; 0: as long as
    the system tries, which is about 15 minutes."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a listener can present, with its key."""

    cert: FilePath
    """PEM file: the server's certificate first, then the intermediate ones."""
    key: FilePath
    """PEM file of its private key."""
    password: Secret | None = None
    """Of the private key, where it is encrypted."""
    server_names: tuple[str, ...] = ()
    """For which server names (SNI) it is used, exact or `*.example.com`; where none are given, those inside it."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS towards clients. One certificate is `cert` and `key`; of several `certificates` the server name chooses."""

    example: ClassVar[str] = '{ cert = "cert.pem", key = "key.pem" }'

    cert: FilePath | None = None
    """PEM file: the server's certificate first, then the intermediate ones."""
    key: FilePath | None = None
    """PEM file of its private key."""
    password: Secret | None = None
    """Of the private key, where it is encrypted."""
    certificates: tuple[Certificate, ...] = ()
    """The first one is presented when no other has the name that the client asks for."""
    alpn: tuple[str, ...] = ()
    """Application protocols that are offered, the most wanted first. Empty: what the last filter speaks; for `http`
    that is `["h2", "http/1.1"]`."""
    min_version: TlsVersion = "1.2"
    """The oldest version of TLS that is accepted."""
    client_ca: FilePath | None = None
    """PEM file of the authorities whose client certificates are accepted."""
    client_certificate: Literal["off", "optional", "required"] = "off"
    """Whether clients are asked for a certificate, and whether they must have one."""
    client_sans: tuple[str, ...] = ()
    """A client's certificate must have one of these alternative names: exact, `*.suffix`, or `spiffe://prefix/*`."""
    handshake_timeout: Timeout = Duration(10.0)
    """A client that has not finished its handshake by then is disconnected."""
    max_handshakes: Annotated[int, Range(1)] = 1000
    """Handshakes under way at a time; a client that comes beyond is refused."""
    ciphers: str = ""
    """Ciphers of TLS 1.2 in OpenSSL's notation; OpenSSL's own choice where empty."""
    require_sni: bool = False
    """Refuse a client that asks for no name or an unknown one, instead of presenting the first certificate."""

    def __post_init__(self) -> None:
        _check_key_pair(self.cert, self.key, self.password)
        if not self.cert and not self.certificates:
            raise ValueError("cert: a listener with TLS needs a certificate (cert and key, or certificates)")
        if self.client_certificate != "off" and not self.client_ca:
            raise ValueError(
                f'client_ca: client_certificate = "{self.client_certificate}" needs authorities to check against'
            )
        if self.client_certificate == "off" and (self.client_ca or self.client_sans):
            field = "client_ca" if self.client_ca else "client_sans"
            raise ValueError(f'{field}: has no effect unless client_certificate is "optional" or "required"')

    @property
    def all_certificates(self) -> tuple[Certificate, ...]:
        """`cert` and `key` as a certificate, then `certificates`."""
        if not self.cert or not self.key:
            return self.certificates
        return (Certificate(self.cert, self.key, self.password), *self.certificates)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS towards endpoints. They are verified unless `verify = false` says otherwise."""

    server_name: str = ""
    """The name that is asked for (SNI) and verified; the endpoint's host name where empty."""
    ca: FilePath | None = None
    """PEM file of the authorities that are trusted; the system's where none is given."""
    verify: bool = True
    """Verify the certificate and its name."""
    sans: tuple[str, ...] = ()
    """The certificate must have one of these alternative names instead of the server name: exact, `*.suffix`, or
    `spiffe://prefix/*`."""
    cert: FilePath | None = None
    """PEM file of our own certificate, for endpoints that ask for one."""
    key: FilePath | None = None
    """PEM file of its private key."""
    password: Secret | None = None
    """Of the private key, where it is encrypted."""
    alpn: tuple[str, ...] = ()
    """Application protocols that are offered, the most wanted first."""
    min_version: TlsVersion = "1.2"
    """The oldest version of TLS that is accepted."""
    handshake_timeout: Timeout = Duration(10.0)
    """An endpoint that has not finished its handshake by then has failed."""

    def __post_init__(self) -> None:
        _check_key_pair(self.cert, self.key, self.password)
        for field in ("ca", "sans"):
            if not self.verify and getattr(self, field):
                raise ValueError(f"{field}: has no effect with verify = false")


def _check_key_pair(cert: FilePath | None, key: FilePath | None, password: Secret | None) -> None:
    if cert and not key:
        raise ValueError("cert: needs a key beside it")
    if key and not cert:
        raise ValueError("key: needs a cert beside it")
    if password and not key:
        raise ValueError("password: there is no key that it could open")


@dataclass(frozen=True, slots=True)
class FilterChain:
    """One way through a listener: which connections take it, TLS, filters. The first chain that matches is taken."""

    filters: tuple[UseFilter, ...]
    """In the order in which a client's bytes pass them. The last one is terminal: it answers or connects upstream."""
    name: str = ""
    """Stands in logs and in `/listeners`."""
    match: MatchTable = ()
    """Conditions that all have to hold; a chain without any takes every connection that comes to it."""
    tls: ServerTls | None = None
    """Terminate TLS before the filters."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where connections are accepted, and what becomes of them. Has either `filters` or `filter_chains`."""

    example: ClassVar[str] = '{ address = "127.0.0.1:8080", filters = ["echo"] }'

    address: ListenAddress | tuple[ListenAddress, ...]
    """`host:port`, `:port` (every interface), `[::1]:port`, `unix:/path`, `unix:@abstract`, a range of ports
    (`host:9092-9192`), or several of these."""
    name: str = ""
    """Stands in logs and statistics; the address where empty."""
    filters: tuple[UseFilter, ...] = ()
    """The only filter chain. The last filter is terminal: it answers or connects upstream."""
    tls: ServerTls | None = None
    """Terminate TLS in front of `filters`."""
    filter_chains: tuple[FilterChain, ...] = ()
    """Several filter chains, tried in this order."""
    preambles: tuple[UsePreamble, ...] = ()
    """What is taken off the beginning of every connection before a chain is chosen: `["proxy_protocol"]`."""
    peek_timeout: Timeout = Duration(15.0)
    """How long a client may take to send what the chains' conditions need to see."""
    peek_limit: Annotated[Size, Range(1, 1 << 20)] = Size(16384)
    """How many bytes may be looked at to choose a chain."""
    peek_timeout_action: Literal["close", "continue"] = "close"
    """After `peek_timeout`, close the connection, or count what is undecided as no and take the first chain left."""
    max_connections: Count = 0
    """Connections at a time; one more is refused. 0: no limit but the server's."""
    accepts_per_turn: Amount = 16
    """Connections accepted before those that are open get their turn."""
    backlog: Amount = 4096
    """Connections that the system keeps waiting (at most net.core.somaxconn)."""
    reuse_port: bool = False
    """Let other processes listen on the same port; the system spreads connections over them (SO_REUSEPORT)."""
    keepalive: Keepalive = Keepalive()
    """TCP keep-alive towards clients."""
    nodelay: bool = True
    """Send small writes at once (TCP_NODELAY)."""
    transparent: bool = False
    """Accept connections to addresses that are not this machine's (IP_TRANSPARENT; needs CAP_NET_ADMIN)."""
    original_destination: Literal["off", "redirect", "tproxy"] = "off"
    """How connections are brought here by the packet filter, so that their original destination is known."""
    unix_mode: str = "0660"
    """Permissions of a unix socket, in octal."""
    access_log: tuple[UseAccessLogger, ...] | None = None
    """Sinks for this listener's connections instead of those at the top; `[]`: none."""
    buffer_limit: BufferSize = Size(65536)
    """Bytes held per connection and direction at which the sender is no longer read, until half of them are gone."""

    def __post_init__(self) -> None:
        if not self.entries:
            raise ValueError("address: a listener needs at least one address")
        if not self.name:
            object.__setattr__(self, "name", str(self.entries[0]))
        if bool(self.filters) == bool(self.filter_chains):
            wrong = "not both" if self.filters else "one of them is needed"
            raise ValueError(f"filters: write filters (one chain) or filter_chains (several); {wrong}")
        if self.tls and self.filter_chains:
            raise ValueError("tls: belongs into each of the filter_chains")
        if not self.unix_mode.isdigit() or not set(self.unix_mode) <= set("01234567") or int(self.unix_mode, 8) > 0o777:
            raise ValueError(f'unix_mode: {self.unix_mode!r} is not a mode in octal (such as "0660")')

    @property
    def entries(self) -> tuple[ListenAddress, ...]:
        """`address` as it was written, always several."""
        return self.address if isinstance(self.address, tuple) else (self.address,)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All of them, ranges spelt out."""
        return tuple(
            address
            for entry in self.entries
            for address in (entry.addresses if isinstance(entry, AddressRange) else (entry,))
        )

    @property
    def exposed(self) -> bool:
        """Whether clients can come from other machines: it is at the edge, unless something is in front of it."""
        return self.transparent or not all(address.is_local for address in self.addresses)

    @property
    def chains(self) -> tuple[FilterChain, ...]:
        """`filter_chains`, or the one chain that `filters` and `tls` make."""
        return self.filter_chains or (FilterChain(self.filters, tls=self.tls),)

    def chains_by_path(self) -> list[tuple[str, FilterChain]]:
        """`chains`, each with what its options' paths begin with."""
        if not self.filter_chains:
            return [("", self.chains[0])]
        return [(f".filter_chains[{at}]", chain) for at, chain in enumerate(self.filter_chains)]


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One server of a cluster; `"host:port"` alone is short for `{ address = "host:port" }`."""

    short_form: ClassVar[str] = "address"

    address: Address
    """`host:port` or `unix:/path`."""
    weight: Count = 1
    """Its share of connections, relative to the other endpoints' weights; 0 takes none."""

    def __post_init__(self) -> None:
        if not self.address.is_unix and not self.address.port:
            raise ValueError("address: an endpoint needs a port above 0")


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When endpoints that fail connections and requests get none for a while."""

    consecutive_failures: Amount = 5
    """Failures in a row until an endpoint is ejected: connections that cannot be made, requests that end in an error of
    its making (of HTTP: status 5xx; of gRPC: UNAVAILABLE and the like; of Redis: no reply in time, LOADING and the
    like)."""
    base_ejection_time: Timeout = Duration(30.0)
    """How long it gets nothing, times how often it was ejected lately."""
    max_ejection_time: Timeout = Duration(300.0)
    """At most this long."""
    max_ejection_percent: Percent = Percent(10.0)
    """No further endpoint is ejected while so many are; a first one may always be."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Servers that do the same, and how connections to them are made."""

    example: ClassVar[str] = '{ name = "backend", endpoints = ["127.0.0.1:8081"] }'

    name: str
    """What filters call it."""
    endpoints: tuple[EndpointConfig, ...] = ()
    """The servers, as `"host:port"` or `{ address = "host:port", weight = 2 }`."""
    discovery: UseDiscovery = Use("static")
    """Where the endpoints' addresses come from."""
    load_balancer: UseLoadBalancer = Use("round_robin")
    """Which endpoint a new connection goes to."""
    health_check: UseHealthCheck | None = None
    """How endpoints are checked, each worker for itself. Those that fail get no new connections."""
    outlier_detection: OutlierDetection | None = None
    """Endpoints that fail real traffic get none for a while; `{}` is enough."""
    panic_threshold: Percent = Percent(50.0)
    """Where fewer endpoints are well, new connections go to all of them; 0: never to one that is not well."""
    connect_timeout: Timeout = Duration(5.0)
    """An endpoint that has not accepted by then has failed."""
    tls: ClientTls | None = None
    """Speak TLS to the endpoints; `{}` is enough where the system trusts those who signed their certificates."""
    max_connections: Amount = 1024
    """Connections at a time, over all endpoints; more wait."""
    max_pending: Count = 1024
    """Connections that may wait; one more is refused."""
    bind: Address | None = None
    """The source address of connections; port 0 leaves the port to the system."""
    buffer_limit: BufferSize = Size(65536)
    """Bytes held for a slow endpoint before the client is no longer read (high watermark; the low one is half)."""
    keepalive: Keepalive = Keepalive()
    """TCP keep-alive towards endpoints."""
    nodelay: bool = True
    """Send small writes at once (TCP_NODELAY)."""
    drain_removed: Duration = Duration(30.0)
    """How long connections to an endpoint that was removed may go on; 0: for ever."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: a cluster needs a name")
        if self.bind and self.bind.is_unix:
            raise ValueError('bind: must be an IP address (such as "192.0.2.1:0")')


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin interface: state, statistics, and a few mutations by POST."""

    address: Address = Address("127.0.0.1", 9901)
    """Where it listens; `unix:/run/l4proxy.sock` keeps it to those who may open the file."""
    token: Secret | None = None
    """What a request has to carry: `Authorization: Bearer TOKEN`."""
    metrics_address: Address | None = None
    """A second listener that serves statistics for scraping and nothing else."""
    hosts: tuple[str, ...] = ()
    """Names that a Host header may have beside the address and localhost; others are refused (DNS rebinding)."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    listeners: tuple[Listener, ...]
    """Where connections are accepted; at least one."""
    clusters: tuple[Cluster, ...] = ()
    """The servers that connections go to."""
    admin: Admin | None = None
    """The admin interface; none unless it is asked for (`[admin]` alone is enough)."""
    access_log: tuple[UseAccessLogger, ...] = ()
    """Sinks for the connections of all listeners that name none of their own."""
    stats_sinks: tuple[UseStatsSink, ...] = ()
    """Where statistics are pushed to."""
    workers: Annotated[int, Range(1, 1024)] | Literal["auto"] = 1
    """Worker processes; `"auto"`: one per CPU that this process may use."""
    max_connections: Count = 0
    """Connections at a time in each worker. 0: as many as file descriptors allow, minus a reserve."""
    drain_time: Duration = Duration(30.0)
    """How long connections may go on after SIGTERM, or after SIGUSR2 has started a successor."""
    drain_listeners: Literal["close", "keep"] = "close"
    """While draining, close the listeners, or keep them open (a load balancer in front then sees no refusal)."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """The least important messages that the log shows."""
    slow_callback: Annotated[Duration, Range(0)] = Duration(1.0)
    """A plugin that keeps the event loop busy for longer is named in the log and counted; 0: nobody watches."""
    label_budget: Amount = 200
    """Distinct values of a set of statistics labels; what comes later is counted as `other`."""

    def __post_init__(self) -> None:
        if not self.listeners:
            raise ValueError("listeners: at least one listener is needed")
