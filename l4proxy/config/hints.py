"""From the type hint of an option to its shape."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

from l4proxy.config.scalars import SCALARS
from l4proxy.config.shapes import (
    Array,
    Choice,
    Field,
    Map,
    MatchShape,
    Scalar,
    Shape,
    Table,
    UnionShape,
    UseShape,
    member_for,
)
from l4proxy.config.text import join
from l4proxy.config.types import ClusterName, Plugin, Range
from l4proxy.errors import PluginError
from l4proxy.filter import NoConfig
from l4proxy.registry import Kind, options_of

__all__ = ["children", "options_shape", "shape_of", "table_of"]

_tables: dict[type[Any], Table] = {}


def shape_of(hint: Any) -> Shape:
    """Raises PluginError for a hint that a configuration cannot hold."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return _annotated(args[0], args[1:])
    if origin in (Union, types.UnionType):
        return UnionShape([shape_of(arg) for arg in args])
    if origin is Literal:
        return Choice({value: value for value in args})
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return Array(shape_of(args[0]), tuple)
    if origin in (list, frozenset):
        return Array(shape_of(args[0]), origin)
    if origin in (dict, Mapping) and args[0] in (str, ClusterName):
        return Map(shape_of(args[1]), SCALARS[args[0]])
    if hint in SCALARS:
        return SCALARS[hint]
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return Choice({member.value: member for member in hint})
        if hasattr(hint, "from_config"):
            name, example = getattr(hint, "shown_as", f"a {hint.__name__}"), getattr(hint, "example", "")
            return Scalar(name, "", hint, hint.from_config, str, example)
        if dataclasses.is_dataclass(hint):
            return table_of(hint)
    raise PluginError(f"an option cannot have the type {hint!r}")


def table_of(cls: type[Any]) -> Table:
    """The shape of a dataclass; the same object each time."""
    if cls not in _tables:
        _tables[cls] = Table(cls, partial(_fields, cls))
    return _tables[cls]


def options_shape(cls: type[Any]) -> Shape:
    """The shape of a plugin class's options: for most a table, for matchers also a plain value."""
    hint = options_of(cls) or NoConfig
    if isinstance(hint, ForwardRef):
        holder = type(cls.__name__, (), {"__annotations__": {"options": hint}, "__module__": cls.__module__})
        hint = _hints(holder)["options"]
    return shape_of(hint)


def children(shape: Shape, value: Any, path: str) -> Iterator[tuple[Shape, Any, str]]:
    """What stands directly in a loaded value, with paths."""
    match shape:
        case Table():
            for name, field in shape.fields.items():
                yield field.shape, getattr(value, name), join(path, name)
        case Array():
            for index, item in enumerate(value):
                yield shape.item, item, f"{path}[{index}]"
        case Map():
            for name, item in value.items():
                yield shape.key, name, join(path, name)
                yield shape.value, item, join(path, name)
        case UnionShape():
            yield member_for(shape, value), value, path
        case UseShape():
            yield options_shape(value.cls), value.config, path
        case MatchShape():
            for use in value:
                yield options_shape(use.cls), use.config, join(path, use.name)


def _annotated(hint: Any, notes: tuple[Any, ...]) -> Shape:
    for note in notes:
        if isinstance(note, Plugin):
            return MatchShape() if note.kind is Kind.MATCHER else UseShape(note)
    shape = shape_of(hint)
    for note in notes:
        if isinstance(note, Range) and isinstance(shape, Scalar):
            shape = shape.bounded(note)
    return shape


def _fields(cls: type[Any]) -> dict[str, Field]:
    hints = _hints(cls)
    fields = {}
    for field in dataclasses.fields(cls):
        if field.init:
            try:
                fields[field.name] = Field(shape_of(hints[field.name]), _default(field))
            except PluginError as error:
                raise PluginError(f"{cls.__module__}.{cls.__qualname__}.{field.name}: {error}") from None
    return fields


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _hints(cls: type[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise PluginError(
            f"{cls.__module__}.{cls.__qualname__}: the type {error.name!r} of an option cannot be found at run time"
            " (import it outside of TYPE_CHECKING, define it at module level)"
        ) from None
