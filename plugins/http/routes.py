"""Which route has a request? Indexed so that it costs the same with ten routes as with ten thousand.

The **first** route in the file that takes a request has it. Hosts are found in a dictionary, paths in a tree of
segments: a walk goes down the tree as many steps as the path has segments, and collects what it passes: routes that end
there, and routes whose ``prefix`` ends there. The few that were found are tried in the order of the file. Regular
expressions cannot be indexed; they are tried in their place in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from l4proxy.config.text import refusal
from l4proxy.plugins.http.conditions import MAX_SUBJECT, Condition, compile_conditions, safe_regex
from l4proxy.plugins.http.patterns import path_segments
from l4proxy.plugins.http.route_config import Route

if TYPE_CHECKING:
    from l4proxy.plugins.http.action import Action
    from l4proxy.plugins.http.config import HttpConfig
    from l4proxy.plugins.http.message import HttpRequest
    from l4proxy.plugins.http.route_config import VirtualHost

__all__ = ["CompiledRoute", "RouteTable", "Verdict", "VirtualHostTable", "route_tables"]

HOSTS_KNOWN = 1024
"""Hosts whose virtual host is remembered; when there are more, all are forgotten."""


class Verdict(NamedTuple):
    """For who asks why: a route, and what did not hold, or nothing."""

    route: CompiledRoute
    failed: str


class CompiledRoute:
    """A route with its conditions and its action, in the place ``order`` of its virtual host."""

    action: Action

    def __init__(self, config: Route, order: int) -> None:
        """Raises ValueError."""
        self.config = config
        self.order = order
        self.conditions = compile_conditions(config)
        self.regex = safe_regex(config.regex) if config.regex is not None else None
        self.segments, self.parameters, self.open = path_segments(config)
        self.name: str = config.name or self.told_path()

    def told_path(self) -> str:
        config = self.config
        if config.path is not None:
            return config.path
        if config.prefix is not None:
            return config.prefix.rstrip("/") + "/*"
        return config.pattern or (f"~{config.regex}" if config.regex else "*")

    def takes_path(self, path: str) -> bool:
        """For who asks why; the tree says it faster."""
        if self.regex is not None:
            return len(path) <= MAX_SUBJECT and self.regex.fullmatch(path) is not None
        if self.config.path == "*":
            return path == "*"
        if self.segments is None:
            return True
        if path[:1] != "/":
            return False
        given = path.split("/")[1:]
        if len(given) < len(self.segments) or (len(given) > len(self.segments) and not self.open):
            return False
        return all(one if wanted is None else wanted == one for wanted, one in zip(self.segments, given, strict=False))

    def refusal(self, request: HttpRequest, client: str) -> str:
        """What does not hold of a request; empty: it takes it, or may by chance. For who asks why."""
        if not self.takes_path(request.path):
            return f"path {self.told_path()}"
        return next((one.text for one in self.conditions if not one.chance and not one.holds(request, client)), "")

    def found_in(self, path: str) -> dict[str, str]:
        """The parameters of the pattern, or the named groups of the regular expression."""
        if self.regex is not None:
            found = self.regex.fullmatch(path)
            return {key: value or "" for key, value in found.groupdict().items()} if found else {}
        if not self.parameters or self.segments is None:
            return {}
        given = path.split("/")[1:]
        values = [one for wanted, one in zip(self.segments, given, strict=False) if wanted is None]
        if self.open:
            values.append("/".join(given[len(self.segments) :]))
        return dict(zip(self.parameters, values, strict=True))

    def __repr__(self) -> str:
        return f"<Route {self.order} {self.name}>"


def route_tables(
    config: HttpConfig, make_action: Callable[[Route, str], Action] | None = None
) -> list[tuple[VirtualHost | None, RouteTable]]:
    """The routes of a configuration, by virtual host; None stands for all other hosts. Without ``make_action`` they can
    be asked, and not followed. Raises ValueError."""
    tables: list[tuple[VirtualHost | None, RouteTable]] = []
    for at, host in enumerate(config.virtual_hosts):
        routes = _compile(host.routes, f"virtual_hosts[{at}].routes", make_action)
        tables.append((host, RouteTable(host.name or host.hosts[0], routes)))
    rest = list(config.routes)
    if config.cluster:
        rest.append(Route(cluster=config.cluster, name="default"))
    if rest:
        tables.append((None, RouteTable("*", _compile(rest, "routes", make_action))))
    return tables


def _compile(
    configs: Sequence[Route], path: str, make_action: Callable[[Route, str], Action] | None
) -> list[CompiledRoute]:
    routes = []
    for at, config in enumerate(configs):
        try:
            route = CompiledRoute(config, at)
            if make_action is not None:
                route.action = make_action(config, route.name)
        except ValueError as error:
            raise ValueError(": ".join(refusal(f"{path}[{at}]", error, config))) from None
        routes.append(route)
    return routes


class _Node:
    """A place in the tree of segments."""

    __slots__ = ("any", "children", "ends", "passes")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.ends: tuple[CompiledRoute, ...] = ()
        """Routes whose path ends here."""
        self.passes: tuple[CompiledRoute, ...] = ()
        """Routes whose prefix ends here."""

    def child(self, segment: str | None) -> _Node:
        if segment is None:
            if self.any is None:
                self.any = _Node()
            return self.any
        return self.children.setdefault(segment, _Node())


class RouteTable:
    """The routes of one virtual host."""

    def __init__(self, name: str, routes: Sequence[CompiledRoute]) -> None:
        self.name = name
        self.routes = tuple(routes)
        self._root = _Node()
        self._always: tuple[CompiledRoute, ...] = ()
        """Routes that the tree does not have."""
        self._has_any = False
        for route in routes:
            self._insert(route)
        first = self.routes[0] if self.routes else None
        self._only = first if first is not None and self._takes_all(first) else None

    @staticmethod
    def _takes_all(route: CompiledRoute) -> bool:
        return not route.conditions and (
            (route.segments == () and route.open and not route.parameters)
            or (route.segments is None and route.regex is None and route.config.path is None)
        )

    def _insert(self, route: CompiledRoute) -> None:
        if route.segments is None:
            self._always = (*self._always, route)
            return
        node = self._root
        for segment in route.segments:
            self._has_any |= segment is None
            node = node.child(segment)
        if route.open:
            node.passes = (*node.passes, route)
        else:
            node.ends = (*node.ends, route)

    def find(self, request: HttpRequest, client: str) -> CompiledRoute | None:
        """The first route that takes the request of a client with this address."""
        if self._only is not None and request.target != "*":
            return self._only
        path = request.target.partition("?")[0]
        found = self._candidates(path)
        if len(found) > 1:
            found.sort(key=_order)
        for route in found:
            if (route.regex is None or route.takes_path(path)) and _hold(route.conditions, request, client):
                return route
        return None

    def _candidates(self, path: str) -> list[CompiledRoute]:
        found = [route for route in self._always if route.config.path is None or path == "*"]
        if path[:1] != "/":
            return found
        segments = path.split("/")
        del segments[0]
        if self._has_any:
            self._walk(self._root, segments, 0, found)
            return found
        node = self._root
        for segment in segments:
            if node.passes:
                found += node.passes
            following = node.children.get(segment)
            if following is None:
                return found
            node = following
        return [*found, *node.passes, *node.ends]

    def _walk(self, node: _Node, segments: list[str], at: int, found: list[CompiledRoute]) -> None:
        """With parameters there are two ways at each step; a path has few segments, and each way ends soon."""
        found += node.passes
        if at == len(segments):
            found += node.ends
            return
        following = node.children.get(segments[at])
        if following is not None:
            self._walk(following, segments, at + 1, found)
        if node.any is not None and segments[at]:
            self._walk(node.any, segments, at + 1, found)

    def explain(self, request: HttpRequest, client: str) -> list[Verdict]:
        """Every route up to the one that takes the request whatever the chance, and what did not hold of it."""
        verdicts = []
        for route in self.routes:
            failed = route.refusal(request, client)
            verdicts.append(Verdict(route, failed))
            if not failed and not any(one.chance for one in route.conditions):
                break
        return verdicts


def _hold(conditions: tuple[Condition, ...], request: HttpRequest, client: str) -> bool:
    return all(condition.holds(request, client) for condition in conditions)


def _order(route: CompiledRoute) -> int:
    return route.order


class VirtualHostTable:
    """Virtual hosts by name: exact names with port, exact names, the longest wildcard, then ``*``."""

    def __init__(self, hosts: Sequence[tuple[VirtualHost | None, RouteTable]]) -> None:
        """``None``: the routes for all that is left. No host is in two of them."""
        self._exact: dict[str, RouteTable] = {}
        self._suffixes: dict[str, RouteTable] = {}
        self._default: RouteTable | None = None
        self._known: dict[str, RouteTable | None] = {}
        self.tables = [table for _, table in hosts]
        for config, table in hosts:
            for host in config.hosts if config is not None else ():
                self._add(host.lower(), table)
        for config, table in hosts:
            if config is None and self._default is None:
                self._default = table

    def _add(self, host: str, table: RouteTable) -> None:
        if host == "*":
            self._default = table
        elif host.startswith("*."):
            self._suffixes[host[1:]] = table
        else:
            self._exact[host] = table

    @property
    def only(self) -> RouteTable | None:
        """The table of every request, where there is no more than one."""
        return self._default if not self._exact and not self._suffixes else None

    def find(self, authority: str) -> RouteTable | None:
        known = self._known.get(authority, self)
        if known is not self:
            return known  # type: ignore[return-value]
        found = self._look_up(authority.lower())
        if len(self._known) >= HOSTS_KNOWN:
            self._known.clear()
        if len(authority) <= 256:
            self._known[authority] = found
        return found

    def _look_up(self, authority: str) -> RouteTable | None:
        if authority in self._exact:
            return self._exact[authority]
        host = _without_port(authority).removesuffix(".")
        if host in self._exact:
            return self._exact[host]
        dot = host.find(".")
        while dot >= 0:
            if host[dot:] in self._suffixes:
                return self._suffixes[host[dot:]]
            dot = host.find(".", dot + 1)
        return self._default


def _without_port(authority: str) -> str:
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]
