"""``l4proxy new-plugin NAME``: the package of a new plugin."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from l4proxy.cli.command import Command

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["NewPlugin"]


class NewPlugin(Command):
    """Write the package of a new plugin: a filter and its tests.

    example:
      l4proxy new-plugin rate_limit
    """

    name = "new-plugin"
    needs_all_plugins = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "plugin", metavar="NAME", help="what configurations will call the filter, such as rate_limit"
        )
        parser.add_argument(
            "--dir",
            metavar="DIR",
            type=Path,
            default=Path(),
            help="where to put the package's directory (default: here)",
        )

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        from l4proxy.new_plugin import new_plugin
        from l4proxy.registry import Kind

        files = new_plugin(args.plugin, args.dir, taken=plugins.registry.names(Kind.FILTER))
        for file in files:
            print(file)
        print(f"\nThe next steps:\n  cd {files[0].parent}\n  pip install -e '.[test]'\n  pytest\n  l4proxy plugins")
        return 0
