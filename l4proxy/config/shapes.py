"""What can stand in a configuration, by shape.

Everything that has to understand the types of options goes by shapes: reading raw values, writing them back, checking,
the JSON Schema and the reference pages. ``hints`` makes them from type hints.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

from l4proxy.config.text import toml_text
from l4proxy.config.types import Plugin, Range, Use

__all__ = [
    "Array",
    "Choice",
    "Field",
    "Map",
    "MatchShape",
    "Scalar",
    "Shape",
    "Table",
    "UnionShape",
    "UseShape",
    "fits",
    "form_of",
    "member_for",
]

Form = Literal["text", "integer", "float", "boolean", "array", "table", "null", "object"]


def form_of(raw: object) -> Form:
    """What a raw value looks like in a file; ``"object"`` is what has no form of its own: dates, Python objects."""
    match raw:
        case str():
            return "text"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "float"
        case list() | tuple():
            return "array"
        case Mapping():
            return "table"
        case None:
            return "null"
    return "object"


class Shape:
    """``forms`` that a raw value may have, ``name`` of what is expected as errors say it, ``example`` in TOML."""

    forms: frozenset[Form]
    name: str
    example: str


class Scalar(Shape):
    """A value that is read and written as a whole.

    ``parse`` gets a raw value of one of ``forms`` (all forms, where that is empty) and raises ValueError; ``dump`` is
    its inverse. ``holds`` is the Python type of what it returns.
    """

    def __init__(
        self,
        name: str,
        forms: str,
        holds: type | tuple[type, ...],
        parse: Callable[..., Any],
        dump: Callable[[Any], Any],
        example: str = "",
        *,
        needs_folder: bool = False,
        **json_schema: object,
    ) -> None:
        self.name = name
        self.forms = frozenset(cast("list[Form]", forms.split()))
        self.holds = holds
        self.parse = parse
        self.dump = dump
        self.example = example
        self.json_schema = json_schema
        """What a JSON Schema says of it beside its type."""
        self.needs_folder = needs_folder
        """``parse`` also wants the folder that relative file names start from."""
        self.bounds = Range()

    def bounded(self, bounds: Range) -> Scalar:
        shape = copy.copy(self)
        shape.bounds = bounds
        return shape


class Choice(Shape):
    """One of a few values: a Literal, or an Enum by its members' values."""

    def __init__(self, values: Mapping[Any, Any]) -> None:
        self.values = values
        self.forms = frozenset(form_of(raw) for raw in values)
        self.name = " or ".join(toml_text(raw) for raw in values)
        self.example = toml_text(next(iter(values)))


class Array(Shape):
    def __init__(self, item: Shape, make: Callable[[list[Any]], Any]) -> None:
        self.item = item
        self.make = make
        self.forms = frozenset({"array"})
        self.name = "an array"
        self.example = f"[{item.example}]"


class Map(Shape):
    """A table with keys of the user's choice: any text, or the names of clusters."""

    def __init__(self, value: Shape, key: Scalar) -> None:
        self.value = value
        self.key = key
        self.forms = frozenset({"table"})
        self.name = "a table"
        self.example = f"{{ name = {value.example} }}"


class UnionShape(Shape):
    """The members are tried in order, those first whose form is that of the raw value."""

    def __init__(self, members: list[Shape]) -> None:
        self.members = members
        self.forms = frozenset().union(*(member.forms for member in members))
        self.name = " or ".join(member.name for member in self.shown)
        self.example = self.shown[0].example

    @property
    def shown(self) -> list[Shape]:
        """The members that people are told of: None is what an option is that is left out."""
        return [member for member in self.members if member.forms != {"null"}]


class UseShape(Shape):
    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.forms = frozenset({"text", "table"})
        self.name = f"a {plugin.kind.value}".replace("a access", "an access")
        self.example = '{ use = "NAME" }'


class MatchShape(Shape):
    def __init__(self) -> None:
        self.forms = frozenset({"table"})
        self.name = "a table of conditions"
        self.example = '{ source = ["10.0.0.0/8"] }'


class Field(NamedTuple):
    """A key of a table. ``default`` is ``dataclasses.MISSING`` where it has to be given."""

    shape: Shape
    default: Any


class Table(Shape):
    """A dataclass. One whose class says ``short_form = "FIELD"`` can also be written as that field's value alone; one
    that says ``example = "{ ... }"`` is shown so in reference pages."""

    name = "a table"
    forms = frozenset({"table"})

    def __init__(self, cls: type[Any], resolve: Callable[[], dict[str, Field]]) -> None:
        self.cls = cls
        self._resolve = resolve
        self.short_form = _class_text(cls, "short_form")
        self.example = _class_text(cls, "example") or "{ ... }"
        if self.short_form:
            short = self.fields[self.short_form].shape
            self.name = f"{short.name} or a table"
            self.example = short.example
            self.forms |= short.forms

    @cached_property
    def fields(self) -> dict[str, Field]:
        """By name, in order. Resolved when first asked for, because tables may contain themselves."""
        return self._resolve()


def _class_text(cls: type[Any], name: str) -> str:
    """What a dataclass says of itself, in a class variable; a field of that name is something else."""
    value = getattr(cls, name, "")
    return value if isinstance(value, str) and all(field.name != name for field in dataclasses.fields(cls)) else ""


def fits(shape: Shape, value: object) -> bool:
    """Can ``value`` be what ``shape`` has read? Tells the members of a union apart."""
    match shape:
        case Scalar():
            return isinstance(value, shape.holds)
        case Choice():
            return value in shape.values.values()
        case Array():
            return isinstance(value, list | tuple | frozenset)
        case Map():
            return isinstance(value, Mapping)
        case Table():
            return isinstance(value, shape.cls)
        case UseShape():
            return isinstance(value, Use)
        case UnionShape():
            return any(fits(member, value) for member in shape.members)
    return isinstance(value, tuple)


def member_for(shape: UnionShape, value: object) -> Shape:
    return next((member for member in shape.members if fits(member, value)), shape.members[0])
