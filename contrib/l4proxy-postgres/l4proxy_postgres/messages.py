"""PostgreSQL's messages, declared (PostgreSQL documentation, "Message Formats").

What is rare is decoded by these declarations: the startup packet and errors. What comes with every statement is read by
``session.texts``, which the tests hold against them; and the tests build all messages from them. This module is imported
when the filter is provisioned, for importing construct takes a moment.
"""

from __future__ import annotations

from typing import Any

from construct import (
    Bytes,
    Const,
    ConstructError,
    GreedyBytes,
    If,
    Int8ub,
    Int16sb,
    Int16ub,
    Int32sb,
    Int32ub,
    NullTerminated,
    Prefixed,
    PrefixedArray,
    Rebuild,
    RepeatUntil,
    Struct,
    this,
)

__all__ = ["CANCEL", "CLIENT", "REQUEST", "SERVER", "STARTUP", "error_fields", "startup_parameters"]


def _message(kind: bytes, *fields: Any) -> Any:
    return Struct("kind" / Const(kind), "body" / Prefixed(Int32ub, Struct(*fields), includelength=True))


def _without_kind(*fields: Any) -> Any:
    return Prefixed(Int32ub, Struct(*fields), includelength=True)


def _until_zero(name: str, field: Any) -> Any:
    """Pairs of a name and a text, behind the last a zero byte."""
    pair = Struct(name / field, "text" / If(lambda this: this[name].strip(b"\0"), _TEXT))
    return RepeatUntil(lambda pair, *_: not pair[name].strip(b"\0"), pair)


_TEXT = NullTerminated(GreedyBytes)
"""Bytes, and not a string: in which encoding they are is for the session to say."""
_VALUE = Struct(
    "size" / Rebuild(Int32sb, lambda this: -1 if this.data is None else len(this.data)),
    "data" / If(this.size >= 0, Bytes(this.size)),
)
_COLUMN = Struct(
    "name" / _TEXT,
    "table" / Int32ub,
    "number" / Int16ub,
    "type" / Int32ub,
    "size" / Int16sb,
    "modifier" / Int32sb,
    "format" / Int16ub,
)
_COPY = ("format" / Int8ub, "columns" / PrefixedArray(Int16ub, Int16ub))
_FIELDS = _until_zero("field", Bytes(1))

STARTUP = _without_kind("version" / Int32ub, "parameters" / _until_zero("name", _TEXT))
REQUEST = _without_kind("code" / Int32ub)
"""SSLRequest and GSSENCRequest."""
CANCEL = _without_kind("code" / Int32ub, "process" / Int32ub, "secret" / GreedyBytes)

CLIENT = {
    "bind": _message(
        b"B",
        "portal" / _TEXT,
        "statement" / _TEXT,
        "formats" / PrefixedArray(Int16ub, Int16ub),
        "values" / PrefixedArray(Int16ub, _VALUE),
        "result_formats" / PrefixedArray(Int16ub, Int16ub),
    ),
    "close": _message(b"C", "what" / Bytes(1), "name" / _TEXT),
    "copy_data": _message(b"d", "data" / GreedyBytes),
    "copy_done": _message(b"c"),
    "copy_fail": _message(b"f", "text" / _TEXT),
    "describe": _message(b"D", "what" / Bytes(1), "name" / _TEXT),
    "execute": _message(b"E", "portal" / _TEXT, "most_rows" / Int32ub),
    "flush": _message(b"H"),
    "function_call": _message(b"F", "data" / GreedyBytes),
    "parse": _message(b"P", "name" / _TEXT, "text" / _TEXT, "types" / PrefixedArray(Int16ub, Int32ub)),
    "password": _message(b"p", "data" / GreedyBytes),
    "query": _message(b"Q", "text" / _TEXT),
    "sync": _message(b"S"),
    "terminate": _message(b"X"),
}
SERVER = {
    "authentication": _message(b"R", "method" / Int32ub, "data" / GreedyBytes),
    "bind_complete": _message(b"2"),
    "close_complete": _message(b"3"),
    "command_complete": _message(b"C", "tag" / _TEXT),
    "copy_both": _message(b"W", *_COPY),
    "copy_data": _message(b"d", "data" / GreedyBytes),
    "copy_done": _message(b"c"),
    "copy_in": _message(b"G", *_COPY),
    "copy_out": _message(b"H", *_COPY),
    "data_row": _message(b"D", "values" / PrefixedArray(Int16ub, _VALUE)),
    "empty_query": _message(b"I"),
    "error": _message(b"E", "fields" / _FIELDS),
    "function_result": _message(b"V", "value" / _VALUE),
    "key_data": _message(b"K", "process" / Int32ub, "secret" / GreedyBytes),
    "negotiate_version": _message(b"v", "minor" / Int32ub, "unknown" / PrefixedArray(Int32ub, _TEXT)),
    "no_data": _message(b"n"),
    "notice": _message(b"N", "fields" / _FIELDS),
    "notification": _message(b"A", "process" / Int32ub, "channel" / _TEXT, "payload" / _TEXT),
    "parameter_description": _message(b"t", "types" / PrefixedArray(Int16ub, Int32ub)),
    "parameter_status": _message(b"S", "name" / _TEXT, "value" / _TEXT),
    "parse_complete": _message(b"1"),
    "portal_suspended": _message(b"s"),
    "ready": _message(b"Z", "status" / Bytes(1)),
    "row_description": _message(b"T", "columns" / PrefixedArray(Int16ub, _COLUMN)),
}


def startup_parameters(packet: bytes) -> dict[str, str]:
    """``user``, ``database``, ``application_name`` ... of a startup packet. Raises ValueError."""
    return {_text(pair.name): _text(pair.text) for pair in _parse(STARTUP, packet).parameters[:-1]}


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse: ``C`` is its SQLSTATE, ``M`` its message. Raises ValueError."""
    return {_text(pair.field): _text(pair.text) for pair in _parse(_FIELDS, body)[:-1]}


def _parse(declaration: Any, data: bytes) -> Any:
    try:
        return declaration.parse(data)
    except ConstructError as error:
        raise ValueError(str(error)) from error


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
