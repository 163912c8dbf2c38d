"""The contract of sub-commands. Plugins register their own with ``register_commands``."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Command"]


class Command(ABC):
    """One sub-command of ``l4proxy``.

    The first line of a command's docstring is its line in ``l4proxy --help``, all of it the text of ``l4proxy NAME
    --help`` (examples are indented). Made once, when the command or its help is wanted; its module is imported then.
    """

    name: ClassVar[str]
    """The word behind ``l4proxy``, in lower case with hyphens."""
    needs_all_plugins: ClassVar[bool] = True
    """Whether a plugin that cannot be loaded stops the command. Where it does not, ``plugins.broken`` has it."""

    @abstractmethod
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments. ``--plugin-dir`` and ``--disable-plugin`` are there already."""

    @abstractmethod
    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        """Do it; return the exit status: 0, or 1 where what was asked for failed.

        A L4ProxyError (ConfigError, PluginError ...) is shown by the caller, with status 2.
        """
