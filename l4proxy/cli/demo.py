"""``l4proxy demo``: the main job, shown."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from l4proxy.cli.command import Command

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Demo"]


class Demo(Command):
    """Show a proxy with a plugin at work, between servers and clients.

    All of it is in this one process, takes a few seconds, and needs nothing else.
    """

    name = "demo"
    needs_all_plugins = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--keep", action="store_true", help="leave the proxy running at the end, until Ctrl-C")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        from l4proxy.demo.stage import Stage
        from l4proxy.demo.story import tell
        from l4proxy.poller import new_event_loop

        with TemporaryDirectory(prefix="l4proxy-") as directory, asyncio.Runner(loop_factory=new_event_loop) as runner:
            try:
                runner.run(tell(Stage(), Path(directory), keep=args.keep))
            except KeyboardInterrupt:
                if not args.keep:
                    raise
        return 0
