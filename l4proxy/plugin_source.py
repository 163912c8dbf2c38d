"""Where a plugin comes from, and how its module is imported: first-party, installed by pip, or a file in a
directory."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import l4proxy
from l4proxy.entry_points import entry_points
from l4proxy.errors import PluginError
from l4proxy.hookspecs import PROJECT

__all__ = ["PluginSource", "default_sources", "directory_sources", "installed_sources"]


@dataclass(frozen=True, slots=True)
class PluginSource:
    """A plugin that has been found and not yet imported.

    Exactly one of ``module`` (with ``attr``, where the plugin is an object in it) and ``file`` is set.
    ``distribution`` and ``version`` are those of the package that pip installed; a plugin from a file has none.
    """

    name: str
    module: str = ""
    attr: str = ""
    file: str = ""
    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.module} of {self.distribution} {self.version}" if self.module else self.file

    def load(self) -> Any:
        """Import the plugin. Raises PluginError, which says where it failed and how to start without it."""
        try:
            plugin = _import_file(self.name, self.file) if self.file else importlib.import_module(self.module)
            for attr in filter(None, self.attr.split(".")):
                plugin = getattr(plugin, attr)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"plugin {self.name!r} ({self}) cannot be imported: {type(error).__name__}: {error}\n"
                f"  at {_place(error)}{_version_hint(error)}\n"
                f"  start without it: --disable-plugin {self.name}"
            ) from error
        return plugin


def default_sources(modules: Iterable[str]) -> Iterator[PluginSource]:
    """Modules of ``l4proxy.plugins``; such a plugin is called as its module is."""
    for module in modules:
        yield PluginSource(module, f"l4proxy.plugins.{module}", distribution=PROJECT, version=l4proxy.__version__)


def installed_sources() -> Iterator[PluginSource]:
    """Plugins that distributions announce by an entry point of the group ``l4proxy``."""
    for entry in entry_points(PROJECT):
        yield PluginSource(entry.name, entry.module, entry.attr, distribution=entry.distribution, version=entry.version)


def directory_sources(directory: Path) -> Iterator[PluginSource]:
    """Files ``NAME.py`` in a directory, but for those that begin with an underscore. Raises PluginError if it is
    none."""
    if not directory.is_dir():
        raise PluginError(f"--plugin-dir {directory}: no such directory")
    for file in sorted(directory.glob("[!_]*.py")):
        yield PluginSource(file.stem, file=str(file))


def _import_file(name: str, file: str) -> ModuleType:
    """Import a file under a name that shadows no other module, whatever the file is called."""
    spec = importlib.util.spec_from_file_location(f"l4proxy_plugin_dir.{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _version_hint(error: BaseException) -> str:
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == PROJECT:
        return f"\n  it may have been written for another version: this is l4proxy {l4proxy.__version__}"
    return ""
