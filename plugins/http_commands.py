"""The commands of HTTP: ``l4proxy http`` and ``l4proxy forward``."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from l4proxy.cli.quick import Draft, QuickCommand, add_shared_options
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.hookspecs import hookimpl

if TYPE_CHECKING:
    from l4proxy.hookspecs import Register
    from l4proxy.plugin_manager import PluginManager

__all__ = ["ForwardCommand", "Http"]


class _Requests(QuickCommand):
    """What both have: a line per request."""

    terminal_filter = "http"

    def draft(self, args: argparse.Namespace) -> Draft:
        draft = super().draft(args)
        if not args.access_log and not args.quiet:
            draft.config["access_log"] = [{"use": "http_lines"}]
        return draft

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        if not args.access_log and not args.quiet:
            logging.getLogger("l4proxy.filter.http").setLevel(logging.WARNING)  # the lines say what was refused
        return super().run(args, plugins)


class Http(_Requests):
    """Proxy an HTTP service, and show a line per request.

    examples:
      l4proxy http :8080 app:8000
      l4proxy http 127.0.0.1:8080 app1:8000 app2:8000 --http cors --http basic_auth:users=htpasswd
      l4proxy http :8443 app:8000 --tls-cert cert.pem --tls-key key.pem
      l4proxy http :8080 app:8000 --upstream-protocol http2
    """

    name = "http"
    protocol = "http"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--quiet", action="store_true", help="no line per request")
        parser.add_argument(
            "--upstream-protocol",
            choices=("auto", "http1", "http2"),
            default="auto",
            help="what UPSTREAM speaks; auto: HTTP/1, and HTTP/2 for gRPC calls (default auto)",
        )

    def terminal(self, args: argparse.Namespace) -> dict[str, Any]:
        return {**super().terminal(args), "upstream": {"protocol": args.upstream_protocol}}


class ForwardCommand(_Requests):
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
        paths = {"normalize_path": False, "merge_slashes": False, "escaped_slashes": "keep"}  # are the servers' own
        return {"use": "http", "routes": routes, "filters": filters, "forwarded": "off", "via": "l4proxy", **paths}

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
        return draft


def _ports(option: str, text: str) -> list[int]:
    """Raises ConfigError."""
    try:
        return [int(one) for one in text.split(",")] if text else []
    except ValueError:
        raise ConfigError([ConfigProblem(option, f"{text!r} is not ports (write 80,8080)")]) from None


@hookimpl
def register_commands(register: Register[Any]) -> None:
    register(Http)
    register(ForwardCommand)
