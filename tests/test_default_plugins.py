from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import l4proxy.plugins
from l4proxy.default_plugins import DEFAULT_PLUGINS, DefaultPlugin
from l4proxy.plugin_check import HOOKS
from l4proxy.plugin_manager import REGISTER_HOOKS, PluginManager
from l4proxy.registry import Kind

MODULES = sorted(module.name for module in pkgutil.iter_modules(l4proxy.plugins.__path__))


def registered_by(name: str) -> list[DefaultPlugin]:
    """What a module registers, found out by calling its hooks."""
    module = importlib.import_module(f"l4proxy.plugins.{name}")
    found = []
    for kind, hook in REGISTER_HOOKS.items():
        classes: list[type] = []
        if hasattr(module, hook):
            getattr(module, hook)(classes.append)
        for cls in classes:
            protocol = cls.protocol if kind is Kind.MESSAGE_FILTER else ""  # type: ignore[attr-defined]
            found.append(DefaultPlugin(name, kind, cls.name, protocol))  # type: ignore[attr-defined]
    return found


def row(plugin: DefaultPlugin) -> str:
    names = [plugin.name, plugin.protocol] if plugin.protocol else [plugin.name]
    return f'DefaultPlugin("{plugin.module}", {plugin.kind}, ' + ", ".join(f'"{name}"' for name in names) + "),"


@pytest.mark.parametrize("module", MODULES)
def test_the_table_says_what_a_module_registers(module: str) -> None:
    rows = [row(plugin) for plugin in DEFAULT_PLUGINS if plugin.module == module]
    assert sorted(rows) == sorted(row(plugin) for plugin in registered_by(module))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_imported_by_name_has_no_hook_that_could_be_missed(module: str) -> None:
    """It is imported when something of it is named: too late to make the event loop or to read the configuration."""
    names = vars(importlib.import_module(f"l4proxy.plugins.{module}")).keys() & HOOKS
    assert names <= {*REGISTER_HOOKS.values(), "startup", "shutdown"}


def test_the_table_has_no_other_modules_and_is_sorted() -> None:
    assert {plugin.module for plugin in DEFAULT_PLUGINS} <= set(MODULES)
    rows = [row(plugin) for plugin in DEFAULT_PLUGINS]
    assert rows == sorted(set(rows))


@pytest.mark.parametrize("kind", Kind)
def test_all_of_them_keep_their_contracts(kind: Kind) -> None:
    plugins = PluginManager()
    assert [entry.name for entry in plugins.registry.entries(kind)] == sorted(
        plugin.name for plugin in DEFAULT_PLUGINS if plugin.kind is kind
    )


def test_hooks_are_called_in_one_file_only() -> None:
    package = Path(l4proxy.__path__[0])
    callers = {str(file.relative_to(package)) for file in package.rglob("*.py") if ".hook." in file.read_text()}
    assert callers == {"plugin_manager.py"}
