"""``l4proxy schema``: the JSON Schema of the configuration."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from l4proxy.cli.command import Command
from l4proxy.cli.output import print_json

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Schema"]


class Schema(Command):
    """Print the JSON Schema of the configuration, for editors.

    These then complete and check a configuration while it is written. The options of installed plugins are in it.

    example:
      l4proxy schema > l4proxy.schema.json
    """

    name = "schema"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """It has none."""

    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        from l4proxy.config import Config
        from l4proxy.config.jsonschema import json_schema

        print_json(json_schema(Config, plugins.registry))
        return 0
