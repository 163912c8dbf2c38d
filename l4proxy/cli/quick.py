"""The quick commands: a proxy in one line, without a configuration file.

``l4proxy tcp :8080 db:5432 --use shout``. Each only says which filter its chain ends with; the options are shared, and
what comes out is the same mapping that a file would hold, checked in the same way.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from l4proxy.address import Address, AddressRange, in_ranges
from l4proxy.cli.command import Command
from l4proxy.cli.options import in_words_of_options
from l4proxy.cli.use import parse_use
from l4proxy.config import Config, load_mapping
from l4proxy.errors import ConfigError
from l4proxy.process import log_addresses
from l4proxy.terminal import BOLD, DIM, painter

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["CLUSTER", "Draft", "QuickCommand", "Tcp", "add_shared_options", "shared_draft", "widened"]

CLUSTER = "upstream"
"""The name of the only cluster."""


@dataclass(slots=True)
class Draft:
    """A configuration as it is made of a command line. ``options`` says which option is responsible for which path of
    it, for errors."""

    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


class QuickCommand(Command):
    """Base of the commands that are a proxy in one line: one listener, one cluster, filters from ``--use``.

    A protocol's own command is a subclass in its plugin, registered by ``register_commands``. Often it is no more than
    two names, and a docstring as every command has it::

        class Redis(QuickCommand):
            '''Proxy Redis servers, without a configuration file.'''

            name = "redis"
            terminal_filter = "redis_proxy"

    What else a command can change:

    - ``add_arguments``: more options, or other ones. A command without ``LISTEN UPSTREAM...`` declares its own
      arguments and calls ``add_shared_options``; parsed, they must have an attribute ``listen`` (text) and an attribute
      ``upstream`` (a list of texts).
    - ``terminal``: what the last filter gets, where that is more than the cluster.
    - ``draft``: everything else that the configuration says, and which option said it.
    """

    terminal_filter: ClassVar[str]
    """The filter that ends the chain, and has an option ``cluster``."""
    protocol: ClassVar[str] = ""
    """What the terminal filter speaks, where it has an option ``filters`` for message filters: they have an option of
    this name (``--redis NAME:key=value``)."""
    more_ports: ClassVar[int] = 0
    """Ports behind that of LISTEN that are listened on, too, unless LISTEN is a range: for a terminal filter that tells
    servers apart by them."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "listen",
            metavar="LISTEN",
            help="where to listen: 127.0.0.1:8080, :8080 (every interface), [::1]:8080, unix:/path",
        )
        parser.add_argument(
            "upstream",
            metavar="UPSTREAM",
            nargs="+",
            help="where to connect to: host:port or unix:/path; several share the load",
        )
        add_shared_options(parser)
        if self.protocol:
            parser.add_argument(
                f"--{self.protocol}",
                dest="message_filters",
                metavar="NAME[:key=value,...]",
                action="append",
                default=[],
                help=f"use a message filter of {self.protocol}; may be repeated (l4proxy explain lists them)",
            )

    def terminal(self, args: argparse.Namespace) -> dict[str, Any]:
        """The last filter with its options, as a file would hold it."""
        filters = [parse_use(text) for text in getattr(args, "message_filters", ())]
        return {"use": self.terminal_filter, "cluster": CLUSTER, **({"filters": filters} if filters else {})}

    def draft(self, args: argparse.Namespace) -> Draft:
        """The configuration that the arguments ask for. Raises ConfigError."""
        args.listen = widened(args.listen, self.more_ports)
        draft = shared_draft(args)
        filters = draft.config["listeners"][0]["filters"]
        last = f"listeners[0].filters[{len(filters)}]"
        draft.options[last] = self.terminal_filter
        for at, text in enumerate(getattr(args, "message_filters", ())):
            draft.options[f"{last}.filters[{at}]"] = f"--{self.protocol} {text}"
        filters.append(self.terminal(args))
        return draft

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        from l4proxy.cli.run import serve_configuration

        draft = self.draft(args)
        if self.protocol:
            from l4proxy.cli.place import check_places

            check_places(self.protocol, args.use, args.message_filters, plugins.registry)

        def load(_text: str) -> Config:
            return load_mapping(draft.config, plugins.registry)

        def show_banner(addresses: Mapping[str, list[Address]], workers: int) -> None:
            from l4proxy.logging_setup import flush_log

            flush_log()
            print(_banner(args, addresses), file=sys.stderr)

        announce = log_addresses
        if sys.stderr.isatty():
            announce = show_banner
            logging.getLogger("l4proxy.admin").setLevel(logging.WARNING)  # the banner says where it is
        try:
            return serve_configuration(load, plugins, announce=announce)
        except ConfigError as error:
            raise in_words_of_options(error, draft.options) from error


