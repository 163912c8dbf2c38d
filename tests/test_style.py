"""House rules that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from source_tree import PACKAGES, ROOT, modules, parse


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for package in PACKAGES for path in modules(package)], ids=relative)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parse(path))
