"""From a command line to a run."""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.address import Address
from l4proxy.cli.output import print_table
from l4proxy.cli.parser import make_parser, parse_all
from l4proxy.errors import L4ProxyError
from l4proxy.inspector import Inspector
from l4proxy.logging_setup import set_up_logging
from l4proxy.plugins.sniff.options import add_options, choice_of, config_of, ports_of
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.process import raise_descriptor_limit
from l4proxy.registry import Kind

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager
    from l4proxy.plugins.sniff.run import Run
    from l4proxy.plugins.sniff.source import Source

__all__ = ["list_protocols", "sniff"]

COLLECT_AFTER = 50_000
"""Objects made and not freed before the collector looks for cycles."""


def list_protocols(plugins: PluginManager) -> int:
    entries = plugins.registry.entries(Kind.INSPECTOR)
    if not entries:
        print("There is no inspector: a plugin has to bring one.", file=sys.stderr)
        return 1
    rows = [(entry.name, ", ".join(map(str, entry.cls.ports)) or "all", entry.doc) for entry in entries]
    print_table(("PROTOCOL", "PORTS", ""), rows)
    return 0


def sniff(protocol: str, words: Sequence[str], plugins: PluginManager) -> int:
    """Do what ``l4proxy sniff PROTOCOL WORDS...`` says. Raises L4ProxyError."""
    from l4proxy.poller import new_event_loop

    inspector = _find(protocol, plugins)
    parser = make_parser(f"sniff {protocol}", inspect.getdoc(inspector) or "")
    add_options(parser, inspector)
    args = parse_all(parser, words)
    set_up_logging("info", stream=sys.stderr)
    raise_descriptor_limit()
    gc.freeze()  # what is there now stays: later collections need not look at it
    gc.set_threshold(COLLECT_AFTER, 20, 20)

    async def main() -> int:
        return await _run(inspector, args, plugins).main()

    with asyncio.Runner(loop_factory=lambda: plugins.make_event_loop() or new_event_loop()) as runner:
        return runner.run(main())


def _find(protocol: str, plugins: PluginManager) -> type[Inspector[Any]]:
    try:
        return plugins.registry.find(Kind.INSPECTOR, protocol)
    except LookupError as error:
        raise L4ProxyError(f"{error.args[0]}; l4proxy sniff lists what there is") from error


def _run(inspector: type[Inspector[Any]], args: argparse.Namespace, plugins: PluginManager) -> Run:
    from l4proxy.plugins.sniff.lines import JsonLines, Lines
    from l4proxy.plugins.sniff.live import LiveView, can_be_live
    from l4proxy.plugins.sniff.output import Output
    from l4proxy.plugins.sniff.run import Run

    source = _source(inspector, args, plugins)
    sight = Sight(inspector, config_of(inspector, args, plugins.registry), choice_of(inspector, args))
    live: LiveView | None = None
    lines: Lines | JsonLines | None = None
    output: Output | None = None
    if not args.json and not args.lines and not args.quiet and can_be_live():
        live = LiveView(inspector)
    elif args.json or not args.quiet:
        output = None if source.waits else Output(sys.stdout)
        lines = JsonLines(inspector.kind_word, output) if args.json else Lines(output)
    metrics = _address("--prometheus", args.prometheus) if args.prometheus else None
    return Run(
        sight,
        source,
        live=live,
        lines=lines,
        output=output,
        record=args.record or "",
        metrics=metrics,
        duration=args.duration,
    )


def _source(inspector: type[Inspector[Any]], args: argparse.Namespace, plugins: PluginManager) -> Source:
    try:
        ports = ports_of(inspector, args.port)
    except ValueError as error:
        raise L4ProxyError(str(error)) from error
    given = [name for name in ("upstream", "interface", "pcap", "replay") if getattr(args, name)]
    if len(given) != 1:
        named = ["UPSTREAM" if name == "upstream" else f"--{name}" for name in given]
        several = f", and not {' and '.join(named)} at once" if given else ""
        raise L4ProxyError(
            f"say where to look: UPSTREAM, --interface, --pcap or --replay{several}\n"
            f"  l4proxy sniff {inspector.name} --help tells more"
        )
    match given[0]:
        case "interface":
            from l4proxy.plugins.sniff.interface import InterfaceSource

            return InterfaceSource(args.interface, ports, args.buffer)
        case "pcap":
            from l4proxy.plugins.sniff.file import FileSource

            return FileSource(args.pcap, ports)
        case "replay":
            from l4proxy.plugins.sniff.replay import ReplaySource

            return ReplaySource(args.replay)
    from l4proxy.plugins.sniff.proxy import ProxySource

    return ProxySource(args, plugins)


def _address(option: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise L4ProxyError(f"{option}: {error}") from error
