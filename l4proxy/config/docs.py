"""The documentation of options: the text that stands under each field of a dataclass.

Python keeps no such text, so it is read from the source, when a reference page or a schema is asked for.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
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
        if klass.__module__ != "builtins":
            docs |= _own_field_docs(klass)
    return docs


def _own_field_docs(cls: type[Any]) -> dict[str, str]:
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    docs = {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for field, text in pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                docs[name] = " ".join(doc.split())
    return docs
