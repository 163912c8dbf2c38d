"""The page that ``l4proxy explain NAME`` prints: what a plugin, or a part of the configuration, is for; its options."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from l4proxy.config.docs import field_docs, summary
from l4proxy.config.dump import dump_value
from l4proxy.config.hints import options_shape, table_of
from l4proxy.config.shapes import Array, Field, Map, Scalar, Shape, Table, UnionShape
from l4proxy.config.text import toml_text
from l4proxy.config.types import Range
from l4proxy.config.wording import bounds_text
from l4proxy.registry import Kind

__all__ = ["reference", "tables_of"]

WIDTH = 100

_PLACES = {
    Kind.FILTER: "filters = [{}]",
    Kind.MESSAGE_FILTER: "filters = [{}]",
    Kind.PREAMBLE: "preambles = [{}]",
    Kind.LOAD_BALANCER: "load_balancer = {}",
    Kind.DISCOVERY: "discovery = {}",
    Kind.HEALTH_CHECK: "health_check = {}",
    Kind.ACCESS_LOGGER: "access_log = [{}]",
    Kind.STATS_SINK: "stats_sinks = [{}]",
}


def reference(cls: type[Any], kind: Kind | None = None, *, title: str = "") -> str:
    """The page of a registered class of ``kind``, or of a dataclass of the schema where ``kind`` is None."""
    shape = options_shape(cls) if kind else table_of(cls)
    title = title or (f"{cls.name} ({kind.value})" if kind else cls.__name__)
    parts = [title, *_paragraphs(summary(cls))]
    if isinstance(shape, Table):
        if kind:
            parts.append("    " + _PLACES[kind].format(_use(cls.name, shape)))
        parts += _options(shape)
        parts += [part for name, table in _tables_in(shape, {shape.cls}) for part in (f"In {name}:", *_options(table))]
    else:
        parts.append(f"    match = {{ {cls.name} = {_example(shape)} }}")
        parts.append(f"Its value is {_type_text(shape)}.")
        parts += [part for table in tables_of(shape) for part in ("In the table:", *_options(table))]
    return "\n\n".join(parts) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    """Prose is filled; what is indented (an example) stays as it is."""
    for paragraph in text.split("\n\n"):
        if paragraph:
            yield paragraph if paragraph[0].isspace() else textwrap.fill(paragraph, WIDTH)


def _use(name: str, options: Table) -> str:
    needed = _needed(options)
    try:
        if not needed:
            options.cls()
    except ValueError:  # one of several options is needed, and then the first one is the usual one
        needed = dict(list(options.fields.items())[:1])
    pairs = "".join(f", {key} = {_example(field.shape)}" for key, field in needed.items())
    return f'{{ use = "{name}"{pairs} }}' if pairs else f'"{name}"'


def _needed(table: Table) -> dict[str, Field]:
    return {name: field for name, field in table.fields.items() if _is_required(field)}


def _example(shape: Shape) -> str:
    match shape:
        case Table(example="{ ... }"):
            needed = [f"{name} = {_example(field.shape)}" for name, field in _needed(shape).items()]
            return f"{{ {', '.join(needed)} }}" if needed else "{}"
        case Array():
            return f"[{_example(shape.item)}]"
        case UnionShape():
            return _example(shape.shown[0])
    return shape.example


def _options(table: Table) -> Iterator[str]:
    """A line of TOML for each option, what may stand there, and what it is for."""
    docs = field_docs(table.cls)
    for name, field in table.fields.items():
        default = (
            "" if _is_required(field) or field.default is None else toml_text(dump_value(field.shape, field.default))
        )
        given = "required" if _is_required(field) else f"default {default}" if default else "may be left out"
        example = default if default not in ("", '""', "[]", "{}") else _example(field.shape)
        lines = [f"  {name} = {example}", f"      {_type_text(field.shape)}; {given}"]
        if name in docs:
            lines.append(textwrap.fill(docs[name], WIDTH, initial_indent="      ", subsequent_indent="      "))
        yield "\n".join(lines)
    if not table.fields:
        yield "  It has no options."


def _is_required(field: Field) -> bool:
    return field.default is dataclasses.MISSING


def _type_text(shape: Shape) -> str:
    match shape:
        case Scalar() if shape.bounds != Range():
            return f"{shape.name}, {bounds_text(shape)}"
        case Array():
            return f"an array (of items each {_type_text(shape.item)})"
        case Map():
            return f"a table (of values each {_type_text(shape.value)})"
        case UnionShape():
            return " or ".join(_type_text(member) for member in shape.shown)
    return shape.name


def _tables_in(table: Table, seen: set[type[Any]], path: str = "") -> Iterator[tuple[str, Table]]:
    """The tables that can stand in options, each once, with the name of the option."""
    for name, field in table.fields.items():
        for inner in tables_of(field.shape):
            if inner.cls not in seen:
                seen.add(inner.cls)
                yield f"{path}{name}", inner
                yield from _tables_in(inner, seen, f"{path}{name}.")


def tables_of(shape: Shape) -> Iterator[Table]:
    """The tables that a value of this shape can consist of, those inside them left out."""
    match shape:
        case Table():
            yield shape
        case Array():
            yield from tables_of(shape.item)
        case Map():
            yield from tables_of(shape.value)
        case UnionShape():
            for member in shape.members:
                yield from tables_of(member)