class Tcp(QuickCommand):
    """Proxy a TCP service, without a configuration file.

    examples:
      l4proxy tcp :8080 db.example.com:5432
      l4proxy tcp 127.0.0.1:6380 cache1:6379 cache2:6379 --access-log -
      l4proxy tcp :8443 [::1]:80 --tls-cert cert.pem --tls-key key.pem
      l4proxy tcp :8080 db:5432 --use connection_limit:max_connections=100
    """

    name = "tcp"
    terminal_filter = "tcp_proxy"


def widened(listen: str, more: int) -> str:
    """A TCP address with ``more`` ports behind its own, as far as there are any; every other text as it is."""
    with contextlib.suppress(ValueError):
        address = Address.parse(listen)
        if more and address.port:
            return str(AddressRange(address.host, address.port, min(address.port + more, 65535)))
    return listen


def add_shared_options(parser: argparse._ActionsContainer, *, workers: bool = True) -> None:
    """The options that all quick commands have; ``workers`` is False for one that has to be a single process."""
    parser.add_argument(
        "--use",
        metavar="NAME[:key=value,...]",
        action="append",
        default=[],
        help="put a filter before the last one; may be repeated (l4proxy explain lists filters)",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="terminate TLS with this certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="and this private key (PEM)")
    parser.add_argument("--access-log", metavar="FILE|-", help="a line per connection, to a file or standard output")
    parser.add_argument("--admin", metavar="ADDR", help="serve the admin interface at 127.0.0.1:9901 or unix:/path")
    if workers:
        parser.add_argument(
            "--workers", metavar="N", default="1", help="worker processes, or auto for one per CPU (default 1)"
        )


def shared_draft(args: argparse.Namespace) -> Draft:
    """What the arguments say that all quick commands have; the filter that ends the chain is still missing."""
    draft = Draft()
    listener = {"address": args.listen, "filters": [parse_use(text) for text in args.use]}
    cluster = {"name": CLUSTER, "endpoints": args.upstream}
    workers = getattr(args, "workers", "1")
    draft.config = {
        "listeners": [listener],
        "clusters": [cluster],
        "workers": int(workers) if workers.isdecimal() else workers,
    }
    draft.options = {
        "listeners[0].address": "LISTEN",
        **{f"listeners[0].filters[{at}]": f"--use {text}" for at, text in enumerate(args.use)},
        "listeners[0].tls": "--tls-cert",
        "listeners[0].tls.cert": "--tls-cert",
        "listeners[0].tls.key": "--tls-key",
        **{f"clusters[0].endpoints[{at}]": "UPSTREAM" for at in range(len(args.upstream))},
        "clusters[0].endpoints": "UPSTREAM",
        "workers": "--workers",
        "admin.address": "--admin",
        "access_log[0].path": "--access-log",
        "access_log[0]": "--access-log",
    }
    if args.tls_cert or args.tls_key:
        listener["tls"] = {key: value for key, value in (("cert", args.tls_cert), ("key", args.tls_key)) if value}
    if args.admin:
        draft.config["admin"] = {"address": args.admin}
    if args.access_log:
        draft.config["access_log"] = [{"use": "file", "path": args.access_log}]
    return draft


def _banner(args: argparse.Namespace, addresses: Mapping[str, list[Address]]) -> str:
    """For a person at a terminal: where it listens, where it goes, how to stop it."""
    colour = painter(sys.stderr)
    way = [
        ", ".join(colour(text, BOLD) for listening in addresses.values() for text in in_ranges(listening)),
        *(text.partition(":")[0] for text in args.use),
        ", ".join(colour(upstream, BOLD) for upstream in args.upstream),
    ]
    admin = f" The admin interface is at {args.admin}." if args.admin else ""
    return f"listening on {' -> '.join(way)}\n" + colour(f"Ctrl-C stops it.{admin}", DIM)
