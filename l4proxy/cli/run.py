"""``l4proxy run FILE``: serve what a configuration file says."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.cli.command import Command
from l4proxy.config import Config, load_text
from l4proxy.config.source import parse_text, read_text
from l4proxy.errors import ConfigError
from l4proxy.process import Announce, Launch, Locate, log_addresses, nowhere, run_process

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
        def read() -> str:
            return read_text(args.file, plugins.load_config)

        def load(text: str) -> Config:
            return load_text(args.file, text, plugins.registry)

        def locate(error: ConfigError, text: str) -> ConfigError:
            source = parse_text(args.file, text)
            return error.located(source.file, source.line)

        return serve_configuration(load, plugins, read=read, locate=locate, json_log=args.log_format == "json")


def serve_configuration(
    load: Callable[[str], Config],
    plugins: PluginManager,
    *,
    read: Callable[[], str] = str,
    locate: Locate = nowhere,
    json_log: bool = False,
    announce: Announce = log_addresses,
) -> int:
    """Serve until told to stop; plugins see each configuration before it is used. Returns the exit status."""

    def load_and_show(text: str) -> Config:
        config = load(text)
        plugins.config_loaded(config)
        return config

    return run_process(Launch(load_and_show, plugins, read, locate, json_log, announce))
