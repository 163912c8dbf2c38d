"""The commands of HTTP: ``l4proxy http``, ``l4proxy forward`` and ``l4proxy route``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from l4proxy.cli.command import Command
from l4proxy.cli.quick import Draft, QuickCommand, add_shared_options
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.hookspecs import hookimpl
from l4proxy.terminal import BOLD, DIM, GREEN, painter

if TYPE_CHECKING:
    from l4proxy.config.schema import Config
    from l4proxy.hookspecs import Register
    from l4proxy.plugin_manager import PluginManager
    from l4proxy.plugins.http.config import HttpConfig, Route
    from l4proxy.plugins.http.message import HttpRequest

__all__ = ["ForwardCommand", "Http", "RouteCommand"]

LINE = (
    "%START_TIME_LOCAL(%H:%M:%S)% %RESPONSE_CODE% %REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(:PATH):120%"
    " %DURATION%ms %BYTES_SENT%B > %UPSTREAM_HOST% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
)
"""What a person wants to see of a request."""


class Http(QuickCommand):
    """Proxy an HTTP service, and show a line per request.

    examples:
      l4proxy http :8080 app:8000
      l4proxy http 127.0.0.1:8080 app1:8000 app2:8000 --http cors --http basic_auth:users=htpasswd
      l4proxy http :8443 app:8000 --tls-cert cert.pem --tls-key key.pem
    """

    name = "http"
    terminal_filter = "http"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--http",
            metavar="NAME[:key=value,...]",
            action="append",
            default=[],
            help="use an HTTP filter; may be repeated (l4proxy explain lists them)",
        )
        parser.add_argument("--quiet", action="store_true", help="no line per request")

    def terminal(self, args: argparse.Namespace) -> dict[str, Any]:
        from l4proxy.cli.use import parse_use

        filters = [parse_use(text) for text in args.http]
        return {**super().terminal(args), **({"filters": filters} if filters else {})}

    def draft(self, args: argparse.Namespace) -> Draft:
        draft = super().draft(args)
        last = len(args.use)
        for at, text in enumerate(args.http):
            draft.options[f"listeners[0].filters[{last}].filters[{at}]"] = f"--http {text}"
        if not args.access_log and not args.quiet:
            draft.config["access_log"] = [{"use": "file", "path": "-", "format": LINE}]
        return draft


class ForwardCommand(QuickCommand):
    """Be a forward proxy (http_proxy) to the hosts that are allowed.

    Requests and tunnels (CONNECT), which HTTPS goes through. Hosts have to be allowed by name, or all with '*';
    tunnels go to port 443 and requests to port 80, unless told otherwise. Whatever the name, addresses that are not
    public (this host, its networks) are refused.

    examples:
      l4proxy forward 127.0.0.1:3128 --allow '*.example.com' --allow pypi.org
      l4proxy forward :3128 --allow '*' --users htpasswd
      https_proxy=http://127.0.0.1:3128 curl https://pypi.org/
    """

    name = "forward"
    terminal_filter = "http"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("listen", metavar="LISTEN", help="where to listen: 127.0.0.1:3128, :3128 (every interface)")
        parser.add_argument(
            "--allow",
            metavar="HOST",
            action="append",
            required=True,
            help="a host that clients may go to; '*.example.com': all below it, '*': all; may be repeated",
        )
        parser.add_argument("--ports", metavar="N,...", default="80", help="ports for requests (default 80)")
        parser.add_argument(
            "--connect-ports", metavar="N,...", default="443", help="ports for tunnels (default 443; '': no tunnels)"
        )
        parser.add_argument("--allow-private", action="store_true", help="also addresses that are not public")
        parser.add_argument("--users", metavar="FILE", help="ask for a password; as htpasswd -s writes them")
        parser.add_argument("--quiet", action="store_true", help="no line per request")
        add_shared_options(parser)

    def terminal(self, args: argparse.Namespace) -> dict[str, Any]:
        forward = {
            "allow": args.allow,
            "ports": _ports("--ports", args.ports),
            "connect_ports": _ports("--connect-ports", args.connect_ports),
            "allow_private": args.allow_private,
        }
        filters = [{"use": "basic_auth", "file": args.users, "proxy": True, "forward_user": ""}] if args.users else []
        routes = [{"name": "forward", "forward": forward}]
        return {"use": "http", "routes": routes, "filters": filters, "forwarded": "off", "via": "l4proxy"}

    def draft(self, args: argparse.Namespace) -> Draft:
        args.upstream = args.allow  # what the banner shows as the other end
        draft = super().draft(args)
        del draft.config["clusters"]
        path = f"listeners[0].filters[{len(args.use)}]"
        forward = f"{path}.routes[0].forward"
        draft.options |= {f"{forward}.allow[{at}]": f"--allow {text}" for at, text in enumerate(args.allow)}
        draft.options |= {
            f"{forward}.ports": "--ports",
            f"{forward}.connect_ports": "--connect-ports",
            f"{path}.filters[0]": "--users",
        }
        if not args.access_log and not args.quiet:
            draft.config["access_log"] = [{"use": "file", "path": "-", "format": LINE}]
        return draft


def _ports(option: str, text: str) -> list[int]:
    """Raises ConfigError."""
    try:
        return [int(one) for one in text.split(",")] if text else []
    except ValueError:
        raise ConfigError([ConfigProblem(option, f"{text!r} is not ports (write 80,8080)")]) from None


class RouteCommand(Command):
    """Say which route of a configuration a request takes, and why.

    Nothing is sent anywhere. Every route is shown up to the one that takes the request, with the condition that did not
    hold. The status is 1 where no route takes it.

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
    """Raises ConfigError for what is no URL or header field."""
    from l4proxy.plugins.http.headers import Headers
    from l4proxy.plugins.http.message import HttpRequest

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
    return HttpRequest(args.method, target, block, scheme=url.scheme)


