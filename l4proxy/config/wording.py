"""How errors speak of shapes and of what was found instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l4proxy.config.shapes import Array, Scalar, Shape, Table, UnionShape, form_of, toml_text

__all__ = ["bounds_text", "expectation", "unexpected"]


def expectation(shape: Shape) -> str:
    """``a duration, such as "5s"``"""
    if not shape.example or "..." in shape.example or shape.example in shape.name:
        return shape.name
    return f"{shape.name}, such as {shape.example}"


def unexpected(shape: Shape, raw: Any) -> str:
    """What is said of a raw value of the wrong form."""
    return f"expected {expectation(shape)}, found {_found(raw)}{_hint(shape, raw)}"


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
    if isinstance(shape, UnionShape):
        return ""
    if isinstance(shape, Array):
        if isinstance(raw, Mapping) and "table" in shape.item.forms:
            return " (an array of tables has headers in double brackets: [[...]])"
        if form_of(raw) in shape.item.forms:
            return f" (write [{toml_text(raw)}])"
    if isinstance(shape, Table) and isinstance(raw, list):
        return " (the header of a single table is in single brackets: [...])"
    if shape.forms == {"text"} and isinstance(raw, int | float):
        return f" (write {toml_text(str(raw).lower())})"
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
