"""``l4proxy route``: which route does a request take, and why?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from l4proxy.cli.command import Command
from l4proxy.errors import ConfigError, ConfigProblem, did_you_mean
from l4proxy.hookspecs import hookimpl
from l4proxy.terminal import BOLD, DIM, GREEN, YELLOW, painter

if TYPE_CHECKING:
    from l4proxy.config.schema import Config
    from l4proxy.hookspecs import Register
    from l4proxy.plugin_manager import PluginManager
    from l4proxy.plugins.http.config import HttpConfig
    from l4proxy.plugins.http.message import HttpRequest
    from l4proxy.plugins.http.route_config import Route
    from l4proxy.plugins.http.routes import CompiledRoute

__all__ = ["RouteCommand"]


class RouteCommand(Command):
    """Say which route of a configuration a request takes, and why.

    Nothing is sent anywhere. Every route is shown up to the one that takes the request: what did not hold of those
    before it, what held of this one, where the request goes and what the upstream gets. The status is 1 where no route
    takes it.

    examples:
      l4proxy route l4proxy.toml GET https://shop.example.com/cart?item=7
      l4proxy route l4proxy.toml POST http://a.test/ -H "x-tenant: b" --source 10.0.0.1
    """

    name = "route"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="a configuration in TOML or JSON")
        parser.add_argument("method", metavar="METHOD", help="GET, POST ...")
        parser.add_argument("url", metavar="URL", help="what the client asks for: https://host/path?query")
        parser.add_argument("-H", "--header", metavar="NAME: VALUE", action="append", default=[], help="a header field")
        parser.add_argument("--source", metavar="ADDRESS", default="127.0.0.1", help="the client (default 127.0.0.1)")
        parser.add_argument("--listener", metavar="NAME", default="", help="only this listener")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        from l4proxy.config import load_file

        config = load_file(args.file, plugins.registry, load_config=plugins.load_config)
        request = _request(args)
        taken = False
        for path, http in _http_filters(config, args.listener):
            taken |= _explain(path, http, request, args.source)
        return 0 if taken else 1


def _request(args: argparse.Namespace) -> HttpRequest:
    """Raises ConfigError for what is no method, URL, header field or address."""
    from l4proxy.plugins.host_files import is_ip
    from l4proxy.plugins.http.headers import Headers
    from l4proxy.plugins.http.message import HttpRequest
    from l4proxy.plugins.http.route_config import METHOD

    if not METHOD.fullmatch(args.method):
        raise ConfigError([ConfigProblem("METHOD", f"{args.method!r} is no method")])
    if not is_ip(args.source):
        raise ConfigError([ConfigProblem("--source", f"{args.source!r} is not an address (such as 192.0.2.1)")])
    url = urlsplit(args.url)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise ConfigError([ConfigProblem("URL", f"{args.url!r} is not http://host/path or https://host/path")])
    fields = [("Host", url.netloc)]
    for text in args.header:
        name, colon, value = text.partition(":")
        if not colon:
            raise ConfigError([ConfigProblem("--header", f"{text!r} has no colon (write 'name: value')")])
        fields.append((name.strip(), value.strip()))
    try:
        block = Headers.of(fields).block
    except ValueError as error:
        raise ConfigError([ConfigProblem("--header", str(error))]) from None
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if args.method == "CONNECT":
        target = ""
    return HttpRequest(args.method, target, block, scheme=url.scheme)


def _http_filters(config: Config, listener: str) -> Iterator[tuple[str, HttpConfig]]:
    """Raises ConfigError when there is none."""
    names = [one.name for one in config.listeners]
    if listener and listener not in names:
        cause = f"there is no listener {listener!r}{did_you_mean(listener, names)}"
        raise ConfigError([ConfigProblem("--listener", cause)])
    found = False
    for one in config.listeners:
        for chain in one.chains if listener in ("", one.name) else ():
            use = chain.filters[-1]
            if use.name == "http":
                found = True
                yield f"listener {one.name}", use.config
    if not found:
        where = f"listener {listener!r}" if listener else "the configuration"
        raise ConfigError([ConfigProblem("", f"{where} has no http filter")])


def _explain(where: str, config: HttpConfig, request: HttpRequest, source: str) -> bool:
    """Print why a request goes where it goes; return whether a route takes it."""
    from l4proxy.plugins.http.routes import VirtualHostTable, route_tables

    colour = painter(sys.stdout)
    print(colour(f"{where}: {request.method} {request.scheme}://{request.authority}{request.target}", BOLD))
    if problem := _normalize(config, request):
        print(f"  the path is refused: {problem}")
        return False
    hosts = VirtualHostTable(route_tables(config))
    table = hosts.find(request.authority)
    if table is None:
        known = ", ".join(host for one in config.virtual_hosts for host in one.hosts)
        print(f"  no virtual host has {request.authority!r}, only {known}: 404 route_not_found")
        return False
    print(f"  virtual host {table.name}")
    some = False
    for route, failed in table.explain(request, source):
        place = f"  {route.order:3} {route.name:24}"
        if failed:
            print(colour(f"{place} no: {failed}", DIM))
            continue
        share = route.config.percent
        print(
            colour(f"{place} takes {f'{share:g} % of them' if share < 100 else 'it'}", YELLOW if share < 100 else GREEN)
        )
        for line in (*_why(route), *_action(route.config, request), *_rest(config, route, request)):
            print(f"      {line}")
        if share >= 100:
            return True
        some = True
    print(f"  no route takes {'the others' if some else 'it'}: 404 route_not_found")
    return some


def _normalize(config: HttpConfig, request: HttpRequest) -> str:
    """Give the request the path that routes see. Return why it is refused, or nothing."""
    from l4proxy.plugins.http.paths import BadPath, normalize

    if request.target in ("*", ""):
        return ""
    try:
        target = normalize(
            request.target, resolve=config.normalize_path, merge=config.merge_slashes, slashes=config.escaped_slashes
        )
    except BadPath as error:
        return str(error)
    if target != request.target:
        print(f"  the path in its normal form is {target}")
        request.target = target
    return ""


def _why(route: CompiledRoute) -> Iterator[str]:
    """What holds of it."""
    path = [f"path {route.told_path()}"] if route.told_path() != "*" else []
    if held := [*path, *(one.text for one in route.conditions if not one.chance)]:
        yield f"because of {', '.join(held)}"


def _action(route: Route, request: HttpRequest) -> Iterator[str]:
    """Where it goes."""
    if route.cluster:
        yield f"cluster {route.cluster}"
    if route.clusters:
        total = sum(one.weight for one in route.clusters)
        yield "clusters " + ", ".join(f"{one.cluster} {100 * one.weight / total:.0f} %" for one in route.clusters)
    if route.cluster_header:
        yield f"the cluster that {route.cluster_header} names, of {', '.join(route.allowed_clusters)}"
    if route.forward:
        yield f"forwarded to the host that it names, of {', '.join(map(str, route.forward.allow))}"
    if route.redirect:
        from l4proxy.plugins.http.action import redirect_location

        yield f"redirect with {route.redirect.code} to {redirect_location(route.redirect, route.prefix, request)}"
    if route.respond:
        yield f"direct response with {route.respond.status}"


def _rest(config: HttpConfig, compiled: CompiledRoute, request: HttpRequest) -> Iterator[str]:
    """What becomes of it on the way."""
    from l4proxy.plugins.http.action import rewritten_target

    route = compiled.config
    for name, value in compiled.found_in(request.path).items():
        yield f"{{{name}}} is {value!r}"
    if (target := rewritten_target(compiled, request.target)) != request.target:
        yield f"the upstream gets {request.method} {target}"
    if route.rewrite_host is not None:
        yield f"the upstream gets Host: {route.rewrite_host}"
    if hashed := [_hashed(part) for part in route.hash_policy]:
        yield f"endpoint by {', '.join(hashed)}"
    if not (route.redirect or route.respond):
        yield f"timeout {route.timeout:g} s" if route.timeout else "no timeout"
    if route.retry:
        yield f"up to {route.retry.attempts} retries on {', '.join(route.retry.on)}"
    if route.retry and route.retry.per_try_timeout:
        what = "then another try begins beside it" if route.retry.hedge else "then it has failed"
        yield f"a try has {route.retry.per_try_timeout:g} s, {what}"
    own = [use.name for use in route.filters]
    names = [use.name for use in config.filters]
    met = dict.fromkeys(name for name in (*names, *own) if name not in route.without)
    if met:
        yield "filters " + ", ".join(f"{name} (the route's)" if name in own else name for name in met)


def _hashed(part: Any) -> str:
    return (
        "source_ip"
        if part.source_ip
        else " ".join(f"{key} {getattr(part, key)}" for key in ("header", "query", "cookie") if getattr(part, key))
    )


@hookimpl
def register_commands(register: Register[Any]) -> None:
    register(RouteCommand)
