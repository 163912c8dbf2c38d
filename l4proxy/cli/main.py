"""Find the command, load the plugins, run it, and show errors as a person wants to read them.

Only the command that is asked for is imported: starting a proxy must not cost what printing a JSON Schema costs.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from l4proxy import __version__
from l4proxy.cli import terminal
from l4proxy.errors import L4ProxyError, did_you_mean

if TYPE_CHECKING:
    from l4proxy.cli.command import Command
    from l4proxy.plugin_manager import PluginManager

__all__ = ["main"]

COMMANDS = {
    "tcp": ("quick", "Tcp", "proxy a TCP service, without a configuration file"),
    "run": ("run", "Run", "run a configuration file"),
    "check": ("check", "Check", "say everything that is wrong with a configuration file"),
    "plugins": ("plugins", "Plugins", "list plugins and what they bring"),
    "explain": ("explain", "Explain", "describe a filter, matcher, policy or section, with its options"),
    "schema": ("schema", "Schema", "print the JSON Schema of the configuration"),
    "new-plugin": ("new_plugin", "NewPlugin", "write the package of a new plugin"),
    "demo": ("demo", "Demo", "show the main job on embedded servers"),
}
"""Name: module, class and help line of each command of ours."""

WRONG_USE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status: 0, 1 where what was asked for failed, 2 where the question was
    wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except L4ProxyError as error:
        terminal.error(str(error))
        return WRONG_USE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left (| head)
        sys.stderr.close()
        return 1


def _run(words: list[str]) -> int:
    options, rest = _common().parse_known_args(words)
    name = next((word for word in rest if not word.startswith("-")), "")
    if not name or rest[0] in ("-h", "--help", "--version"):
        return _top(words)
    plugins = _load_plugins(options)
    command = _find(name, plugins)
    parser = argparse.ArgumentParser(
        prog=f"l4proxy {name}",
        description=type(command).__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common()],
    )
    command.add_arguments(parser)
    rest.remove(name)
    return command.run(parser.parse_args(rest), plugins)


def _common() -> argparse.ArgumentParser:
    """Options that every command has."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    group = parser.add_argument_group("plugins")
    group.add_argument(
        "--plugin-dir", metavar="DIR", action="append", default=[], help="load every module of a directory as a plugin"
    )
    group.add_argument("--disable-plugin", metavar="NAME", action="append", default=[], help="do not load a plugin")
    return parser


def _load_plugins(options: argparse.Namespace) -> PluginManager:
    from l4proxy.plugin_manager import load_plugins

    return load_plugins(plugin_dirs=options.plugin_dir, disabled=options.disable_plugin)


def _find(name: str, plugins: PluginManager) -> Command:
    from l4proxy.registry import Kind

    if name in COMMANDS:
        module, cls, _ = COMMANDS[name]
        found = getattr(importlib.import_module(f"l4proxy.cli.{module}"), cls)
    else:
        try:
            found = plugins.registry.find(Kind.COMMAND, name)
        except LookupError:
            known = [*COMMANDS, *plugins.registry.names(Kind.COMMAND)]
            raise L4ProxyError(f"there is no command {name!r}{did_you_mean(name, known)}") from None
    command: Command = found()
    return command


def _top(words: list[str]) -> int:
    if "--version" in words:
        print(f"l4proxy {__version__} (Python {sys.version.split()[0]})")
        return 0
    wanted = bool(words)
    out = sys.stdout if wanted else sys.stderr
    print("usage: l4proxy COMMAND ...\n\nA proxy for TCP services, with filters as plugins.\n\ncommands:", file=out)
    for name, (_, _, text) in COMMANDS.items():
        print(f"  {name:12} {text}", file=out)
    for name, text in _plugin_commands():
        print(f"  {name:12} {text}", file=out)
    print("\nl4proxy COMMAND --help tells more; l4proxy tcp :8080 localhost:5432 is a start.", file=out)
    return 0 if wanted else WRONG_USE


def _plugin_commands() -> list[tuple[str, str]]:
    from l4proxy.plugin_manager import load_plugins
    from l4proxy.registry import Kind

    return [(entry.name, entry.doc) for entry in load_plugins().registry.entries(Kind.COMMAND)]
