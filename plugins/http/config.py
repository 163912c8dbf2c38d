"""What the ``http`` filter may be told, as dataclasses: the whole of its configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from l4proxy.address import Address
from l4proxy.config.types import ClusterName, Duration, FilePath, Network, Percent, Plugin, Range, Size, Use
from l4proxy.errors import did_you_mean
from l4proxy.plugins.host_files import is_ip
from l4proxy.plugins.http.conditions import safe_regex
from l4proxy.plugins.http.field_changes import compile_changes
from l4proxy.plugins.http.http2_config import Http2Options
from l4proxy.plugins.http.patterns import path_segments
from l4proxy.plugins.name_patterns import NamePattern
from l4proxy.registry import Kind

__all__ = [
    "Destination",
    "DirectResponse",
    "FieldChanges",
    "FieldMatch",
    "Forward",
    "HashPart",
    "HttpConfig",
    "HttpLimits",
    "Redirect",
    "Retry",
    "Route",
    "Upstream",
    "VirtualHost",
]

UseHttpFilter = Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "http")]
Amount = Annotated[int, Range(1)]
Count = Annotated[int, Range(0)]
Timeout = Annotated[Duration, Range(0)]

ACTIONS = ("cluster", "clusters", "cluster_header", "forward", "redirect", "respond")
METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")


def _check(key: str, make: Callable[[Any], object], value: Any) -> None:
    """Find out now what would be found out when it is used."""
    try:
        make(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """A condition on a header field, a query parameter or a cookie. With a name alone: it is there."""

    short_form: ClassVar[str] = "name"

    name: str
    """Of a header field, in any case."""
    exact: str | None = None
    """The whole value."""
    prefix: str | None = None
    """What the value begins with."""
    suffix: str | None = None
    """What the value ends with."""
    contains: str | None = None
    """What is somewhere in the value."""
    regex: str | None = None
    """A regular expression that the whole value matches; bounded, as that of a route."""
    invert: bool = False
    """The condition must not hold; for a name alone: it is not there."""

    def __post_init__(self) -> None:
        given = [key for key in ("exact", "prefix", "suffix", "contains", "regex") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: not beside {given[0]}")
        if not self.name:
            raise ValueError("name: of what?")
        if self.regex is not None:
            _check("regex", safe_regex, self.regex)


@dataclass(frozen=True, slots=True)
class FieldChanges:
    """Changes of header fields. Values may have access-log operators: `"%DOWNSTREAM_REMOTE_ADDRESS%"`,
    `"%REQ(x-user)%"`."""

    set: Mapping[str, str] = field(default_factory=dict)
    """In place of all fields of the name."""
    add: Mapping[str, str] = field(default_factory=dict)
    """One field more."""
    append: Mapping[str, str] = field(default_factory=dict)
    """Behind a comma, where there is one already."""
    remove: tuple[str, ...] = ()
    """All fields of the name; a star at the end is any rest: `"x-internal-*"`."""


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
    name: str = "forward"
    """What logs and statistics show as the cluster, and `upstreams` calls it."""

    def __post_init__(self) -> None:
        if not self.allow:
            raise ValueError("allow: name at least one host")
        if not self.name:
            raise ValueError("name: cannot be empty")
        for server in self.servers:
            if not is_ip(server.host):
                raise ValueError(f"servers: {server} is not the address of a name server (such as 192.0.2.53:53)")


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
    per_try_timeout: Timeout = Duration(0.0)
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


@dataclass(frozen=True, slots=True)
class Route:
    """One route: what it takes, and what becomes of it. All conditions that are written have to hold."""

    example: ClassVar[str] = '{ prefix = "/api", cluster = "api", timeout = "5s" }'

    name: str = ""
    """Stands in logs and statistics; what it matches where empty."""
    path: str | None = None
    """The whole path, without the query."""
    prefix: str | None = None
    """The first segments of the path: `/api` is `/api` and `/api/x`, and not `/apis`."""
    pattern: str | None = None
    """Segments with parameters: `/users/{id}/posts/{rest...}`; the last one may take all that is left."""
    regex: str | None = None
    """A regular expression that the whole path matches. Repetitions within repetitions, which could keep the proxy
    busy, are refused."""
    methods: tuple[str, ...] = ()
    """One of these methods."""
    headers: tuple[FieldMatch, ...] = ()
    """Header fields that the request has."""
    query: tuple[FieldMatch, ...] = ()
    """Query parameters that the request has."""
    cookies: tuple[FieldMatch, ...] = ()
    """Cookies that the request has."""
    source: tuple[Network, ...] = ()
    """The client's address is in one of these networks."""
    percent: Percent = Percent(100.0)
    """So many of the requests, at random; the others go on to the next route."""

    cluster: ClusterName | None = None
    """Send it to this cluster."""
    clusters: tuple[Destination, ...] = ()
    """Or to one of several, each with its share."""
    cluster_header: str = ""
    """Or to the cluster that this header field names, of those that `allowed_clusters` has."""
    allowed_clusters: tuple[ClusterName, ...] = ()
    """What `cluster_header` may name."""
    forward: Forward | None = None
    """Or to the host that it names itself, as clients of a forward proxy do; tunnels (CONNECT), too."""
    redirect: Redirect | None = None
    """Or answer with a redirect."""
    respond: DirectResponse | None = None
    """Or answer with this."""

    rewrite_prefix: str | None = None
    """What the upstream gets in the place of `prefix`."""
    rewrite_path: str | None = None
    """The path that the upstream gets; `{name}` is a parameter of `pattern`, or a named group of `regex`."""
    rewrite_host: str | None = None
    """The `Host` that the upstream gets."""
    request_headers: FieldChanges = FieldChanges()
    """Changes of the fields that the upstream gets."""
    response_headers: FieldChanges = FieldChanges()
    """Changes of the fields that the client gets."""
    hash_policy: tuple[HashPart, ...] = ()
    """What decides the endpoint, for clusters that hash; several are taken together."""

    timeout: Timeout = Duration(60.0)
    """From the complete request to the head of its response, retries included; then 504. 0: none."""
    idle_timeout: Timeout | None = None
    """Another `stream_idle_timeout`."""
    max_duration: Timeout = Duration(0.0)
    """From the first byte of the request to the last of the response; 0: none."""
    retry: Retry | None = None
    """Retries; without it only what was certainly not acted upon is tried again."""
    upgrades: tuple[str, ...] = ("websocket",)
    """Protocols that a connection may be switched to; `["*"]` is any but HTTP/2."""

    filters: tuple[UseHttpFilter, ...] = ()
    """HTTP filters of this route alone. One that stands in the `filters` of the `http` filter, too, takes its place
    there, with these options and no others; the rest come behind all of those."""
    without: tuple[str, ...] = ()
    """Which of the `filters` of the `http` filter this route's requests do not meet: `["jwt_authn"]`."""

    def __post_init__(self) -> None:
        paths = [key for key in ("path", "prefix", "pattern", "regex") if getattr(self, key) is not None]
        if len(paths) > 1:
            raise ValueError(f"{paths[1]}: not beside {paths[0]}")
        for key in ("path", "prefix", "pattern"):
            value = getattr(self, key)
            if value is not None and not value.startswith("/") and value != "*":
                raise ValueError(f"{key}: {value!r} does not begin with a slash")
        actions = [key for key in ACTIONS if getattr(self, key)]
        if len(actions) != 1:
            given = f"{actions[1]}: not beside {actions[0]}" if actions else "cluster: where shall it go?"
            raise ValueError(f"{given} (write one of {', '.join(ACTIONS)})")
        for key in ("rewrite_prefix", "rewrite_path", "rewrite_host"):
            if self.forward and getattr(self, key) is not None:
                raise ValueError(f"{key}: not beside forward")
        if self.rewrite_prefix is not None and self.prefix is None:
            raise ValueError("rewrite_prefix: needs a prefix")
        if self.clusters and not sum(one.weight for one in self.clusters):
            raise ValueError("clusters: at least one weight must be above 0")
        if self.cluster_header and not self.allowed_clusters:
            raise ValueError("allowed_clusters: say which clusters the header may name")
        for method in self.methods:
            if not METHOD.fullmatch(method):
                raise ValueError(f"methods: {method!r} is no method")
        path_segments(self)
        if self.regex is not None:
            _check("regex", safe_regex, self.regex)
        for key in ("request_headers", "response_headers"):
            _check(key, compile_changes, getattr(self, key))


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """Routes for some hosts."""

    example: ClassVar[str] = '{ hosts = ["shop.example.com"], routes = [{ prefix = "/", cluster = "shop" }] }'

    hosts: tuple[str, ...]
    """Names, without regard to the port unless one is written: `example.com`, `*.example.com`, `example.com:8443`, or
    `*` for all that is left."""
    routes: tuple[Route, ...]
    """Tried in this order; the first one that takes a request has it."""
    name: str = ""
    """Stands in logs; the first host where empty."""

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ValueError("hosts: for which hosts?")
        for host in self.hosts:
            if not re.fullmatch(r"\*|(?:\*\.)?[^*\s/]+", host):
                raise ValueError(f"hosts: {host!r} is not a host name, nor *.suffix, nor *")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Connections to the endpoints of clusters, and how many requests they get."""

    protocol: Literal["http1", "http2", "auto"] = "auto"
    """`auto`: HTTP/2 where TLS agrees on it (`alpn = ["h2", "http/1.1"]` of the cluster), and without TLS for gRPC
    calls, which nothing else can carry; HTTP/1 for all others."""
    max_requests: Amount = 1024
    """Requests under way to one cluster; one more is answered with 503."""
    max_pending: Count = 1024
    """Requests that wait for a connection; one more is answered with 503."""
    max_connections: Count = 0
    """Connections to one endpoint; 0: as many as the cluster has."""
    http2: Http2Options = Http2Options()
    """HTTP/2 towards endpoints."""
    requests_per_connection: Count = 0
    """Requests that one connection carries before it is closed; 0: any number."""
    idle_timeout: Duration = Duration(60.0)
    """Connections that nobody has used for so long are closed; 0: never."""
    max_retries: Count = 3
    """Retries under way to one cluster that are always allowed."""
    retry_budget: Percent = Percent(20.0)
    """And beyond that so many of the requests that are under way."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a client may send, and how slowly."""

    max_head: Annotated[Size, Range(1024, 8 << 20)] = Size(60 * 1024)
    """Bytes of a request's head; more is answered with 431."""
    max_line: Annotated[Size, Range(256, 8 << 20)] = Size(16 * 1024)
    """Bytes of the request line; more is answered with 414."""
    max_fields: Annotated[int, Range(1, 10000)] = 100
    """Header fields; more are answered with 431."""
    max_body: Size = Size(0)
    """Bytes of a request's body; more are answered with 413. 0: any number."""
    head_timeout: Timeout = Duration(10.0)
    """From the first byte of a request to the end of its head; then 408. A connection that sends nothing at all has
    `idle_timeout`."""
    body_timeout: Timeout = Duration(300.0)
    """From the head of a request to the end of its body; then 408, or 504 where the endpoint does not take it."""
    idle_timeout: Timeout = Duration(75.0)
    """How long a connection without a request stays open."""
    stream_idle_timeout: Timeout = Duration(300.0)
    """How long nothing may move of a request that is under way: 408 where the client should send, 504 where the
    endpoint should, or takes no more of a body."""
    max_requests_per_connection: Count = 0
    """Requests of one connection; behind the last one it is closed. 0: any number."""


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The `http` filter."""

    cluster: ClusterName | None = None
    """Where requests go that no route takes."""
    routes: tuple[Route, ...] = ()
    """Routes for all hosts that no virtual host has."""
    virtual_hosts: tuple[VirtualHost, ...] = ()
    """Routes by host."""
    filters: tuple[UseHttpFilter, ...] = ()
    """HTTP filters, in the order in which requests pass them."""
    protocol: Literal["auto", "http1", "http2"] = "auto"
    """What clients speak; `auto`: what TLS agreed on, else what the first bytes are."""
    limits: HttpLimits = HttpLimits()
    """What clients may send."""
    upstream: Upstream = Upstream()
    """Connections to endpoints."""
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    """Other settings for some clusters, by name."""

    http2: Http2Options = Http2Options()
    """HTTP/2 towards clients."""

    trusted_proxies: tuple[Network, ...] = ()
    """Proxies in front of this one: what they say in `X-Forwarded-For` and `-Proto`, or `Forwarded`, is believed. The
    client is the last address that is not one of these."""
    trusted_hops: Annotated[int, Range(0, 32)] = 0
    """Or how many proxies are in front of this one, whatever their addresses, and nobody else can reach it: the client
    is the address that the first of them has added."""
    forwarded: Literal["append", "off", "rfc7239"] = "append"
    """Tell upstreams who the client is: `X-Forwarded-For`, `-Proto`, `-Host`; or in one `Forwarded` field."""
    via: str = ""
    """A name to put into `Via`, both ways; empty: none."""
    server: str = ""
    """What `Server` says instead of the upstream's word; `"-"`: nothing."""
    normalize_path: bool = True
    """Resolve `.` and `..` segments, and escapes of characters that need none, before routes see a path."""
    merge_slashes: bool = False
    """Make one slash of several."""
    escaped_slashes: Literal["reject", "keep", "unescape"] = "reject"
    """A path with `%2F`, `%5C` or a backslash, which the proxy and the upstream could take apart differently."""
    underscores: Literal["drop", "keep", "reject"] = "drop"
    """Header fields with an underscore in their name, which many programs take for a hyphen."""
    explain: tuple[Network, ...] = ()
    """Who may ask with `x-l4proxy-explain: 1` why a request went where it went."""
    error_pages: Mapping[str, FilePath] = field(default_factory=dict)
    """Own pages for the proxy's own errors, by status: `{ "503" = "busy.html", "5xx" = "error.html" }`. `%STATUS%`,
    `%REASON%` and `%REQUEST_ID%` in them are replaced."""
    name: str = "http"
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if not (self.cluster or self.routes or self.virtual_hosts):
            raise ValueError("cluster: write cluster, or routes, or virtual_hosts")
        if self.trusted_hops and self.trusted_proxies:
            raise ValueError("trusted_hops: not beside trusted_proxies")
        forwards = [(path, route.forward) for path, route in self._all_routes() if route.forward]
        for path, forward in forwards:
            if any(other.name == forward.name and other != forward for _, other in forwards):
                raise ValueError(f"{path}.forward.name: another route has {forward.name!r}, with other options")
        names = [use.name for use in self.filters]
        for path, route in self._all_routes():
            for at, name in enumerate(route.without):
                if name not in names:
                    raise ValueError(f"{path}.without[{at}]: {name!r} is not in filters{did_you_mean(name, names)}")
            own = [use.name for use in route.filters]
            for at, name in enumerate(own):
                if name in own[:at]:
                    raise ValueError(f"{path}.filters[{at}]: a route has each filter once")
                if name in route.without:
                    raise ValueError(f"{path}.without: {name!r} is in the route's filters")

    def _all_routes(self) -> Iterator[tuple[str, Route]]:
        """With their paths."""
        for at, route in enumerate(self.routes):
            yield f"routes[{at}]", route
        for at, host in enumerate(self.virtual_hosts):
            for number, route in enumerate(host.routes):
                yield f"virtual_hosts[{at}].routes[{number}]", route
