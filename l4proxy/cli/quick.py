"""The quick commands: a proxy in one line, without a configuration file.

``l4proxy tcp :8080 db:5432 --use shout``. Each only says which terminal filter it is about; the options are shared, and
what comes out is the same mapping that a file would hold, checked in the same way.
"""

from __future__ import annotations

import argparse
import tomllib
from typing import TYPE_CHECKING, Any, ClassVar

from l4proxy.address import Address
from l4proxy.cli.command import Command
from l4proxy.config import load_mapping
from l4proxy.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["QuickCommand", "Tcp", "add_shared_options", "parse_use", "quick_config"]


class QuickCommand(Command):
    """A proxy with one listener, one cluster and one terminal filter."""

    terminal_filter: ClassVar[str]
    """The name of the filter that speaks the command's protocol; it has an option ``cluster``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "listen",
            metavar="LISTEN",
            help="where to listen: :8080 (every interface), 127.0.0.1:8080, [::1]:8080, unix:/path",
        )
        parser.add_argument(
            "upstream",
            metavar="UPSTREAM",
            nargs="+",
            help="where to connect to: host:port or unix:/path; several share the load",
        )
        add_shared_options(parser)

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        from l4proxy.cli.run import serve_configuration

        mapping = quick_config(self.terminal_filter, args)
        return serve_configuration(lambda: load_mapping(mapping, plugins.registry), plugins)


class Tcp(QuickCommand):
    """Proxy a TCP service, without a configuration file.

    l4proxy tcp :8080 db.example.com:5432
    l4proxy tcp 127.0.0.1:6380 cache1:6379 cache2:6379 --use connection_limit:max_connections=100
    """

    name = "tcp"
    terminal_filter = "tcp_proxy"


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """The options that all quick commands have."""
    parser.add_argument(
        "--use",
        metavar="NAME[:key=value,...]",
        action="append",
        default=[],
        help="put a filter before the terminal one; may be repeated",
    )
    parser.add_argument("--admin", metavar="ADDR", help="serve the admin interface there: 127.0.0.1:9901 or unix:/path")
    parser.add_argument(
        "--workers", metavar="N", default="1", help='worker processes, or "auto" for one per CPU (default 1)'
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="terminate TLS with this certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="and this private key (PEM)")
    parser.add_argument(
        "--access-log", metavar="FILE|-", help="write a line per connection to a file, or to standard output"
    )


def quick_config(terminal_filter: str, args: argparse.Namespace) -> dict[str, Any]:
    """The mapping that a configuration file would hold. Raises ConfigError with the option that is wrong."""
    listener: dict[str, Any] = {
        "address": args.listen,
        "filters": [*(parse_use(text) for text in args.use), {"use": terminal_filter, "cluster": "upstream"}],
    }
    if args.tls_cert or args.tls_key:
        listener["tls"] = {key: value for key, value in (("cert", args.tls_cert), ("key", args.tls_key)) if value}
    cluster: dict[str, Any] = {"name": "upstream", "endpoints": args.upstream}
    if any(_is_name(text) for text in args.upstream):
        cluster["discovery"] = "strict_dns"
    config: dict[str, Any] = {"listeners": [listener], "clusters": [cluster], "workers": _workers(args.workers)}
    if args.admin:
        config["admin"] = {"address": args.admin}
    if args.access_log:
        config["access_log"] = [{"use": "file", "path": args.access_log}]
    return config


def _is_name(text: str) -> bool:
    """Whether an upstream is a host name, which has to be looked up."""
    try:
        address = Address.parse(text)
    except ValueError:
        return False  # said later, with its path
    return not (address.is_unix or not address.host or ":" in address.host or address.host.replace(".", "").isdigit())


def _workers(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def parse_use(text: str) -> dict[str, Any]:
    """``shout`` or ``gate:token=x,delay=5s,ports=[80,443]``, as the table that a file would hold.

    A value is read as TOML where it is TOML (numbers, true and false, arrays, quoted text), and as plain text
    otherwise.
    """
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {"use": name}
    for option in _split(rest):
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            raise ConfigError([ConfigProblem("--use", f"{text!r}: {option!r} is not key=value")])
        options[key.strip()] = _value(value.strip())
    return options


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside brackets and quotes."""
    parts, depth, quote, begin = [], 0, "", 0
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
    return [part for part in (*parts, text[begin:]) if part]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
