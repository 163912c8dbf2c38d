"""How errors speak of shapes and of what was found instead."""

from __future__ import annotations

from typing import Any

from l4proxy.config.shapes import Array, Choice, Scalar, Shape, Table, UnionShape, form_of
from l4proxy.config.text import toml_text

__all__ = ["bounds_text", "expectation", "unexpected"]


def expectation(shape: Shape) -> str:
    """``a duration, such as "5s"``"""
    if not shape.example or "..." in shape.example or shape.example in shape.name:
        return shape.name
    return f"{shape.name}, such as {shape.example}"


def unexpected(shape: Shape, raw: Any) -> str:
    """What is said of a raw value of the wrong form."""
    found = "something else" if shape.name == "a secret" else _found(raw)
    return f"expected {expectation(shape)}, found {found}{_hint(shape, raw)}"


def bounds_text(shape: Scalar) -> str:
    """``from 1 to 65535``"""
    low, high = (None if bound is None else shape.dump(bound) for bound in (shape.bounds.min, shape.bounds.max))
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"from {low} to {high}"


def _found(raw: Any) -> str:
    match form_of(raw):
        case "text":
            return f'"{raw}"' if len(raw) <= 40 else f'"{raw[:37]}..."'
        case "integer" | "float":
            return f"the number {raw}"
        case "boolean":
            return str(raw).lower()
        case "array":
            return "an array"
        case "table":
            return "a table"
        case "null":
            return "null"
    name = type(raw).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _hint(shape: Shape, raw: Any) -> str:
    """How the same value would be written rightly, where that is clear."""
    form = form_of(raw)
    match shape:
        case UnionShape():
            return _hint(shape.shown[0], raw) if len(shape.shown) == 1 else ""
        case Array() if form == "table" and "table" in shape.item.forms:
            return " (write [{ ... }], or a header in double brackets)"
        case Array() if form in shape.item.forms:
            return f" (write [{toml_text(raw)}])"
        case Table() if form == "array":
            return " (write { ... }, or a header in single brackets)"
        case Scalar() if shape.name == "text" and form in ("integer", "float", "boolean"):
            return f" (write {toml_text(toml_text(raw))})"
        case Choice() if str(raw) in shape.values:
            return f' (write "{raw}")'
    if isinstance(raw, str) and _reads_as(raw, shape):
        return f" (write {raw}, without quotes)"
    return ""


def _reads_as(raw: str, shape: Shape) -> bool:
    if "boolean" in shape.forms:
        return raw in ("true", "false")
    digits = raw.removeprefix("-")
    return ("integer" in shape.forms and digits.isdigit()) or (
        "float" in shape.forms and digits.replace(".", "", 1).isdigit()
    )
