"""``l4proxy run FILE``: serve what a configuration file says."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.cli.command import Command
from l4proxy.config import Config, load_file
from l4proxy.process import Announce, Launch, log_addresses, run_process

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Run", "serve_configuration"]


class Run(Command):
    """Run a configuration file.

    signals:
      SIGTERM  drain, then end (a second time: end now); SIGINT ends at once
      SIGHUP   read the file again; with an error in it the old one stays
      SIGUSR1  open log files again, after they were moved away
      SIGUSR2  start a successor (a new version, new plugins) on the same
               sockets, then drain
    """

    name = "run"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="a configuration in TOML or JSON")
        parser.add_argument("--log-format", choices=("text", "json"), default="text", help="how log lines are written")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        def load() -> Config:
            return load_file(args.file, plugins.registry, load_config=plugins.load_config)

        return serve_configuration(load, plugins, json_log=args.log_format == "json")


def serve_configuration(
    load: Callable[[], Config], plugins: PluginManager, *, json_log: bool = False, announce: Announce = log_addresses
) -> int:
    """Serve until told to stop; plugins see each configuration before it is used. Returns the exit status."""

    def load_and_show() -> Config:
        config = load()
        plugins.config_loaded(config)
        return config

    return run_process(Launch(load_and_show, plugins, json_log, announce))
