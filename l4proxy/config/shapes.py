"""What a type hint means in a configuration.

``shape_of`` turns a field's hint into a shape, once. Everything that has to understand hints goes by shapes: reading
raw values, writing them back, checking, the JSON Schema and the reference pages. A further scalar type is one more
entry of ``_SCALARS``; a class of one's own needs nothing here, only a classmethod ``from_config(raw)`` that raises
ValueError, and a ``__str__``.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, NamedTuple, Union, get_args, get_origin

from l4proxy.address import Address
from l4proxy.config import types as words
from l4proxy.config.types import Plugin, Range, Use
from l4proxy.errors import PluginError
from l4proxy.filter import NoConfig
from l4proxy.registry import Kind, options_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "CLUSTER_NAME",
    "NOTHING",
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
    "children",
    "fits",
    "form_of",
    "join",
    "member_for",
    "options_shape",
    "shape_of",
    "table_of",
    "toml_text",
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


def join(path: str, key: str) -> str:
    """The path of ``key`` in the table at ``path``: ``listeners[0].name``."""
    bare = key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()
    step = key if bare else toml_text(key)
    return f"{path}.{step}" if path else step


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
        self.forms = frozenset(typing.cast("list[Form]", forms.split()))
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
    """A table with keys of the user's choice."""

    def __init__(self, value: Shape) -> None:
        self.value = value
        self.forms = frozenset({"table"})
        self.name = "a table"
        self.example = f"{{ name = {value.example} }}"


class UnionShape(Shape):
    """The members are tried in order, those first whose form is that of the raw value."""

    def __init__(self, members: list[Shape]) -> None:
        self.members = members
        self.forms = frozenset().union(*(member.forms for member in members))
        shown = [member for member in members if member is not NOTHING]
        self.name = " or ".join(member.name for member in shown)
        self.example = shown[0].example


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

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.short_form = _class_text(cls, "short_form")
        self.example = _class_text(cls, "example") or "{ ... }"
        if self.short_form:
            short = self.fields[self.short_form].shape
            self.name = f"{short.name} or a table"
            self.example = short.example
            self.forms |= short.forms

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Resolved when first asked for, because tables may contain themselves."""
        hints = _hints(self.cls)
        return {f.name: Field(shape_of(hints[f.name]), _default(f)) for f in dataclasses.fields(self.cls) if f.init}


def _class_text(cls: type[Any], name: str) -> str:
    """What a dataclass says of itself, in a class variable; a field of that name is something else."""
    value = getattr(cls, name, "")
    return value if isinstance(value, str) and all(field.name != name for field in dataclasses.fields(cls)) else ""


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
    if origin in (dict, Mapping) and args[0] is str:
        return Map(shape_of(args[1]))
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return Choice({member.value: member for member in hint})
        if hasattr(hint, "from_config"):
            return Scalar(f"a {hint.__name__}", "", hint, hint.from_config, str)
        if dataclasses.is_dataclass(hint):
            return table_of(hint)
    raise PluginError(f"an option cannot have the type {hint!r}")


_tables: dict[type[Any], Table] = {}


def table_of(cls: type[Any]) -> Table:
    if cls not in _tables:
        _tables[cls] = Table(cls)
    return _tables[cls]


def _annotated(hint: Any, notes: tuple[Any, ...]) -> Shape:
    for note in notes:
        if isinstance(note, Plugin):
            return MatchShape() if note.kind is Kind.MATCHER else UseShape(note)
    shape = shape_of(hint)
    for note in notes:
        if isinstance(note, Range) and isinstance(shape, Scalar):
            shape = shape.bounded(note)
    return shape


def options_shape(cls: type[Any]) -> Shape:
    """The shape of a plugin class's options: for most a table, for matchers also a plain value."""
    hint = options_of(cls) or NoConfig
    if isinstance(hint, ForwardRef):
        holder = type(cls.__name__, (), {"__annotations__": {"options": hint}, "__module__": cls.__module__})
        hint = _hints(holder)["options"]
    return shape_of(hint)


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
                yield shape.value, item, join(path, name)
        case UnionShape():
            yield member_for(shape, value), value, path
        case UseShape():
            yield options_shape(value.cls), value.config, path
        case MatchShape():
            for use in value:
                yield options_shape(use.cls), use.config, join(path, use.name)


def _itself(value: Any) -> Any:
    return value


def _finite(raw: float) -> float:
    if not -1e300 < raw < 1e300:
        raise ValueError(f"{raw} is not a number that can be used here")
    return float(raw)


def toml_text(value: object) -> str:
    """A plain value as it is written in TOML, on one line."""
    match value:
        case str():
            return f'"{"".join(map(_escaped, value))}"'
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(toml_text, value))}]"
        case dict():
            pairs = [f"{join('', key)} = {toml_text(item)}" for key, item in value.items()]
            return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    return str(value)


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _file_path(raw: str, folder: Path) -> str:
    if not raw:
        raise ValueError("an empty text is not the name of a file")
    return str(folder / raw)


_SIZE = r"[0-9.]+ ?([kKMGT]i?)?B"
_SCALARS: dict[Any, Scalar] = {
    Any: Scalar("a value", "", object, _itself, _itself, "..."),
    type(None): Scalar("null", "null", type(None), _itself, _itself),
    str: Scalar("text", "text", str, str, _itself, '"..."'),
    bool: Scalar("true or false", "boolean", bool, _itself, _itself, "true"),
    int: Scalar("a whole number", "integer", int, _itself, _itself, "5"),
    float: Scalar("a number", "integer float", float, _finite, _itself, "0.5"),
    Address: Scalar("an address", "text", Address, Address.parse, str, '"127.0.0.1:8080"', pattern=":"),
    words.ClusterName: Scalar("the name of a cluster", "text", str, str, _itself, '"backend"'),
    words.Duration: Scalar(
        "a duration", "text integer float", float, words.parse_duration, words.format_duration, '"5s"',
        pattern=r"^([0-9.]+(ms|[smhd]))+$", minimum=0, maximum=0,
    ),
    words.FilePath: Scalar("a file name", "text", str, _file_path, _itself, '"cert.pem"', needs_folder=True),
    words.Network: Scalar(
        "a network", "text", object, words.parse_network, str, '"10.0.0.0/8"', pattern="^[0-9a-fA-F.:/]+$"
    ),
    words.Percent: Scalar(
        "a percentage", "text integer float", float, words.parse_percent, words.format_percent, '"12.5%"',
        pattern="^[0-9.]+%?$", minimum=0, maximum=100,
    ),
    words.PortRange: Scalar(
        "a port or a range of ports", "text integer", words.PortRange, words.PortRange.from_config, str, '"8000-8999"',
        pattern="^[0-9]+(-[0-9]+)?$", minimum=0, maximum=65535,
    ),
    words.Rate: Scalar("a rate", "text", int, words.parse_rate, words.format_rate, '"10MiB/s"', pattern=f"^{_SIZE}/s$"),
    words.Secret: Scalar(
        "a secret", "text table", words.Secret, words.Secret.read, repr, '{ env = "TOKEN" }', needs_folder=True,
        properties={"file": {"type": "string"}, "env": {"type": "string"}}, minProperties=1, maxProperties=1,
        additionalProperties=False,
    ),
    words.Size: Scalar(
        "a size", "text integer", int, words.parse_size, words.format_size, '"64KiB"', pattern=f"^{_SIZE}$", minimum=0
    ),
}  # fmt: skip

CLUSTER_NAME = _SCALARS[words.ClusterName]
NOTHING = _SCALARS[type(None)]
