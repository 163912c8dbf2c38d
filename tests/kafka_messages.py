"""Kafka messages for tests: made up by hypothesis from the declarations, and record batches by hand."""

from __future__ import annotations

import random
import struct
from typing import Any

from hypothesis import strategies as st

from l4proxy.protocols.crc32c import crc32c
from l4proxy.protocols.kafka import kafka_python, plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import APIS, BY_NAME
from l4proxy.protocols.kafka.batches import summarise
from l4proxy.protocols.kafka.schema import FIXED, Field, Schema
from l4proxy.protocols.kafka.walker import Selection

__all__ = [
    "DECLARED",
    "VERSIONS",
    "batch",
    "decoded",
    "everything",
    "fields",
    "made",
    "message",
    "picked",
    "request",
    "response",
    "varint",
]

DECLARED = [api for api in APIS.values() if api.is_declared]
VERSIONS = [
    (api, version, kind)
    for api in DECLARED
    for version in range(api.first, api.last + 1)
    for kind in ("request", "response")
]
"""Every message that is declared, in every version."""


def varint(value: int) -> bytes:
    """A zigzag integer, as records have it."""
    value = value << 1 ^ value >> 63
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def record(offset: int = 0, key: bytes | None = None, value: bytes | None = b"value") -> bytes:
    parts = [b"\0", varint(0), varint(offset)]
    for content in (key, value):
        parts += [varint(-1)] if content is None else [varint(len(content)), content]
    body = b"".join([*parts, varint(0)])
    return varint(len(body)) + body


def batch(
    count: int = 1,
    *,
    base_offset: int = 0,
    attributes: int = 0,
    producer: tuple[int, int, int] = (-1, -1, -1),
    value: bytes = b"value",
    packed: bytes | None = None,
) -> bytes:
    """A record batch of format 2. ``packed`` stands in for its records."""
    content = b"".join(record(at, b"key", value) for at in range(count)) if packed is None else packed
    tail = struct.pack(">hiqqqhii", attributes, count - 1, 1_700_000_000_000, 1_700_000_000_500, *producer, count)
    tail += content
    return struct.pack(">qiibI", base_offset, len(tail) + 9, 0, 2, crc32c(tail)) + tail


def request(name: str, version: int, correlation_id: int, client_id: bytes | None = b"test", **values: Any) -> bytes:
    """A whole frame."""
    api = BY_NAME[name]
    header = struct.pack(">hhi", api.key, version, correlation_id)
    header += struct.pack(">h", -1) if client_id is None else struct.pack(">h", len(client_id)) + client_id
    if api.request_header(version) == 2:
        header += b"\0"
    return _frame(header + plain.encode(api.request, version, values))


def response(name: str, version: int, correlation_id: int, **values: Any) -> bytes:
    api = BY_NAME[name]
    header = struct.pack(">i", correlation_id) + b"\0" * api.response_header(version)
    return _frame(header + plain.encode(api.response, version, values))


