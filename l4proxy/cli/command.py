"""The contract of sub-commands. Plugins register their own with ``register_commands``."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Command"]


class Command(ABC):
    """One sub-command of ``l4proxy``. The first line of its docstring is its line in ``l4proxy --help``, all of it the
    text of ``l4proxy NAME --help``."""

    name: ClassVar[str]

    @abstractmethod
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments. Called once, and only when the command or its help is wanted."""

    @abstractmethod
    def run(self, args: argparse.Namespace, plugins: PluginManager) -> int:
        """Do it; return the exit status. ConfigError and PluginError are shown by the caller, with status 2."""
