"""gRPC over HTTP: statuses, deadlines, messages in a body, and the frames of gRPC-Web.

Sources: the gRPC documents ``PROTOCOL-HTTP2.md``, ``PROTOCOL-WEB.md``, ``http-grpc-status-mapping.md``.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable, Iterable
from enum import IntEnum

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.http_fields import Field, check_field

__all__ = [
    "TIMEOUT_LIMIT",
    "Base64Reader",
    "GrpcStatus",
    "MessageReader",
    "encode_message",
    "encode_timeout",
    "http_status_of",
    "is_failure",
    "is_grpc",
    "is_grpc_web",
    "method_of",
    "read_timeout",
    "status_name",
    "status_of_http",
    "web_trailers",
]


class GrpcStatus(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_NAMES = {str(int(status)): status.name for status in GrpcStatus}


def status_name(value: str | None) -> str:
    """Of the value of a ``grpc-status`` field, as metrics and logs show it: ``OK``, ``UNAVAILABLE``; ``UNKNOWN`` for
    what is none."""
    return _NAMES.get(value or "", "UNKNOWN")


_BY_HTTP_STATUS = {
    400: GrpcStatus.INTERNAL,
    401: GrpcStatus.UNAUTHENTICATED,
    403: GrpcStatus.PERMISSION_DENIED,
    404: GrpcStatus.UNIMPLEMENTED,
    413: GrpcStatus.RESOURCE_EXHAUSTED,
    429: GrpcStatus.UNAVAILABLE,
    431: GrpcStatus.RESOURCE_EXHAUSTED,
    499: GrpcStatus.CANCELLED,
    502: GrpcStatus.UNAVAILABLE,
    503: GrpcStatus.UNAVAILABLE,
    504: GrpcStatus.DEADLINE_EXCEEDED,
}
"""As ``http-grpc-status-mapping.md`` has it, with what a proxy limits, and with 504, which here is a time limit."""


def status_of_http(status: int) -> GrpcStatus:
    """What an answer with an HTTP status means to a gRPC client."""
    return _BY_HTTP_STATUS.get(status, GrpcStatus.UNKNOWN)


_TO_HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}


def http_status_of(name: str) -> int:
    """What a status of gRPC, by its name, would be in HTTP (``google/rpc/code.proto``): who is to blame for it."""
    return _TO_HTTP_STATUS.get(name, 500)


_NO_FAILURES = frozenset(
    number
    for number, name in _NAMES.items()
    if http_status_of(name) < 500 or name in ("DEADLINE_EXCEEDED", "UNIMPLEMENTED")
)


def is_failure(value: str) -> bool:
    """Whether the value of a ``grpc-status`` field blames the service, for outlier detection: what would be a 5xx in
    HTTP, as Envoy has it (``grpcToHttpStatus``), without two that any client can bring about: a deadline that it sets,
    and a method that nobody knows, which is HTTP's 404. What is no status counts as UNKNOWN."""
    return value not in _NO_FAILURES


def is_grpc(content_type: str | None) -> bool:
    """Whether a message is gRPC, by its ``Content-Type`` (``application/grpc+proto``; not gRPC-Web)."""
    return (
        content_type is not None and content_type[:16] == "application/grpc" and content_type[16:17] in ("", "+", ";")
    )


def is_grpc_web(content_type: str | None) -> bool:
    return content_type is not None and content_type.startswith("application/grpc-web")


_is_method = re.compile(r"/((?:[A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*)/([A-Za-z_][A-Za-z0-9_]*)").fullmatch


def method_of(path: str) -> tuple[str, str] | None:
    """Service and method that a path names; None where it names none."""
    found = _is_method(path)
    return None if found is None else (found[1], found[2])


TIMEOUT_LIMIT = 8
"""Digits of ``grpc-timeout``."""
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_is_timeout = re.compile(rf"([0-9]{{1,{TIMEOUT_LIMIT}}})([HMSmun])").fullmatch


def read_timeout(value: str) -> float | None:
    """Seconds; None for what is no ``grpc-timeout``."""
    found = _is_timeout(value)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def encode_timeout(seconds: float) -> str:
    """In the finest unit that has digits enough."""
    for unit in "numSMH":
        count = int(seconds / _UNITS[unit])
        if count < 10**TIMEOUT_LIMIT:
            return f"{count}{unit}"
    return f"{10**TIMEOUT_LIMIT - 1}H"


def encode_message(text: str) -> str:
    """A ``grpc-message``: printable ASCII as it is, all else in percents of its UTF-8."""
    return "".join(
        chr(octet) if 0x20 <= octet <= 0x7E and octet != 0x25 else f"%{octet:02X}" for octet in text.encode()
    )


_HEAD = struct.Struct("!BI")


class MessageReader:
    """Counts the messages of a body as it passes: each is a flag, its length in four bytes, and so many bytes.

    ``on_message(size)`` is called for each, when its head has come."""

    __slots__ = ("_head", "_left", "_on_message")

    def __init__(self, on_message: Callable[[int], object]) -> None:
        self._on_message = on_message
        self._head = b""
        self._left = 0

    @property
    def between(self) -> bool:
        """What was fed ends with a whole message, or is nothing."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            head = self._head + data[at : at + _HEAD.size - len(self._head)]
            at += len(head) - len(self._head)
            if len(head) < _HEAD.size:
                self._head = head
                return
            self._head = b""
            _, self._left = _HEAD.unpack(head)
            self._on_message(self._left)


_TRAILERS_FLAG = 0x80


def web_trailers(fields: Iterable[Field]) -> bytes:
    """The last frame of a gRPC-Web body: trailers, for clients that cannot see those of HTTP."""
    lines = []
    for name, value in fields:
        check_field(name, value)
        lines.append(f"{name}: {value}\r\n")
    content = "".join(lines).encode("latin-1")
    return _HEAD.pack(_TRAILERS_FLAG, len(content)) + content


class Base64Reader:
    """The body of ``application/grpc-web-text``: base64 in any pieces, each of which may have its own padding."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Raises RemoteProtocolError (``bad_base64``)."""
        data = self._rest + data
        whole = len(data) & ~3
        self._rest = data[whole:]
        try:
            return b"".join(base64.b64decode(part, validate=True) for part in _padded_parts(data[:whole]))
        except binascii.Error as error:
            raise RemoteProtocolError(f"gRPC-Web: not base64: {error}", code="bad_base64") from None

    def end(self) -> bytes:
        """Nothing is left. Raises RemoteProtocolError where the body is cut short."""
        if self._rest:
            raise RemoteProtocolError("gRPC-Web: base64 that is cut short", code="bad_base64")
        return b""


def _padded_parts(data: bytes) -> list[bytes]:
    """Cut behind each padding: what follows it is a new piece."""
    if b"=" not in data[:-2]:
        return [data]
    parts, start, at = [], 0, data.find(b"=")
    while at >= 0:
        stop = at + 4 & ~3
        parts.append(data[start:stop])
        start = stop
        at = data.find(b"=", stop)
    if start < len(data):
        parts.append(data[start:])
    return parts
