"""What a TLS ClientHello says in the clear: server name, application protocols, versions (RFC 8446 section 4.1.2, RFC
6066).

For choosing where a connection goes, not for speaking TLS: the reader takes the bytes that have arrived so far,
however they are cut into records and segments, never raises, and leaves the cryptography alone."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

__all__ = ["HELLO_LIMIT", "RECORDS_LIMIT", "ClientHello", "read_client_hello"]

HELLO_LIMIT = 16384
"""Default for the bytes of a whole ClientHello; real ones have 200 to 2000."""
RECORDS_LIMIT = 64
"""Records that a ClientHello may be spread over. Nearly all come in one; tools against censors make a few."""

_RECORD_START = b"\x16\x03"
_RECORD_PAYLOAD = range(1, 16385)
_CLIENT_HELLO = 1
_EXTENSION_HEAD = struct.Struct("!HH")
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS, _ENCRYPTED_CLIENT_HELLO = 0, 16, 43, 0xFE0D
_HOST_NAME = re.compile(rb"\0([\x21-\x7e]{1,255})")
_GREASE = re.compile(rb"([\x0a\x1a\x2a\x3a\x4a\x5a\x6a\x7a\x8a\x9a\xaa\xba\xca\xda\xea\xfa])\1")
"""Values that clients send so that servers do not get used to knowing them all (RFC 8701)."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """``server_name`` is in lower case, empty where the client sent none. ``versions`` are those the client supports,
    as on the wire (0x0303 is TLS 1.2), in its order. GREASE is left out.

    ``encrypted`` tells that an encrypted hello came along (ECH): the names are then those of the outer hello, the
    public ones. Browsers also send a dummy of it."""

    server_name: str
    application_protocols: tuple[str, ...]
    versions: tuple[int, ...]
    encrypted: bool


class _Malformed(ValueError):
    pass


def read_client_hello(data: bytes, limit: int = HELLO_LIMIT) -> ClientHello | Literal[False] | None:
    """Read the hello at the start of ``data``, all that has arrived so far.

    None: more bytes are needed. False: this is not TLS, or not in order, or larger than ``limit``; a hello in the
    framing of SSL 2 is not TLS. Once there is an answer, further bytes do not change it."""
    message = _first_message(data, limit)
    if not message:
        return None if message is None else False
    try:
        return _read(message)
    except _Malformed:
        return False


def _first_message(data: bytes, limit: int) -> bytes | Literal[False] | None:
    """The ClientHello behind its four bytes of type and length, put together from its records."""
    message = b""
    needed = 4
    at = 0
    for _ in range(RECORDS_LIMIT):
        head = data[at : at + 5]
        if not _RECORD_START.startswith(head[:2]) or head[2:3] > b"\x04":
            return False
        if len(head) < 5:
            return None
        length = int.from_bytes(head[3:], "big")
        if length not in _RECORD_PAYLOAD:
            return False
        message += data[at + 5 : at + 5 + length]
        at += 5 + length
        if message and message[0] != _CLIENT_HELLO:
            return False
        if len(message) >= 4:
            needed = 4 + int.from_bytes(message[1:4], "big")
            if needed > limit:
                return False
        if len(message) >= needed:
            return message[4:needed]
        if at > len(data):
            return None
    return False


def _vector(data: bytes, at: int, prefix: int) -> tuple[bytes, int]:
    """The vector at ``at``, whose length stands in front of it in ``prefix`` bytes, and where the next thing begins."""
    start = at + prefix
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise _Malformed
    return data[start:end], end


def _whole_vector(data: bytes, prefix: int) -> bytes:
    content, end = _vector(data, 0, prefix)
    if end != len(data) or not content:
        raise _Malformed
    return content


def _read(body: bytes) -> ClientHello:
    if len(body) < 35 or body[0] != 3:
        raise _Malformed
    session_id, at = _vector(body, 34, 1)
    cipher_suites, at = _vector(body, at, 2)
    compression_methods, at = _vector(body, at, 1)
    if len(session_id) > 32 or not cipher_suites or len(cipher_suites) % 2 or not compression_methods:
        raise _Malformed
    extensions = _extensions(body[at:])
    return ClientHello(
        _server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else "",
        _alpn(extensions[_ALPN]) if _ALPN in extensions else (),
        _versions(extensions[_SUPPORTED_VERSIONS]) if _SUPPORTED_VERSIONS in extensions else (0x300 + body[1],),
        _ENCRYPTED_CLIENT_HELLO in extensions,
    )


def _extensions(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if not data:  # allowed up to TLS 1.2
        return found
    if len(data) != 2 + int.from_bytes(data[:2], "big"):
        raise _Malformed
    at = 2
    while at < len(data):
        if at + 4 > len(data):
            raise _Malformed
        kind, length = _EXTENSION_HEAD.unpack_from(data, at)
        at += 4 + length
        if kind in found or at > len(data):
            raise _Malformed
        found[kind] = data[at - length : at]
    return found


def _server_name(value: bytes) -> str:
    """There may be only one name, for there is only one type of name (RFC 6066 section 3)."""
    entry = _whole_vector(value, 2)
    name = _HOST_NAME.fullmatch(entry[:1] + _whole_vector(entry[1:], 2))
    if not name:
        raise _Malformed
    return name[1].decode().lower()


def _alpn(value: bytes) -> tuple[str, ...]:
    names = _whole_vector(value, 2)
    found = []
    at = 0
    while at < len(names):
        name, at = _vector(names, at, 1)
        if not name:
            raise _Malformed
        if not _GREASE.fullmatch(name):
            found.append(name.decode("latin-1"))
    return tuple(found)


def _versions(value: bytes) -> tuple[int, ...]:
    versions = _whole_vector(value, 1)
    if len(versions) % 2:
        raise _Malformed
    pairs = [versions[at : at + 2] for at in range(0, len(versions), 2)]
    return tuple(int.from_bytes(pair, "big") for pair in pairs if not _GREASE.fullmatch(pair))
