"""Messages as plain data and back, by their declarations: slow, whole and short.

What a walker does in one flat function this does field by field, for all fields. It is for what is rare: showing a
message to people, making one of an API that kafka-python does not know. Tests hold walkers and kafka-python against it.

A structure is a dict of the fields that its version has, an array a list, a string a str (with surrogates for what is
not UTF-8), ``bytes``, ``records`` and ``uuid`` are bytes. Tagged fields are there when they are on the wire; those that
are not declared are in ``_tags``, by number.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.schema import FIXED, Field, Schema
from l4proxy.protocols.kafka.wire import Unreadable, decode_uvarint, encode_uvarint, negative

__all__ = ["UNKNOWN_TAGS", "decode", "encode", "request"]

UNKNOWN_TAGS = "_tags"


def decode(schema: Schema, version: int, data: bytes, pos: int = 0) -> dict[str, Any]:
    """Decode ``data`` from ``pos`` to its end. Raises what `wire.UNREADABLE` names."""
    reader = _Reader(data, pos, version, schema.is_flexible(version))
    values = reader.struct(schema.fields, tags=schema.whole)
    if reader.pos > len(data) or (schema.whole and reader.pos < len(data)):
        raise Unreadable(f"the message ends at {reader.pos}, its bytes at {len(data)}", code="truncated")
    return values


def encode(schema: Schema, version: int, values: Mapping[str, Any]) -> bytes:
    """Encode; a field that is not among ``values`` is 0, empty, or null where it may be. Raises LookupError for a
    field that this version has not."""
    return _struct(schema.fields, version, schema.is_flexible(version), values, tags=schema.whole)


def request(
    api: Api, version: int, values: Mapping[str, Any], correlation_id: int = 0, client_id: bytes = b"l4proxy"
) -> bytes:
    """A whole frame, of a version whose header has no tagged fields: what the proxy asks a broker itself."""
    head = struct.pack(">hhih", api.key, version, correlation_id, len(client_id)) + client_id
    body = encode(api.request, version, values)
    return struct.pack(">i", len(head) + len(body)) + head + body


class _Reader:
    def __init__(self, data: bytes, pos: int, version: int, flexible: bool) -> None:
        self.data = data
        self.pos = pos
        self._version = version
        self._flexible = flexible

    def _take(self, size: int) -> bytes:
        self.pos += size
        if self.pos > len(self.data):
            raise Unreadable("the message ends within a field", code="truncated")
        return self.data[self.pos - size : self.pos]

    def _number(self, format: str) -> Any:
        return struct.unpack(f">{format}", self._take(struct.calcsize(f">{format}")))[0]

    def _uvarint(self) -> int:
        value, self.pos = decode_uvarint(self.data, self.pos)
        return value

    def _length(self, format: str) -> int | None:
        """None is null."""
        size: int = self._uvarint() - 1 if self._flexible else self._number(format)
        if size >= 0:
            return size
        negative(size)
        return None

    def struct(self, fields: tuple[Field, ...], *, tags: bool = True) -> dict[str, Any]:
        there = [field for field in fields if field.exists(self._version)]
        values = {field.name: self._field(field) for field in there if field.tag is None}
        if self._flexible and tags:
            tagged = {field.tag: field for field in there if field.tag is not None}
            for _ in range(self._uvarint()):
                tag, size = self._uvarint(), self._uvarint()
                stop = self.pos + size
                if tag in tagged:
                    values[tagged[tag].name] = self._field(tagged[tag])
                else:
                    values.setdefault(UNKNOWN_TAGS, {})[tag] = self._take(size)
                if self.pos != stop:
                    raise Unreadable(f"tag {tag} ends at {self.pos}, not at {stop}", code="trailing_bytes")
        return values

    def _field(self, field: Field) -> Any:
        if not field.array:
            return self._single(field)
        size = self._length("i")
        return None if size is None else [self._element(field) for _ in range(size)]

    def _element(self, field: Field) -> Any:
        return self.struct(field.fields) if field.type == "struct" else self._single(field)

    def _single(self, field: Field) -> Any:
        if field.type in FIXED:
            return self._number(FIXED[field.type])
        if field.type == "struct":
            return None if field.nullable and self._number("b") < 0 else self.struct(field.fields)
        size = self._length("h" if field.type == "string" else "i")
        if size is None:
            return None
        taken = self._take(size)
        return taken.decode(errors="surrogateescape") if field.type == "string" else taken


def _struct(
    fields: tuple[Field, ...], version: int, flexible: bool, values: Mapping[str, Any], *, tags: bool = True
) -> bytes:
    there = [field for field in fields if field.exists(version)]
    if strangers := values.keys() - {field.name for field in there} - {UNKNOWN_TAGS}:
        raise LookupError(f"version {version} has no field {', '.join(sorted(strangers))}")
    out = [_field(field, version, flexible, values.get(field.name)) for field in there if field.tag is None]
    if flexible and tags:
        tagged: dict[int, bytes] = dict(values.get(UNKNOWN_TAGS, {}))
        for field in there:
            if field.tag is not None and field.name in values:
                tagged[field.tag] = _field(field, version, flexible, values[field.name])
        out.append(encode_uvarint(len(tagged)))
        for tag, content in sorted(tagged.items()):
            out += [encode_uvarint(tag), encode_uvarint(len(content)), content]
    return b"".join(out)


def _length(size: int | None, format: str, flexible: bool) -> bytes:
    if flexible:
        return encode_uvarint(0 if size is None else size + 1)
    return struct.pack(f">{format}", -1 if size is None else size)


def _field(field: Field, version: int, flexible: bool, value: Any) -> bytes:
    if not field.array:
        return _single(field, version, flexible, value)
    if value is None:
        return _length(None if field.nullable else 0, "i", flexible)
    elements = [
        _struct(field.fields, version, flexible, element)
        if field.type == "struct"
        else _single(field, version, flexible, element)
        for element in value
    ]
    return _length(len(elements), "i", flexible) + b"".join(elements)


def _single(field: Field, version: int, flexible: bool, value: Any) -> bytes:
    if field.type in FIXED:
        return struct.pack(
            f">{FIXED[field.type]}", (bytes(16) if field.type == "uuid" else 0) if value is None else value
        )
    if field.type == "struct":
        if field.nullable and value is None:
            return b"\xff"
        return (b"\x01" if field.nullable else b"") + _struct(field.fields, version, flexible, value or {})
    format = "h" if field.type == "string" else "i"
    if value is None:
        return _length(None if field.nullable else 0, format, flexible)
    content = value.encode(errors="surrogateescape") if isinstance(value, str) else bytes(value)
    return _length(len(content), format, flexible) + content
