"""What the ``http`` filter may be told about routes: which requests they take, and what becomes of those."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from l4proxy.config.types import ClusterName, Duration, Network, Percent, Plugin, Range, Use
from l4proxy.errors import did_you_mean
from l4proxy.plugins.http.action_config import (
    Destination,
    DirectResponse,
    Forward,
    HashPart,
    Redirect,
    Retry,
    check_authority,
)
from l4proxy.plugins.http.conditions import safe_regex
from l4proxy.plugins.http.field_changes import compile_changes
from l4proxy.plugins.http.field_config import FieldChanges, FieldMatch, check_with
from l4proxy.plugins.http.patterns import path_segments
from l4proxy.registry import Kind

__all__ = ["Route", "UseHttpFilter", "VirtualHost", "never_reached"]

UseHttpFilter = Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "http")]
Timeout = Annotated[Duration, Range(0)]

ACTIONS = ("cluster", "clusters", "cluster_header", "forward", "redirect", "respond")
METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"})
"""Names that somebody who writes them in another case means all the same."""


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
        if self.redirect is not None and self.redirect.prefix and self.prefix is None:
            raise ValueError("redirect.prefix: needs a prefix of the route")
        self._check_rewrites()
        if self.clusters and not sum(one.weight for one in self.clusters):
            raise ValueError("clusters: at least one weight must be above 0")
        if self.cluster_header and not self.allowed_clusters:
            raise ValueError("allowed_clusters: say which clusters the header may name")
        for method in self.methods:
            if not METHOD.fullmatch(method):
                raise ValueError(f"methods: {method!r} is no method")
            if method not in METHODS and method.upper() in METHODS:
                raise ValueError(f"methods: {method!r} is not {method.upper()}: case matters")
        for protocol in self.upgrades:
            if protocol.startswith(("h2c", "http/", "tls/")):
                raise ValueError(f"upgrades: no connection is switched to {protocol}")
        if self.regex is not None:
            check_with(safe_regex, "regex", self.regex)
        for key in ("request_headers", "response_headers"):
            check_with(compile_changes, key, getattr(self, key))

    def _check_rewrites(self) -> None:
        names = list(path_segments(self)[1])
        if self.regex is not None:
            names = list(check_with(safe_regex, "regex", self.regex).groupindex)
        if self.rewrite_prefix is not None and self.prefix is None:
            raise ValueError("rewrite_prefix: needs a prefix")
        check_authority("rewrite_host", self.rewrite_host)
        if self.rewrite_path is None:
            return
        if self.rewrite_prefix is not None:
            raise ValueError("rewrite_path: not beside rewrite_prefix")
        if not self.rewrite_path.startswith(("/", "{")):
            raise ValueError(f"rewrite_path: {self.rewrite_path!r} does not begin with a slash")
        for name in re.findall(r"\{([^{}]*)\}", self.rewrite_path):
            if name not in names:
                where = "parameter of pattern" if self.regex is None else "named group of regex"
                raise ValueError(f"rewrite_path: {{{name}}} is no {where}{did_you_mean(name, names)}")

    @property
    def takes_path_only(self) -> bool:
        """Whether nothing but the path decides."""
        conditions = self.methods, self.headers, self.query, self.cookies, self.source
        return not any(conditions) and self.percent >= 100


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


def never_reached(routes: Sequence[Route]) -> Iterator[tuple[int, int]]:
    """Routes that take nothing because one in front of them takes it all, and which that is."""
    first: dict[object, int] = {}
    for at, route in enumerate(routes):
        paths = route.path, route.prefix, route.pattern, route.regex
        everything = first.get((None,) * 4, first.get((None, "/", None, None)) if route.path != "*" else None)
        if (taken := first.get(paths, everything)) is not None:
            yield at, taken
        elif route.takes_path_only:
            first[paths] = at
