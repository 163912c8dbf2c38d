"""A command of a plugin: ``l4proxy greet NAME`` once the plugin is installed."""

import argparse
import sys

from l4proxy import Command, PluginManager, Register, hookimpl
from l4proxy.registry import Kind


class Greet(Command):
    """Say good day to somebody."""

    name = "greet"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("who", metavar="NAME")

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        filters = len(plugins.registry.names(Kind.FILTER))
        print(f"Good day, {args.who}. There are {filters} filters.")
        return 0


@hookimpl
def register_commands(register: Register[type[Greet]]) -> None:
    register(Greet)


def main() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "greet")
    command = plugins.registry.find(Kind.COMMAND, "greet")()
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["Ada"]), plugins) == 0


if __name__ == "__main__":
    main()
