"""``rbac`` for requests: who may ask for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from l4proxy.config.types import Network
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.networks import NetworkSet
from l4proxy.plugins.http.action_config import DirectResponse
from l4proxy.plugins.http.conditions import Condition, compile_conditions
from l4proxy.plugins.http.field_config import FieldMatch
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.plugins.http.route_config import Route
from l4proxy.plugins.http.routes import CompiledRoute
from l4proxy.plugins.rbac_rules import san_condition
from l4proxy.stats import Stats, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["HttpRbac", "HttpRbacConfig"]


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Which requests are meant: those that fulfil every option that is written, of each list one item."""

    source: tuple[Network, ...] = ()
    """The client's address; behind trusted proxies, what they say."""
    direct_source: tuple[Network, ...] = ()
    """The address of the directly connected host."""
    san: tuple[str, ...] = ()
    """An alternative name of the client's certificate, as in the network filter."""
    path: str | None = None
    """The whole path."""
    prefix: str | None = None
    """The first segments of the path."""
    pattern: str | None = None
    """Segments with parameters, as in routes."""
    methods: tuple[str, ...] = ()
    """One of these methods."""
    headers: tuple[FieldMatch, ...] = ()
    """Header fields that the request has; all of them."""

    def __post_init__(self) -> None:
        _route(self)


def _route(policy: HttpPolicy) -> Route:
    """What of a policy is a condition of routes."""
    return Route(
        path=policy.path,
        prefix=policy.prefix,
        pattern=policy.pattern,
        methods=policy.methods,
        headers=policy.headers,
        source=policy.source,
        respond=DirectResponse(),
    )


@dataclass(frozen=True, slots=True)
class HttpRbacConfig:
    example: ClassVar[str] = '{ use = "rbac", action = "allow", policies = { read = { methods = ["GET"] } } }'

    action: Literal["allow", "deny"]
    """`allow`: what fulfils a policy may pass, and nothing else. `deny`: what fulfils one may not."""
    policies: Mapping[str, HttpPolicy]
    """By name, tried in order."""
    shadow: bool = False
    """Only count what would be denied."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("policies: write at least one")


class HttpRbacStats(Stats, subsystem="http_rbac", labels=("name",)):
    """Requests through one use."""

    allowed_total = labelled_counter("Requests let through, by policy.", label="policy")
    denied_total = labelled_counter("Requests denied, by policy (none: no policy allowed it).", label="policy")
    shadow_denied_total = labelled_counter("Requests that would have been denied.", label="policy")


class _Policy:
    def __init__(self, name: str, config: HttpPolicy) -> None:
        self.name = name
        route = _route(config)
        self._path = CompiledRoute(route, 0)
        self._conditions: tuple[Condition, ...] = compile_conditions(route)
        self._direct = NetworkSet(config.direct_source) if config.direct_source else None
        self._san = san_condition(config.san) if config.san else None

    def fulfilled(self, request: HttpRequest, conn: Any) -> bool:
        if not self._path.takes_path(request.path):
            return False
        if self._direct is not None and conn.client.direct_host not in self._direct:
            return False
        if self._san is not None and not (conn.tls is not None and self._san(conn)):
            return False
        return all(condition.holds(request, request.client) for condition in self._conditions)


class _Rules:
    def __init__(self, config: HttpRbacConfig, stats: HttpRbacStats) -> None:
        self.stats = stats
        self._allow = config.action == "allow"
        self._policies = [_Policy(name, policy) for name, policy in config.policies.items()]

    def decide(self, request: HttpRequest, conn: Any) -> tuple[bool, str]:
        for policy in self._policies:
            if policy.fulfilled(request, conn):
                return self._allow, policy.name
        return not self._allow, "none"


class HttpRbac(HttpFilter[HttpRbacConfig]):
    """Let requests pass, or answer 403, by who asks and for what.

    Paths are looked at in their normal form (`normalize_path`): `/public/../private` is `/private` here, too.
    """

    name = "rbac"
    shared: _Rules

    @classmethod
    def provision(cls, config: HttpRbacConfig, server: Server) -> _Rules:
        return _Rules(config, server.stats.group(HttpRbacStats, name=config.name))

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        allowed, policy = self.shared.decide(request, self.conn)
        stats = self.shared.stats
        if allowed:
            stats.allowed_total.add(policy)
            return request
        if self.config.shadow:
            stats.shadow_denied_total.add(policy)
            return request
        stats.denied_total.add(policy)
        self.reply(request, HttpResponse(403, "access denied\n", details=f"rbac_access_denied:{policy}"))
        return None


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(HttpRbac)
