"""Find the command, load the plugins, run it, and show errors as a person wants to read them.

Only the command that is asked for is imported: starting a proxy must not cost what printing a JSON Schema costs.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from l4proxy import __version__
from l4proxy.cli.parser import Parser, make_parser, parse_all
from l4proxy.errors import L4ProxyError, did_you_mean
from l4proxy.terminal import BOLD, RED, painter, printable

if TYPE_CHECKING:
    from l4proxy.cli.command import Command
    from l4proxy.plugin_manager import PluginManager

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "tcp": "quick:Tcp",
    "run": "run:Run",
    "check": "check:Check",
    "plugins": "plugins:Plugins",
    "explain": "explain:Explain",
    "schema": "schema:Schema",
    "new-plugin": "new_plugin:NewPlugin",
    "demo": "demo:Demo",
}
"""Module and class of each command of ours, by name, in the order of ``l4proxy --help``; those that plugins bring, of
which most are like the first one, stand behind it."""

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status: 0, 1 where what was asked for failed, 2 where the question was
    wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run(words)
        finally:
            sys.stdout.flush()
    except L4ProxyError as error:
        _show(error)
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left (| head): be silent at exit, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _show(error: L4ProxyError) -> None:
    """On standard error, with a mark on each line that is an error of its own; the indented ones belong to it."""
    colour = painter(sys.stderr)
    for line in map(printable, str(error).splitlines()):
        print(line if line.startswith(" ") else f"{colour('error:', RED)} {line}", file=sys.stderr)


def _run(words: list[str]) -> int:
    options, rest = _common().parse_known_args(words)
    if rest[:1] == ["help"]:
        rest = [*rest[1:2], "--help"]
    if not rest or rest[0].startswith("-"):
        return _without_command(rest, options)
    name, *rest = rest
    plugins = _load_plugins(options)
    command = _find(name, plugins)()
    parser = make_parser(name, inspect.getdoc(command) or "", [_common()])
    command.add_arguments(parser)
    args = parse_all(parser, rest)
    if command.needs_all_plugins:
        plugins.require_all()
    return command.run(args, plugins)


def _common() -> Parser:
    """Options that every command has; they may stand before the command and behind it."""
    parser = Parser(prog="l4proxy", add_help=False, allow_abbrev=False)
    group = parser.add_argument_group("plugins")
    group.add_argument(
        "--plugin-dir", metavar="DIR", action="append", default=[], help="load every module of a directory as a plugin"
    )
    group.add_argument("--disable-plugin", metavar="NAME", action="append", default=[], help="do not load a plugin")
    return parser


def _load_plugins(options: argparse.Namespace) -> PluginManager:
    from l4proxy.plugin_manager import load_plugins

    return load_plugins(plugin_dirs=options.plugin_dir, disabled=options.disable_plugin, keep_broken=True)


def _find(name: str, plugins: PluginManager) -> type[Command]:
    from l4proxy.registry import Kind

    if name in COMMANDS:
        return _import(name)
    try:
        return plugins.registry.find(Kind.COMMAND, name)
    except LookupError:
        plugins.require_all()  # one of the broken ones may bring it
        known = [*COMMANDS, *plugins.registry.names(Kind.COMMAND)]
        raise L4ProxyError(f"there is no command {name!r}{did_you_mean(name, known)}") from None


def _import(name: str) -> type[Command]:
    module, _, cls = COMMANDS[name].partition(":")
    command: type[Command] = getattr(importlib.import_module(f"l4proxy.cli.{module}"), cls)
    return command


def _without_command(words: list[str], options: argparse.Namespace) -> int:
    if words[:1] == ["--version"]:
        print(f"l4proxy {__version__} (Python {sys.version.split()[0]})")
        return 0
    if words[:1] not in ([], ["-h"], ["--help"]):
        raise L4ProxyError(f"{words[0]} stands before the command: options of a command stand behind it")
    _print_help(options, sys.stdout if words else sys.stderr)
    return 0 if words else WRONG_USE


def _print_help(options: argparse.Namespace, stream: TextIO) -> None:
    colour = painter(stream)
    print("usage: l4proxy COMMAND ...\n\nA proxy for TCP services, with filters as plugins.\n", file=stream)
    for name, text in _commands(options):
        print(f"  {colour(f'{name:12}', BOLD)} {text}", file=stream)
    print("\nl4proxy COMMAND --help tells more. A start is: l4proxy tcp :8080 localhost:5432\n", file=stream)
    print(_common().format_help().partition("\n\n")[2], end="", file=stream)


def _commands(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Every command with the first line of its docstring; what is wrong with plugins is said at the end."""
    from l4proxy.registry import Kind

    plugins = _load_plugins(options)
    (first, *others) = [(name, _import(name)) for name in COMMANDS]
    brought = [(entry.name, entry.cls) for entry in plugins.registry.entries(Kind.COMMAND)]
    for name, cls in [first, *brought, *others]:
        yield name, (inspect.getdoc(cls) or "").partition("\n")[0]
    for problem in plugins.broken.values():
        _show(problem)