def _frame(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


# Made up


def message(api: Api, version: int, kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Values for every field of a message; tagged ones may be missing."""
    schema: Schema = getattr(api, kind)
    return fields(schema.fields, version)


def fields(declared: tuple[Field, ...], version: int) -> st.SearchStrategy[dict[str, Any]]:
    there = [field for field in declared if field.exists(version)]
    return st.fixed_dictionaries(
        {field.name: _value(field, version) for field in there if field.tag is None},
        optional={field.name: _value(field, version) for field in there if field.tag is not None},
    )


_TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.text("é", min_size=100, max_size=100)
_RECORDS = st.lists(st.integers(0, 3).map(batch), max_size=2).map(b"".join)


def _value(field: Field, version: int) -> st.SearchStrategy[Any]:
    one: st.SearchStrategy[Any]
    if field.type == "struct":
        one = fields(field.fields, version)
    elif field.type == "string":
        one = _TEXT
    elif field.type == "bytes":
        one = st.binary(max_size=8) | st.binary(min_size=200, max_size=200)
    elif field.type == "records":
        one = _RECORDS
    elif field.type == "uuid":
        one = st.binary(min_size=16, max_size=16)
    elif field.type == "bool":
        one = st.booleans()
    elif field.type == "float64":
        one = st.floats(allow_nan=False)
    else:
        bits = 8 * struct.calcsize(f">{FIXED[field.type]}")
        low = 0 if field.type.startswith("u") else -(1 << bits - 1)
        one = st.integers(low, low + (1 << bits) - 1)
    if field.array:
        one = st.lists(one, max_size=2)
    return st.none() | one if field.nullable else one


# Made up by chance alone, which is a hundred times faster


def made(api: Api, version: int, kind: str, chance: random.Random) -> dict[str, Any]:
    """Values for every field of a message, the borders of their types among them; tagged ones may be missing."""
    schema: Schema = getattr(api, kind)
    values = _made_fields(schema.fields, version, chance)
    if api.name == "ApiVersions" and kind == "response":
        values["error_code"] = 0  # with any other kafka-python decodes version 0
    if (api.name, version, kind) == ("Metadata", 0, "request"):
        values["topics"] = values["topics"] or []  # null came with version 1, and kafka-python knows
    return values


def _made_fields(declared: tuple[Field, ...], version: int, chance: random.Random) -> dict[str, Any]:
    return {
        field.name: _made_value(field, version, chance)
        for field in declared
        if field.exists(version) and (field.tag is None or chance.random() < 0.5)
    }


def _made_value(field: Field, version: int, chance: random.Random) -> Any:
    if field.nullable and chance.random() < 0.2:
        return None
    if field.array:
        return [_made_one(field, version, chance) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
    return _made_one(field, version, chance)


def _made_one(field: Field, version: int, chance: random.Random) -> Any:
    if field.type == "struct":
        return _made_fields(field.fields, version, chance)
    if field.type == "string":
        return "é" * chance.choice((0, 1, 5, 62, 63, 64, 200))
    if field.type == "bytes":
        return chance.randbytes(chance.choice((0, 1, 126, 127, 128, 300)))
    if field.type == "records":
        return b"".join(batch(chance.randrange(4)) for _ in range(chance.randrange(3)))
    if field.type == "uuid":
        return chance.randbytes(16)
    if field.type == "bool":
        return chance.random() < 0.5
    if field.type == "float64":
        return chance.uniform(-1e300, 1e300)
    bits = 8 * struct.calcsize(f">{FIXED[field.type]}")
    low = 0 if field.type.startswith("u") else -(1 << bits - 1)
    return chance.choice((low, low + (1 << bits) - 1, 0, 1, chance.randrange(low, low + (1 << bits))))


def decoded(api: Api, version: int, kind: str, values: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """A message of these values, and what kafka-python reads in it; the values, where it has no such version."""
    schema: Schema = getattr(api, kind)
    encoded = plain.encode(schema, version, values)
    if version > kafka_python.newest(api.key):
        return encoded, values
    theirs, size = kafka_python.decode(api.key, kind, schema, version, encoded)
    assert size == len(encoded)
    return encoded, theirs


# What a walker makes of it


def picked(declared: tuple[Field, ...], chosen: tuple[Selection, ...], values: dict[str, Any]) -> tuple[Any, ...]:
    """What a walker that is asked for these fields returns for a message of these values."""
    there = {field.name: field for field in declared}
    return tuple(_picked(there[one.name], one.fields, values.get(one.name)) for one in chosen)


def _picked(field: Field, chosen: tuple[Selection, ...], value: Any) -> Any:
    if value is None:
        return None
    if not chosen:
        return _walked(field, value)
    if field.array:
        return [picked(field.fields, chosen, element) for element in value]
    return picked(field.fields, chosen, value)


def everything(declared: tuple[Field, ...]) -> str:
    """The selection of all fields of a message."""
    return " ".join(f"{field.name}({everything(field.fields)})" if field.fields else field.name for field in declared)


def walked(declared: tuple[Field, ...], values: dict[str, Any]) -> tuple[Any, ...]:
    """What a walker that is asked for everything returns for a message of these values."""
    return tuple(_walked(field, values.get(field.name)) for field in declared)


def _walked(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.array:
        return [_walked_one(field, element) for element in value]
    return _walked_one(field, value)


def _walked_one(field: Field, value: Any) -> Any:
    if field.type == "struct":
        return walked(field.fields, value)
    if field.type == "string":
        return value.encode()
    if field.type == "records":
        return summarise(value, 0, len(value))
    return value
