"""``l4proxy plugins``: which plugins there are, and what they bring."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.cli.command import Command
from l4proxy.cli.output import print_json, print_table
from l4proxy.errors import PluginError
from l4proxy.hookspecs import PROJECT
from l4proxy.plugin_manager import REGISTER_HOOKS
from l4proxy.terminal import RED, painter

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginInfo, PluginManager
    from l4proxy.registry import Entry, Registry

__all__ = ["Plugins"]

HEADER = ("PLUGIN", "VERSION", "FROM", "BRINGS", "STATUS")


class Plugins(Command):
    """List plugins and what they bring.

    The broken ones come at the end, with the reason, and then the status is 1. STATUS is what a filter's author says of
    it: stable, alpha or wip; and untrusted_client where it may face the Internet, else trusted_client.

    With --json, an array of objects with "name", "distribution", "version", "source", "loaded", "hooks", "registered"
    (objects with "kind", "name", "protocol", "status", "posture" and "doc") and "problem" (empty where all is well).
    """

    name = "plugins"
    needs_all_plugins = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print an array for programs")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        _load_all(plugins)
        infos = plugins.plugins()
        if args.json:
            print_json([_as_dict(info, plugins.registry.entries_of(info.name)) for info in infos])
        else:
            _print(infos, plugins.registry)
        return 1 if plugins.broken else 0


def _load_all(plugins: PluginManager) -> None:
    """Import also the plugins that nobody has named yet; one that fails now is counted among the broken ones."""
    for name in plugins.sources:
        try:
            plugins.load(name)
        except PluginError as error:
            plugins.broken.setdefault(name, error)


def _as_dict(info: PluginInfo, entries: list[Entry]) -> dict[str, Any]:
    shown = ("name", "protocol", "status", "posture", "doc")
    registered = [{"kind": entry.kind.value, **{word: getattr(entry, word) for word in shown}} for entry in entries]
    return {**dataclasses.asdict(info), "registered": registered}


def _print(infos: Sequence[PluginInfo], registry: Registry) -> None:
    """The installed ones first: they are few, and what one looks for."""
    working = [info for info in infos if not info.problem]
    working.sort(key=lambda info: info.distribution == PROJECT)
    print_table(HEADER, [row for info in working for row in _rows(info, registry.entries_of(info.name))])
    broken = painter(sys.stdout)("broken:", RED)
    for info in infos:
        if info.problem:
            print(f"\n{broken} {info.problem}")


def _rows(info: PluginInfo, entries: list[Entry]) -> Iterator[tuple[str, ...]]:
    """A row for each thing that a plugin brings; only the first one says which plugin that is."""
    first = (info.name, info.version, info.distribution or info.source)
    for entry in entries:
        brings = f"{entry.protocol} {entry.kind.value} {entry.name}".strip()
        yield *first, brings, ", ".join(filter(None, (entry.status, entry.posture)))
        first = ("", "", "")
    for hook in info.hooks:
        if hook not in REGISTER_HOOKS.values():
            yield *first, f"hook {hook}", ""
            first = ("", "", "")
