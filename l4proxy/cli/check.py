"""``l4proxy check FILE``: everything that is wrong with a configuration file, without running it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from l4proxy.cli.command import Command
from l4proxy.cli.output import print_json
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.terminal import GREEN, painter

if TYPE_CHECKING:
    from l4proxy.config import Config
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Check", "check_file", "dry_run"]

WRONG = 2


class Check(Command):
    """Say everything that is wrong with a configuration file.

    Everything is made that a start would make, and the files are read that are named: certificates, pages, passwords,
    keys. But no socket is opened, no log file, and nobody is connected to. The status is 0 where nothing is wrong, else
    2.

    With --json, one object: "ok", "file", "problems" (a list of objects with "path", "file", "line" and "cause"; the
    line is 0 where it is not known), and where nothing is wrong "remarks" of the same form, and how many "listeners",
    "filter_chains" and "clusters" there are.
    """

    name = "check"
    needs_all_plugins = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="a configuration in TOML or JSON")
        parser.add_argument("--json", action="store_true", help="print an object for programs")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        broken = [ConfigProblem("", str(error)) for error in plugins.broken.values()]
        try:
            config = check_file(args.file, plugins, broken)
        except ConfigError as error:
            if not args.json:
                raise
            print_json({"ok": False, "file": args.file, "problems": [_as_dict(one) for one in error.problems]})
            return WRONG
        counts = {
            "listeners": len(config.listeners),
            "filter_chains": sum(len(listener.chains) for listener in config.listeners),
            "clusters": len(config.clusters),
        }
        said = _remarks(config, args.file, plugins)
        if args.json:
            print_json({"ok": True, "file": args.file, "problems": [], "remarks": list(map(_as_dict, said)), **counts})
        else:
            summary = ", ".join(f"{count} {_noun(name, count)}" for name, count in counts.items())
            print(f"{args.file}: {painter(sys.stdout)('ok', GREEN)} ({summary})")
            for remark in said:
                print(f"note: {remark}")
        return 0


def check_file(file: str, plugins: PluginManager, known: list[ConfigProblem]) -> Config:
    """Load a configuration file and try what it says. Raises ConfigError with everything found, behind what is
    ``known`` to be wrong already."""
    from l4proxy.config import load_file
    from l4proxy.config.source import read_file

    try:
        config = load_file(file, plugins.registry, load_config=plugins.load_config)
        try:
            dry_run(config, plugins)
        except ConfigError as error:
            source = read_file(file, plugins.load_config)
            raise error.located(source.file, source.line) from None
    except ConfigError as error:
        raise ConfigError([*known, *error.problems]) from error
    if known:
        raise ConfigError(known)
    return config


def _remarks(config: Config, file: str, plugins: PluginManager) -> list[ConfigProblem]:
    """What is worth knowing of a configuration with which nothing is wrong."""
    from l4proxy.config.remarks import remarks
    from l4proxy.config.source import read_file

    found = [ConfigProblem(path, text) for path, text in remarks(config)]
    if not found:
        return []
    source = read_file(file, plugins.load_config)
    return ConfigError(found).located(source.file, source.line).problems


def dry_run(config: Config, plugins: PluginManager) -> None:
    """Show plugins a configuration, and make everything that can be made without an effect on anything outside. Raises
    ConfigError with all that is wrong."""
    import asyncio

    from l4proxy.poller import new_event_loop
    from l4proxy.server import try_out

    plugins.config_loaded(config)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(try_out(config, plugins))


def _as_dict(problem: ConfigProblem) -> dict[str, Any]:
    return {"path": problem.path, "file": problem.file, "line": problem.line, "cause": problem.cause}


def _noun(name: str, count: int) -> str:
    words = name.replace("_", " ")
    return words.removesuffix("s") if count == 1 else words
