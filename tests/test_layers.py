"""Imports run downwards only: plugins, protocols, core. Read from the source of every file, so that no import hides."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from source_tree import ROOT, imports, module_name, modules, parse

CORE = modules("l4proxy")
PLUGINS = modules("l4proxy.plugins")
PROTOCOLS = modules("l4proxy.protocols")

# What does IO, waits or tells the time: a codec is given bytes, and given the time if it must have it.
NOT_SANS_IO = {
    "asyncio", "concurrent", "datetime", "http.client", "http.server", "multiprocessing", "os", "queue", "sched",
    "select", "selectors", "signal", "socket", "socketserver", "ssl", "subprocess", "threading", "time",
    "urllib.request",
}  # fmt: skip
# The start must be quick, and importing kafka-python takes 0.3 seconds, construct 0.1. Whole Kafka messages and the
# executable specs (``*_spec.py``) import them right away, and are themselves imported in the functions that need them.
SLOW_TO_IMPORT = {"construct", "kafka"}
SLOW_MODULES = re.compile(r"l4proxy\.protocols\.kafka\.(messages|kafka_python)|l4proxy\.protocols\..*_spec")


def top(module: str) -> str:
    return module.partition(".")[0]


def below(package: str, names: set[str]) -> set[str]:
    return {name for name in names if f"{name}.".startswith(f"{package}.")}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_the_core_knows_no_plugin_and_no_protocol(path: Path) -> None:
    names = imports(path)
    assert not below("l4proxy.plugins", names) | below("l4proxy.protocols", names)
    others = {"pytest"} if path.name == "pytest_plugin.py" else set()
    assert {top(name) for name in names} <= sys.stdlib_module_names | {"l4proxy", "pluggy"} | others


@pytest.mark.parametrize("path", PROTOCOLS, ids=relative)
def test_protocols_do_no_io_and_know_only_the_codec_contract(path: Path) -> None:
    names = imports(path)
    assert not [forbidden for forbidden in NOT_SANS_IO if below(forbidden, names)]
    ours = below("l4proxy", names) - below("l4proxy.protocols", names) - {"l4proxy"}
    assert ours == below("l4proxy.codec", ours)
    assert {top(name) for name in names} <= sys.stdlib_module_names | {"l4proxy"} | SLOW_TO_IMPORT


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_plugins_need_nothing_but_the_core_protocols_and_the_declared_dependencies(path: Path) -> None:
    assert {top(name) for name in imports(path)} <= sys.stdlib_module_names | {"l4proxy", "pluggy"} | SLOW_TO_IMPORT


@pytest.mark.parametrize("path", CORE + PLUGINS + PROTOCOLS, ids=relative)
def test_slow_libraries_are_imported_where_they_are_used(path: Path) -> None:
    if not SLOW_MODULES.fullmatch(module_name(path)):
        names = imports(path, on_import=True)
        assert not {name for name in names if top(name) in SLOW_TO_IMPORT or SLOW_MODULES.fullmatch(name)}


@pytest.mark.parametrize("path", CORE + PLUGINS + PROTOCOLS, ids=relative)
def test_hooks_are_called_by_the_plugin_manager_alone(path: Path) -> None:
    hooks = [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute) and node.attr == "hook"]
    assert not hooks or module_name(path) == "l4proxy.plugin_manager"


def test_importing_l4proxy_imports_nothing_slow() -> None:
    script = "import sys, l4proxy; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert not {top(name) for name in done.stdout.split()} & SLOW_TO_IMPORT
