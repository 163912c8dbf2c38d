"""What the ``http`` filter may be told, as dataclasses. Routes are in ``route_config``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from l4proxy.config.types import ClusterName, Duration, FilePath, Network, Percent, Range, Size
from l4proxy.errors import did_you_mean
from l4proxy.plugins.http.http2_config import Http2Options
from l4proxy.plugins.http.route_config import Route, UseHttpFilter, VirtualHost, never_reached
from l4proxy.protocols.http_fields import check_field

__all__ = ["HttpConfig", "HttpLimits", "Upstream"]

Amount = Annotated[int, Range(1)]
Count = Annotated[int, Range(0)]
Timeout = Annotated[Duration, Range(0)]


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
    http2: Http2Options = Http2Options(connection_window=Size(16 << 20))
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
    half_close_timeout: Timeout = Duration(5.0)
    """How long a client that has ended its side of the connection is waited for to get the heads of its responses.
    Hardly any client does that and goes on reading; most are gone, and their requests would keep an endpoint busy for
    nobody. 0: as long as other limits allow."""
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
    upstreams: Mapping[ClusterName, Upstream] = field(default_factory=dict)
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
    merge_slashes: bool = True
    """Make one slash of several: a rule for `/admin` would not see `//admin`, and most programs take it for the same.
    Turn it off where paths have other addresses in them, or names with empty parts (`/fetch/https://a.test/`)."""
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
        check_field("server", self.server)
        if self.via and not re.fullmatch(r"[^\s,()]+", self.via):
            raise ValueError(f"via: {self.via!r} is not a name")
        for key in self.error_pages:
            if not re.fullmatch(r"[45](?:xx|[0-9]{2})", key):
                text = f'error_pages: {key!r} is neither a status from 400 to 599, nor "4xx", nor "5xx"'
                raise ValueError(text)
        self._check_hosts()
        self._check_routes()

    def _check_hosts(self) -> None:
        """No host has two virtual hosts."""
        known: dict[str, int] = {}
        for at, virtual_host in enumerate(self.virtual_hosts):
            for number, host in enumerate(virtual_host.hosts):
                if (taken := known.setdefault(host.lower(), at)) != at:
                    where = f"virtual_hosts[{at}].hosts[{number}]"
                    raise ValueError(f"{where}: virtual_hosts[{taken}] has {host.lower()!r} already")

    def _check_routes(self) -> None:
        for path, routes in self._tables():
            for at, taken in never_reached(routes):
                raise ValueError(f"{path}[{at}]: never reached: {path}[{taken}] takes all of its requests")
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
        for path, routes in self._tables():
            for at, route in enumerate(routes):
                yield f"{path}[{at}]", route

    def _tables(self) -> Iterator[tuple[str, tuple[Route, ...]]]:
        yield "routes", self.routes
        for at, host in enumerate(self.virtual_hosts):
            yield f"virtual_hosts[{at}].routes", host.routes
