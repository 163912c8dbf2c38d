"""``l4proxy explain NAME``: the reference page of whatever a configuration can name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from shutil import get_terminal_size
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from l4proxy.cli.command import Command
from l4proxy.config.docs import first_paragraph
from l4proxy.config.hints import table_of
from l4proxy.config.reference import reference, tables_of
from l4proxy.config.schema import Config
from l4proxy.errors import L4ProxyError, did_you_mean
from l4proxy.registry import Kind
from l4proxy.terminal import BOLD, painter

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager
    from l4proxy.registry import Registry

__all__ = ["Explain", "pages", "sections"]

PLURALS = {
    Kind.FILTER: "filters",
    Kind.MESSAGE_FILTER: "message filters",
    Kind.MATCHER: "matchers",
    Kind.PREAMBLE: "preambles",
    Kind.LOAD_BALANCER: "load balancers",
    Kind.DISCOVERY: "discovery",
    Kind.HEALTH_CHECK: "health checks",
    Kind.ACCESS_LOGGER: "access loggers",
    Kind.STATS_SINK: "stats sinks",
}
KINDS = tuple(PLURALS)
"""All but commands and inspectors: these explain themselves, by --help."""
NO_LIMIT = 10_000
"""Where it is not printed to a terminal, a line may be as long as it is."""


class Explain(Command):
    """Describe a filter, matcher, policy or section, with its options.

    examples:
      l4proxy explain                everything there is, by kind
      l4proxy explain tcp_proxy      a filter
      l4proxy explain listeners      a section of the configuration
      l4proxy explain clusters.tls   a section inside another one
    """

    name = "explain"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", metavar="NAME", nargs="?", help="what to describe; without it, list what there is")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        if args.what is None:
            _print_list(plugins.registry)
            return 0
        found = list(pages(args.what, plugins.registry))
        if not found:
            raise L4ProxyError(f"nothing is called {args.what!r}{_nearest(args.what, plugins.registry)}")
        colour = painter(sys.stdout)
        for at, page in enumerate(found):
            title, _, text = page.partition("\n")
            print("\n" * bool(at) + colour(title, BOLD) + "\n" + text, end="")
        return 0


def pages(name: str, registry: Registry) -> Iterator[str]:
    """The page of everything that has this name: a matcher may be called like a preamble, a section like a filter."""
    for kind in KINDS:
        for protocol in _protocols(kind, name, registry):
            yield reference(registry.find(kind, name, protocol), kind)
    told: set[type[Any]] = set()
    for path, cls in sections():
        if (path == name or path.endswith(f".{name}")) and cls not in told:
            told.add(cls)
            yield reference(cls, title=f"{path} (section)")


def sections(cls: type[Any] = Config, path: str = "") -> Iterator[tuple[str, type[Any]]]:
    """Every table of the configuration below ``cls`` that has a name of its own: ``clusters.tls``."""
    for name, field in table_of(cls).fields.items():
        for table in tables_of(field.shape):
            yield f"{path}{name}", table.cls
            yield from sections(table.cls, f"{path}{name}.")


def _protocols(kind: Kind, name: str, registry: Registry) -> list[str]:
    """Of message filters those that have one of this name; every other kind has the name for all, or not at all."""
    if name not in registry.names(kind):
        return []
    return [entry.protocol for entry in registry.entries(kind) if entry.name == name]


def _nearest(name: str, registry: Registry) -> str:
    known = {path for path, _ in sections()}.union(*(registry.names(kind) for kind in KINDS))
    hint = did_you_mean(name, known)
    return hint if "did you mean" in hint else " (l4proxy explain lists what there is)"


def _print_list(registry: Registry) -> None:
    first_of_each = {cls: path for path, cls in reversed(list(sections()))}
    groups = {
        PLURALS[kind]: [(entry.name + (entry.protocol and f" ({entry.protocol})"), entry.cls) for entry in entries]
        for kind in KINDS
        if (entries := registry.entries(kind))
    }
    groups["sections"] = [(path, cls) for path, cls in sections() if first_of_each[cls] == path]
    colour = painter(sys.stdout)
    line = get_terminal_size((NO_LIMIT, 24)).columns
    for title, group in groups.items():
        print(colour(title, BOLD))
        width = max(len(name) for name, _ in group)
        for name, cls in group:
            print(f"  {name:{width}}  {shorten(_first_sentence(cls), line - width - 4, placeholder=' ...')}")
        print()
    print("l4proxy explain NAME tells more.")


def _first_sentence(cls: type[Any]) -> str:
    return first_paragraph(cls).replace("``", "`").partition(". ")[0].rstrip(".") + "."