def _http_filters(config: Config, listener: str) -> Iterator[tuple[str, HttpConfig]]:
    """Raises ConfigError when there is none."""
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
    from l4proxy.plugins.http.paths import BadPath, normalize
    from l4proxy.plugins.http.routes import VirtualHostTable, route_tables

    colour = painter(sys.stdout)
    print(colour(f"{where}: {request.method} {request.scheme}://{request.authority}{request.target}", BOLD))
    try:
        request.target = normalize(
            request.target, resolve=config.normalize_path, merge=config.merge_slashes, slashes=config.escaped_slashes
        )
    except BadPath as error:
        print(f"  the path is refused: {error}")
        return False
    table = VirtualHostTable(route_tables(config)).find(request.authority)
    if table is None:
        print(f"  no virtual host has {request.authority!r}: 404 route_not_found")
        return False
    print(f"  virtual host {table.name}")
    verdicts = table.explain(request, source)
    for route, failed in verdicts:
        if failed:
            print(colour(f"  {route.order:3} {route.name:24} no: {failed}", DIM))
        else:
            print(colour(f"  {route.order:3} {route.name:24} takes it", GREEN))
            for line in (*_action(route.config, route.found_in(request.path)), *_filters(config, route.config)):
                print(f"      {line}")
            return True
    print("  no route takes it: 404 route_not_found")
    return False


def _action(route: Route, parameters: dict[str, str]) -> Iterator[str]:
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
        yield f"redirect with {route.redirect.code}"
    if route.respond:
        yield f"direct response with {route.respond.status}"
    for name, value in parameters.items():
        yield f"{{{name}}} is {value!r}"
    for key in ("rewrite_prefix", "rewrite_path", "rewrite_host"):
        if (value := getattr(route, key)) is not None:
            yield f"{key} {value}"
    yield f"timeout {route.timeout:g} s" if route.timeout else "no timeout"
    if route.retry:
        yield f"up to {route.retry.attempts} retries on {', '.join(route.retry.on)}"
    if route.retry and route.retry.per_try_timeout:
        what = "then another try begins beside it" if route.retry.hedge else "then it has failed"
        yield f"a try has {route.retry.per_try_timeout:g} s, {what}"


def _filters(config: HttpConfig, route: Route) -> Iterator[str]:
    """The filters that its requests meet, in their order."""
    own = [use.name for use in route.filters]
    names = [use.name for use in config.filters]
    met = dict.fromkeys(name for name in (*names, *own) if name not in route.without)
    if met:
        yield "filters " + ", ".join(f"{name} (the route's)" if name in own else name for name in met)


@hookimpl
def register_commands(register: Register[Any]) -> None:
    register(Http)
    register(ForwardCommand)
    register(RouteCommand)
