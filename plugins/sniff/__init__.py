"""``l4proxy sniff``: see what passes, with any inspector, from any source, in any view.

One machine for all protocols. A source (`proxy`, `interface`, `file`, `replay`) gives connections and their bytes to a
`sight`, whose inspector understands them; views show what it says (`live`, `lines`, `summary`, metrics), and a
`recording` keeps it. `command` reads the command line, `run` puts all together.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from l4proxy import Command, Register, hookimpl

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Sniff"]


class Sniff(Command):
    """Watch what clients and servers say, live or in a capture.

    examples:
      l4proxy sniff                              which protocols there are
      l4proxy sniff kafka --help                 what can be chosen of one
      l4proxy sniff kafka broker:9092            start a proxy, say where clients
                                                 shall connect, and watch
      l4proxy sniff redis --interface eth0       watch what passes anyway
      ssh db tcpdump -U -w - port 5432 | l4proxy sniff postgres --pcap -
      l4proxy sniff kafka --pcap old.pcap --json --errors
      l4proxy sniff redis cache --record day.jsonl --prometheus :9308

    On a terminal there are live tables (? shows the keys), elsewhere a line for
    each exchange. Ctrl-C ends it, with a summary.
    """

    name = "sniff"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "protocol", metavar="PROTOCOL", nargs="?", help="what to understand; without, list what can be"
        )
        parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see l4proxy sniff PROTOCOL --help")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        from l4proxy.plugins.sniff.command import list_protocols, sniff

        if args.protocol is None:
            return list_protocols(plugins)
        return sniff(args.protocol, args.rest, plugins)


@hookimpl
def register_commands(register: Register[type[Sniff]]) -> None:
    register(Sniff)
