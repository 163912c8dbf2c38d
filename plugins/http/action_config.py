"""What the configuration of a route may say that becomes of its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from l4proxy.address import Address
from l4proxy.config.types import ClusterName, Duration, FilePath, OwnClusterName, Range, Size
from l4proxy.plugins.host_files import check_servers
from l4proxy.plugins.http.field_config import FieldMatch
from l4proxy.plugins.name_patterns import NamePattern
from l4proxy.protocols.http_fields import check_field

__all__ = ["Destination", "DirectResponse", "Forward", "HashPart", "Redirect", "Retry", "check_authority"]


def check_authority(key: str, value: str | None) -> None:
    """Raises ValueError unless it is a host, perhaps with a port, or nothing at all."""
    if value and not re.fullmatch(r"[^\s/?#@\\]+", value):
        raise ValueError(f"{key}: {value!r} is not a host, with a port or without")


@dataclass(frozen=True, slots=True)
class Destination:
    """A cluster and its share."""

    cluster: ClusterName
    """A cluster."""
    weight: Annotated[int, Range(0)] = 1
    """Its share of requests, relative to the others'."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that sends the client elsewhere. What is not said stays as it is in the request."""

    scheme: Literal["", "http", "https"] = ""
    """`https`: the usual way from port 80."""
    host: str = ""
    """Another host, with a port if need be."""
    port: Annotated[int, Range(0, 65535)] = 0
    """Another port."""
    path: str = ""
    """Another path, and query if it has one."""
    prefix: str = ""
    """What goes in the place of the route's `prefix`."""
    strip_query: bool = False
    """Leave the query away."""
    code: Literal[301, 302, 303, 307, 308] = 301
    """The status."""

    def __post_init__(self) -> None:
        if self.path and self.prefix:
            raise ValueError("prefix: not beside path")
        for key in ("path", "prefix"):
            if (value := getattr(self, key)) and not value.startswith("/"):
                raise ValueError(f"{key}: {value!r} does not begin with a slash")
        if not any((self.scheme, self.host, self.port, self.path, self.prefix, self.strip_query)):
            raise ValueError("where to? (write scheme, host, port, path, prefix or strip_query)")
        check_authority("host", self.host)


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """An answer that needs no upstream."""

    status: Annotated[int, Range(200, 599)] = 200
    """The status."""
    text: str = ""
    """The body."""
    file: FilePath | None = None
    """Or a file whose content is the body, 1 MiB at most; read again when it has changed."""
    content_type: str = "text/plain; charset=utf-8"
    """What the body is."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further fields."""

    def __post_init__(self) -> None:
        if self.file and self.text:
            raise ValueError("text: not beside file")
        if self.status in (204, 304) and (self.text or self.file):
            raise ValueError(f"{'text' if self.text else 'file'}: a response with status {self.status} has no body")
        try:
            for name, value in self.headers.items():
                check_field(name, value)
        except ValueError as error:
            raise ValueError(f"headers: {error}") from None


@dataclass(frozen=True, slots=True)
class HashPart:
    """What of a request decides its endpoint, for `ring_hash` and `maglev`. One of these."""

    header: str = ""
    """The value of a header field."""
    query: str = ""
    """The value of a query parameter."""
    cookie: str = ""
    """The value of a cookie."""
    ttl: Duration | None = None
    """With `cookie`: give clients that have none a new one, which lasts so long (0: for the session)."""
    source_ip: bool = False
    """The client's address."""
    terminal: bool = False
    """If this one has a value, the parts behind it do not count."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.header, self.query, self.cookie, self.source_ip))) != 1:
            raise ValueError("header: write one of header, query, cookie, source_ip")
        if self.ttl is not None and not self.cookie:
            raise ValueError("ttl: is of a cookie")


@dataclass(frozen=True, slots=True)
class Forward:
    """Hosts that clients may go to through this proxy. Nothing else is forwarded."""

    example: ClassVar[str] = '{ allow = ["*.example.com", "pypi.org"] }'

    allow: tuple[NamePattern, ...]
    """Names: exact, `*.example.com` for all below it, or `*` for all; and addresses (`192.0.2.7`, `[2001:db8::7]`)."""
    ports: tuple[Annotated[int, Range(1, 65535)], ...] = (80,)
    """Ports for requests."""
    connect_ports: tuple[Annotated[int, Range(1, 65535)], ...] = (443,)
    """Ports for tunnels (CONNECT). Empty: no tunnels."""
    allow_private: bool = False
    """Connect also to addresses that are not public: loopback, private and link-local networks and the like. Whoever
    controls a name decides its address, and could reach what is only meant for this host or its network."""
    connect_timeout: Annotated[Duration, Range(0.001)] = Duration(5.0)
    """How long a look-up may take, and then a host to accept."""
    max_connections: Annotated[int, Range(1)] = 1024
    """Connections at a time to all hosts; more wait."""
    servers: tuple[Address, ...] = ()
    """Name servers to ask (`192.0.2.53:53`) instead of the system's."""
    max_names: Annotated[int, Range(1)] = 1024
    """Names of which the addresses are kept."""
    name: OwnClusterName = OwnClusterName("forward")
    """What logs and statistics show as the cluster, and `upstreams` calls it."""

    def __post_init__(self) -> None:
        if not self.allow:
            raise ValueError("allow: name at least one host")
        if not self.name:
            raise ValueError("name: cannot be empty")
        check_servers(self.servers)


RetryOn = Literal[
    "5xx",
    "gateway-error",
    "reset",
    "connect-failure",
    "retriable-status-codes",
    "refused-stream",
    "retriable-headers",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
]


@dataclass(frozen=True, slots=True)
class Retry:
    """When and how a request is tried again. What cannot be repeated (a body longer than `buffer`, a response that has
    begun) is not."""

    on: tuple[RetryOn, ...] = ("connect-failure", "refused-stream", "reset")
    """`5xx` (any, also none at all), `gateway-error` (502, 503, 504), `reset` (no response), `connect-failure`,
    `retriable-status-codes` (with `status`), `retriable-headers` (with `response_headers`), `refused-stream`.
    And for gRPC, whatever `methods` say, statuses in answers that have no message: `cancelled`, `deadline-exceeded`,
    `internal`, `resource-exhausted`, `unavailable`."""
    attempts: Annotated[int, Range(1, 20)] = 1
    """Tries after the first one."""
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
    """Only these are tried again after the endpoint may have acted on them (`reset`, statuses, timeouts). An empty list
    means all."""
    status: tuple[Annotated[int, Range(200, 599)], ...] = ()
    """For `retriable-status-codes`."""
    headers: tuple[FieldMatch, ...] = ()
    """Only requests with these header fields."""
    response_headers: tuple[FieldMatch, ...] = ()
    """For `retriable-headers`: responses with one of these fields."""
    backoff: Duration = Duration(0.025)
    """The pause before retry n is random, up to 2^n - 1 times this."""
    backoff_max: Duration = Duration(0.25)
    """And at most this."""
    per_try_timeout: Annotated[Duration, Range(0)] = Duration(0.0)
    """A try that has no response by then, or not even a connection, has failed as one that is `reset`; 0: none but the
    route's `timeout`."""
    hedge: bool = False
    """Do not give a try up that is slower than `per_try_timeout`, but begin the next one beside it: whichever answers
    first is taken. A bad answer is not, as long as another may still come."""
    buffer: Size = Size(65536)
    """Bytes of a request's body that are kept to be sent again."""

    def __post_init__(self) -> None:
        if self.hedge and not self.per_try_timeout:
            raise ValueError("hedge: needs per_try_timeout")
