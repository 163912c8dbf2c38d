"""The JSON Schema of the configuration (draft 2020-12), for editors: from the same shapes that read it.

A schema says less than the checks do: it knows forms, names and bounds, not how parts refer to each other. What it
refuses is refused by l4proxy, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from l4proxy.config.docs import field_docs, first_paragraph
from l4proxy.config.dump import dump_value
from l4proxy.config.hints import options_shape, table_of
from l4proxy.config.shapes import Array, Choice, Field, Map, MatchShape, Scalar, Shape, Table, UnionShape, UseShape
from l4proxy.config.types import Plugin
from l4proxy.registry import Kind

if TYPE_CHECKING:
    from l4proxy.registry import Registry

__all__ = ["json_schema"]

Schema = dict[str, Any]

_TYPES = {
    "text": "string",
    "integer": "integer",
    "float": "number",
    "boolean": "boolean",
    "null": "null",
    "table": "object",
}
_ENVIRONMENT: Schema = {
    "description": "Text with an environment variable in it.",
    "type": "string",
    "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
}


def json_schema(cls: type[Any], registry: Registry) -> Schema:
    """The schema of the dataclass ``cls``, with the options of every plugin in ``registry`` (all are imported)."""
    writer = _Writer(registry)
    top = writer.schema(table_of(cls))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "l4proxy configuration",
        **top,
        "$defs": {"environment": _ENVIRONMENT, **writer.definitions},
    }


class _Writer:
    """Tables and kinds of plugins become definitions, written once and then referred to."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.definitions: dict[str, Schema] = {}
        self._names: dict[type[Any], str] = {}

    def schema(self, shape: Shape) -> Schema:
        match shape:
            case Scalar():
                return _scalar(shape)
            case Choice():
                return _or_environment({"enum": list(shape.values)})
            case Array():
                return {"type": "array", "items": self.schema(shape.item)}
            case Map():
                return {"type": "object", "additionalProperties": self.schema(shape.value)}
            case UnionShape():
                return {"anyOf": [self.schema(member) for member in shape.members]}
            case Table():
                return self._table(shape)
            case UseShape():
                kind = f"{shape.plugin.protocol or ''} {shape.plugin.kind.value}".strip().replace(" ", "_")
                return self._definition(kind, lambda: self._uses(shape.plugin))
            case MatchShape():
                return self._definition("match", self._matchers)
        raise TypeError(f"unknown shape {shape}")

    def _table(self, table: Table) -> Schema:
        taken = {name for cls, name in self._names.items() if cls is not table.cls}
        cls = table.cls
        name = self._names.setdefault(
            cls, f"{cls.__module__}.{cls.__name__}" if cls.__name__ in taken else cls.__name__
        )
        reference = self._definition(name, lambda: self._object(cls, table.fields))
        if not table.short_form:
            return reference
        return {"anyOf": [self.schema(table.fields[table.short_form].shape), reference]}

    def _definition(self, name: str, write: Callable[[], Schema]) -> Schema:
        if name not in self.definitions:
            self.definitions[name] = {}  # known from now on: what it contains may refer to it
            self.definitions[name] = write()
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, cls: type[Any], fields: dict[str, Field]) -> Schema:
        docs = field_docs(cls)
        return {
            "description": first_paragraph(cls),
            "type": "object",
            "properties": {name: self._property(field, docs.get(name, "")) for name, field in fields.items()},
            "required": [name for name, field in fields.items() if field.default is dataclasses.MISSING],
            "additionalProperties": False,
        }

    def _property(self, field: Field, doc: str) -> Schema:
        schema = self.schema(field.shape)
        if doc:
            schema = {"description": doc, **schema}
        if field.default is not dataclasses.MISSING and field.default is not None:
            schema["default"] = dump_value(field.shape, field.default)
        return schema

    def _uses(self, plugin: Plugin) -> Schema:
        choices: list[Schema] = []
        for name in self.registry.names(plugin.kind, plugin.protocol):
            cls = self.registry.find(plugin.kind, name, plugin.protocol)
            options = options_shape(cls)
            if not isinstance(options, Table):
                continue
            table = self._object(options.cls, options.fields)
            if not table["required"]:
                choices.append({"description": first_paragraph(cls), "const": name})
            reserved: Schema = {"use": {"const": name}}
            if plugin.can_bypass:
                reserved["on_error"] = {"enum": ["close", "bypass"], "default": "close"}
            table["description"] = first_paragraph(cls)
            table["properties"] = reserved | table["properties"]
            table["required"] = ["use", *table["required"]]
            choices.append(table)
        return {"anyOf": choices} if choices else {"not": {}}

    def _matchers(self) -> Schema:
        properties: Schema = {}
        for name in self.registry.names(Kind.MATCHER):
            cls = self.registry.find(Kind.MATCHER, name)
            properties[name] = {"description": first_paragraph(cls), **self.schema(options_shape(cls))}
        return {"type": "object", "properties": properties, "additionalProperties": False}


def _scalar(shape: Scalar) -> Schema:
    if not shape.forms:
        return {}
    types = [_TYPES[form] for form in sorted(shape.forms, reverse=True)]
    schema: Schema = {"type": types if len(types) > 1 else types[0], **shape.json_schema}
    if shape.holds in (int, float) and "text" not in shape.forms:
        bounds = {"minimum": shape.bounds.min, "maximum": shape.bounds.max}
        schema |= {name: bound for name, bound in bounds.items() if bound is not None}
    plain_text = "text" in shape.forms and "pattern" not in shape.json_schema
    return schema if plain_text or shape.forms == {"null"} else _or_environment(schema)


def _or_environment(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"$ref": "#/$defs/environment"}]}
