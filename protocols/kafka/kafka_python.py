"""kafka-python's message classes, as plain data: the only module that knows them, for their interface is not promised.

kafka-python generates an encoder and a decoder for each message and version from Kafka's own definitions, with the
protocol's default values. Its objects become dicts by our declarations, and are made of them; what it calls or holds in
another way (operations that are authorized, UUIDs) is translated here. It reads versions that Kafka has dropped, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import kafka.protocol.admin
import kafka.protocol.consumer
import kafka.protocol.metadata
import kafka.protocol.producer
import kafka.protocol.sasl  # noqa: F401
from kafka.protocol.api_message import ApiMessage

from l4proxy.protocols.kafka.plain import UNKNOWN_TAGS
from l4proxy.protocols.kafka.schema import Field, Schema

__all__ = ["decode", "encode", "newest"]

_OPERATIONS = "authorized_operations"
"""What kafka-python calls most of the fields that end so; they are sets of bits there."""
_NO_OPERATIONS = -(1 << 31)
"""Kafka's "nobody asked which operations are authorized"."""


def _classes(base: Any) -> Iterator[tuple[tuple[int, str], Any]]:
    for cls in base.__subclasses__():
        if cls._class_version is None:
            yield (cls.API_KEY, cls.type), cls
        yield from _classes(cls)


_CLASSES: dict[tuple[int, str], Any] = dict(_classes(ApiMessage))


def newest(key: int) -> int:
    """The newest version of an API that kafka-python has; -1 where it has none."""
    cls = _CLASSES.get((key, "request"))
    return -1 if cls is None else int(cls.max_version)


def decode(key: int, kind: str, schema: Schema, version: int, body: bytes) -> tuple[dict[str, Any], int]:
    """A ``request`` or ``response`` as plain data, and its size in bytes. Raises whatever kafka-python runs into."""
    cls = _CLASSES[key, kind]
    flexible = schema.is_flexible(version)
    # Its own ``decode`` takes messages that are too long or too short, and does not say how far it came.
    read = cls._struct.compiled_decode_from(version, compact=flexible, tagged=flexible, data_class=cls)
    message, pos = read(memoryview(body), 0)
    return _plain(schema.fields, version, message), pos


def encode(key: int, kind: str, schema: Schema, version: int, values: Mapping[str, Any]) -> bytes:
    """The bytes of a message without its header. Raises whatever kafka-python runs into."""
    cls = _CLASSES[key, kind]
    message = _native(cls, schema.fields, version, values)
    message._header = None  # encode() looks for it
    return bytes(message.encode())


def _plain(fields: tuple[Field, ...], version: int, message: Any) -> dict[str, Any]:
    theirs = type(message)._struct.fields
    values = {
        field.name: _plain_value(field, version, getattr(message, _their_name(field, theirs)))
        for field in fields
        if field.exists(version) and (field.tag is None or field.name in (message.tags or ()))
    }
    if message.unknown_tags:
        values[UNKNOWN_TAGS] = {int(name.lstrip("_")): bytes(data) for name, data in message.unknown_tags.items()}
    return values


def _plain_value(field: Field, version: int, value: Any) -> Any:
    if field.array and isinstance(value, list):
        return [_plain_value(field, version, element) for element in value]
    if field.type == "struct" and value is not None:
        return _plain(field.fields, version, value)
    if field.type == "uuid":
        return bytes(16) if value is None else value.bytes
    if field.name.endswith(_OPERATIONS) and not isinstance(value, int):
        return _NO_OPERATIONS if value is None else _signed(sum(1 << bit for bit in value))
    return value


def _native(cls: Any, fields: tuple[Field, ...], version: int, values: Mapping[str, Any]) -> Any:
    there = {field.name: field for field in fields if field.exists(version)}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name == UNKNOWN_TAGS:
            raise LookupError("kafka-python does not encode tags that it does not know")
        field = there.get(name)
        if field is None:
            raise LookupError(f"version {version} has no field {name}")
        name = _their_name(field, cls._struct.fields)
        given[name] = _native_value(cls._struct.fields[name], field, version, value)
    return cls(version=version, **given)


def _native_value(theirs: Any, field: Field, version: int, value: Any) -> Any:
    if value is None:
        return None
    if field.type == "struct":
        cls = theirs.data_class
        if field.array:
            return [_native(cls, field.fields, version, element) for element in value]
        return _native(cls, field.fields, version, value)
    if field.type == "uuid":
        return [UUID(bytes=element) for element in value] if field.array else UUID(bytes=value)
    if theirs.name == _OPERATIONS:
        return None if value == _NO_OPERATIONS else {bit for bit in range(32) if value >> bit & 1}
    return value


def _their_name(field: Field, theirs: Mapping[str, Any]) -> str:
    return field.name if field.name in theirs else _OPERATIONS


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value
