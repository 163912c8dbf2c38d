"""The public names: they are there, they are documented, and each has an example that runs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import l4proxy
from source_tree import ROOT, parse

EXAMPLES = sorted(path for path in (ROOT / "tests" / "examples").glob("[!_]*.py"))
NOT_OURS = {"Register", "__version__", "hookimpl"}  # a type alias, a text, a marker of pluggy's
CONTRACT = ast.parse(Path(l4proxy.__file__).read_text())


def names_of(path: Path) -> set[str]:
    """What a file imports from ``l4proxy`` itself."""
    return {
        alias.name
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.module == "l4proxy"
        for alias in node.names
    }


@pytest.mark.parametrize("name", l4proxy.__all__)
def test_a_name_is_there_and_says_what_it_is_for(name: str) -> None:
    value = getattr(l4proxy, name)
    if name not in NOT_OURS:
        assert name in sys.modules[value.__module__].__all__
        assert inspect.getdoc(value)


def test_the_list_is_what_type_checkers_see_and_what_is_imported() -> None:
    (checking,) = (node for node in CONTRACT.body if isinstance(node, ast.If) and node.orelse == [] and _imports(node))
    seen = {
        (alias.name, node.module) for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == set(l4proxy._MODULE_OF.items())
    assert sorted([*l4proxy._MODULE_OF, "__version__"]) == sorted(l4proxy.__all__)
    assert set(l4proxy.__all__) <= set(dir(l4proxy))


def _imports(node: ast.If) -> bool:
    return any(isinstance(child, ast.ImportFrom) for child in node.body)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'l4proxy' has no attribute 'Fliter'"):
        l4proxy.Fliter  # type: ignore[attr-defined]  # noqa: B018


def test_importing_l4proxy_imports_none_of_them() -> None:
    script = """
import sys, l4proxy
assert not [name for name in sys.modules if name.startswith("l4proxy.")]
from l4proxy import *
assert serve and Filter and histogram("x", buckets=(1,)) and l4proxy.histogram is histogram
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_name_has_an_example() -> None:
    shown = set().union(*map(names_of, EXAMPLES))
    assert set(l4proxy.__all__) - shown == set()
    assert shown <= set(l4proxy.__all__)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path) -> None:
    importlib.import_module(f"examples.{path.stem}").main()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_shows(path: Path) -> None:
    assert ast.get_docstring(parse(path))
    unused = [
        name
        for name in names_of(path)
        if not any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(parse(path)))
    ]
    assert unused == []
