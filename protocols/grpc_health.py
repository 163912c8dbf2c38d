"""The two messages of the gRPC health checking protocol (``grpc/health/v1/health.proto``), which need no more of
protobuf than a string and a number."""

from __future__ import annotations

import struct

__all__ = [
    "NOT_SERVING",
    "SERVICE_UNKNOWN",
    "SERVING",
    "encode_health",
    "encode_health_request",
    "read_health",
    "read_health_request",
]

SERVING = 1
NOT_SERVING = 2
SERVICE_UNKNOWN = 3
"""Said by ``Watch`` alone: ``Check`` ends with NOT_FOUND."""

_HEAD = struct.Struct("!BI")
_SERVICE = 0x0A
"""Field 1, a string."""
_STATUS = 0x08
"""Field 1, a number."""
_LONGEST = 1 << 14
"""Of a name: lengths of two bytes."""


def read_health_request(body: bytes) -> str | None:
    """The service of the only message in a body; empty for the server as a whole. None for anything else."""
    if len(body) < _HEAD.size or _HEAD.unpack_from(body) != (0, len(body) - _HEAD.size):
        return None
    message = body[_HEAD.size :]
    if not message:
        return ""
    if message[0] != _SERVICE or len(message) < 2:
        return None
    length, start = message[1], 2
    if length >= 0x80:
        if len(message) < 3 or message[2] >= 0x80:
            return None
        length, start = length & 0x7F | message[2] << 7, 3
    if len(message) != start + length or length >= _LONGEST:
        return None
    try:
        return message[start:].decode()
    except UnicodeDecodeError:
        return None


def encode_health(status: int) -> bytes:
    """A ``HealthCheckResponse``, as the body of a response has it."""
    return _HEAD.pack(0, 2) + bytes((_STATUS, status))


def encode_health_request(service: str) -> bytes:
    """A ``HealthCheckRequest``, as the body of a request has it. The empty name is the server as a whole. Raises
    ValueError where a name has 16 KiB or more."""
    name = service.encode()
    if len(name) >= _LONGEST:
        raise ValueError(f"the name of a service has {len(name)} bytes")
    length = bytes((len(name),)) if len(name) < 0x80 else bytes((len(name) & 0x7F | 0x80, len(name) >> 7))
    message = bytes((_SERVICE,)) + length + name if name else b""
    return _HEAD.pack(0, len(message)) + message


def read_health(body: bytes) -> int | None:
    """The status of the only message in the body of a response (0, unknown, where it says none). None for anything
    else."""
    if len(body) < _HEAD.size or _HEAD.unpack_from(body) != (0, len(body) - _HEAD.size):
        return None
    message = body[_HEAD.size :]
    if not message:
        return 0
    return message[1] if len(message) == 2 and message[0] == _STATUS else None
