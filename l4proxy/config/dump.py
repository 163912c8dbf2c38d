"""From a loaded configuration back to plain data: what ``/config_dump`` shows, and what a file could say."""

from __future__ import annotations

from enum import Enum
from typing import Any

from l4proxy.config.hints import options_shape, table_of
from l4proxy.config.shapes import Array, Choice, Map, MatchShape, Scalar, Shape, Table, UnionShape, UseShape, member_for
from l4proxy.config.types import Use

__all__ = ["dump", "dump_value"]


def dump(config: Any) -> dict[str, Any]:
    """Return a dataclass as tables, arrays and scalars, with defaults, without what is None. Secrets are ``****``."""
    tables: dict[str, Any] = dump_value(table_of(type(config)), config)
    return tables


def dump_value(shape: Shape, value: Any) -> Any:
    match shape:
        case Scalar():
            return shape.dump(value)
        case Choice():
            return value.value if isinstance(value, Enum) else value
        case Array():
            return [dump_value(shape.item, item) for item in value]
        case Map():
            return {name: dump_value(shape.value, item) for name, item in value.items()}
        case Table():
            given = {name: (field.shape, getattr(value, name)) for name, field in shape.fields.items()}
            return {name: dump_value(*pair) for name, pair in given.items() if pair[1] is not None}
        case UnionShape():
            return dump_value(member_for(shape, value), value)
        case UseShape() if value.cls is None:
            return value.name
        case UseShape():
            on_error = {"on_error": value.on_error} if value.on_error != "close" else {}
            return {"use": value.name, **on_error, **_options(value)}
        case MatchShape():
            return {use.name: _options(use) for use in value}
    raise TypeError(f"unknown shape {shape}")


def _options(use: Use) -> Any:
    return dump_value(options_shape(use.cls), use.config)
