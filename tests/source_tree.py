"""The repository as files, for the tests that hold its shape."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "imports", "module_name", "modules", "parse"]

ROOT = Path(__file__).resolve().parent.parent
# Where the packages lie. The order matters to `module_name` alone.
PACKAGES = {"l4proxy.plugins": ROOT / "plugins", "l4proxy.protocols": ROOT / "protocols", "l4proxy": ROOT / "l4proxy"}


def modules(package: str) -> list[Path]:
    """Every Python file of ``l4proxy`` (the core alone), ``l4proxy.plugins`` or ``l4proxy.protocols``.

    ``Path.rglob`` does not go through the symlinks inside ``l4proxy/``, so that each file comes once.
    """
    return sorted(PACKAGES[package].rglob("*.py"))


def module_name(path: Path) -> str:
    """``plugins/echo.py`` is ``l4proxy.plugins.echo``; an ``__init__.py`` has the name of its package."""
    for package, directory in PACKAGES.items():
        if path.is_relative_to(directory):
            parts = path.relative_to(directory).with_suffix("").parts
            return ".".join([package, *parts]).removesuffix(".__init__")
    raise ValueError(f"{path} is in no package")


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def imports(path: Path, *, on_import: bool = False) -> set[str]:
    """The modules that a file imports. ``from a.b import c`` counts as ``a.b`` and ``a.b.c``, since ``c`` may be one.

    With ``on_import`` only those that importing it runs: none in functions or for type checkers.
    """
    found: set[str] = set()
    for node in _statements(parse(path), on_import=on_import):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(path, node)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def _statements(node: ast.AST, *, on_import: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if on_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if on_import and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _statements(child, on_import=on_import)


def _base(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])
