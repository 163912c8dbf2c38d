"""The documentation of options: the text that stands under each field of a dataclass.

Python keeps no such text, so it is read from the source, when a reference page or a schema is asked for.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["field_docs", "first_paragraph", "summary"]


def summary(cls: type[Any]) -> str:
    """The docstring of a class, or nothing where nobody wrote one (what ``dataclass`` makes up does not count)."""
    doc = cls.__dict__.get("__doc__") or ""
    return "" if doc.startswith(f"{cls.__name__}(") else inspect.cleandoc(doc)


def first_paragraph(cls: type[Any]) -> str:
    """The docstring's first paragraph, on one line."""
    return " ".join(summary(cls).partition("\n\n")[0].split())


def field_docs(cls: type[Any]) -> dict[str, str]:
    """The text under each field, on one line. Inherited fields are there; what has no source or no text is not."""
    docs: dict[str, str] = {}
    for klass in reversed(cls.__mro__):
        file = getattr(sys.modules.get(klass.__module__), "__file__", None)
        docs |= _classes_in(file).get(klass.__qualname__, {}) if file else {}
    return docs


@cache
def _classes_in(file: str) -> dict[str, dict[str, str]]:
    """The field documentation of every class in a source file, by qualified name."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    return dict(_find_classes(tree, ""))


def _find_classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.ClassDef(name=name):
                yield f"{prefix}{name}", dict(_documented_fields(child))
                yield from _find_classes(child, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from _find_classes(child, f"{prefix}{name}.<locals>.")
            case _:
                yield from _find_classes(child, prefix)


def _documented_fields(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                yield name, " ".join(doc.split())
