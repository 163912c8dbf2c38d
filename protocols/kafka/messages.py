"""Whole messages on demand, for filters and for people: decoded to plain data, made from it, cut to what may be shown.

kafka-python decodes and encodes what it knows, `plain` everything else (KIP-848, share groups, delegation tokens,
telemetry). Nothing of this runs unless a filter or a view asks for a message: importing kafka-python takes a third of a
second, and decoding tens of microseconds and more.

A message is a dict of its fields by their names in `declarations`, as `plain` has it.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

from l4proxy.codec import LocalProtocolError
from l4proxy.protocols.kafka import kafka_python, plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable

__all__ = ["HIDDEN", "decode_request", "decode_response", "encode_body", "encode_request", "encode_response", "shown"]

HIDDEN = {"auth_bytes", "hmac", "salt", "salted_password"}
"""Fields that hold secrets, or what proves that one knows them."""
SHOWN_BYTES = 64
"""So much of a field of bytes is shown."""


def decode_request(api: Api, version: int, body: bytes) -> dict[str, Any]:
    """Decode what follows the header of a request. Raises `wire.Unreadable`. Bytes behind the end are no error: brokers
    do not mind them, and librdkafka 2.16 sends Metadata requests with some."""
    return _decode(api, version, body, "request")


def decode_response(api: Api, version: int, body: bytes) -> dict[str, Any]:
    """Decode what follows the header of a response. Raises `wire.Unreadable`."""
    return _decode(api, version, body, "response")


def encode_request(
    api: Api, version: int, correlation_id: int, client_id: str | None = None, /, **fields: Any
) -> bytes:
    """A whole frame. Fields that are not given have their default values. Raises LocalProtocolError."""
    header = struct.pack(">hhi", api.key, version, correlation_id)
    if api.request_header(version):
        name = None if client_id is None else client_id.encode()
        header += struct.pack(">h", -1) if name is None else struct.pack(">h", len(name)) + name
    tags = b"\0" if api.request_header(version) == 2 else b""
    return _frame(header + tags + encode_body(api, version, "request", fields))


def encode_response(api: Api, version: int, correlation_id: int, /, **fields: Any) -> bytes:
    """A whole frame. Fields that are not given have their default values. Raises LocalProtocolError."""
    tags = b"\0" if api.response_header(version) else b""
    return _frame(struct.pack(">i", correlation_id) + tags + encode_body(api, version, "response", fields))


def shown(values: Any, *, name: str = "") -> Any:
    """A decoded message as JSON may have it: secrets are left out, long bytes cut short."""
    if isinstance(values, dict):
        return {key: shown(value, name=key) for key, value in values.items() if key != plain.UNKNOWN_TAGS}
    if isinstance(values, list):
        return [shown(value, name=name) for value in values]
    if isinstance(values, bytes):
        if name in HIDDEN:
            return f"({len(values)} bytes, hidden)"
        if name.endswith("id"):
            return base64.urlsafe_b64encode(values).rstrip(b"=").decode()
        more = f"... ({len(values)} bytes)" if len(values) > SHOWN_BYTES else ""
        return values[:SHOWN_BYTES].decode(errors="backslashreplace") + more
    return values


def _frame(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def _decode(api: Api, version: int, body: bytes, kind: str) -> dict[str, Any]:
    if not api.knows(version):
        raise Unreadable(f"{api.name} version {version} is not known here", code="unknown_version")
    schema = getattr(api, kind)
    if version > kafka_python.newest(api.key):
        try:
            return plain.decode(schema, version, body)
        except UNREADABLE as error:
            raise Unreadable(f"{api.name} version {version}: {error}", code="undecodable") from error
    try:
        values, pos = kafka_python.decode(api.key, kind, schema, version, body)
    except Exception as error:  # it raises whatever its generated code runs into
        raise Unreadable(f"{api.name} version {version}: {error!r}", code="undecodable") from error
    if pos > len(body) or (pos < len(body) and kind == "response"):
        raise Unreadable(f"{api.name} version {version} ends at {pos}, its bytes at {len(body)}", code="truncated")
    return values


def encode_body(api: Api, version: int, kind: str, fields: Mapping[str, Any]) -> bytes:
    """Encode what follows the header of a ``request`` or ``response``. Raises LocalProtocolError."""
    if not api.knows(version):
        raise LocalProtocolError(f"{api.name} version {version} is not known here", code="unknown_version")
    schema = getattr(api, kind)
    try:
        if version > kafka_python.newest(api.key):
            return plain.encode(schema, version, fields)
        try:
            return kafka_python.encode(api.key, kind, schema, version, fields)
        except LookupError:  # tagged fields that it does not know, and would lose
            return plain.encode(schema, version, fields)
    except Exception as error:
        raise LocalProtocolError(f"{api.name} version {version}: {error!r}", code="unencodable") from error
