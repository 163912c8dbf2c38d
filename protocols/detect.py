"""Which protocol does a client speak? One detector each, which decides on the first bytes that the client sent.

A detector answers True or False as soon as it can, and None while more bytes may tell. What it has decided stays:
more bytes never change it. No two detectors say True to the same bytes. To that end HTTP/1 leaves a few words that
could be methods to those who really use them: ``PRI``, ``PROXY``, ``SSH-...`` and the inline commands of Redis."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import TypeAlias

from l4proxy.protocols.proxy_protocol import V1_START, V2_SIGNATURE

__all__ = [
    "DETECTORS",
    "METHOD_LIMIT",
    "Detector",
    "is_http1",
    "is_http2",
    "is_kafka",
    "is_postgres",
    "is_proxy_protocol",
    "is_redis",
    "is_ssh",
    "is_tls",
]

Detector: TypeAlias = Callable[[bytes], bool | None]


def _starts_with(data: bytes, start: bytes) -> bool | None:
    if data.startswith(start):
        return True
    return None if start.startswith(data) else False


def is_ssh(data: bytes) -> bool | None:
    """RFC 4253 section 4.2."""
    return _starts_with(data, b"SSH-")


def is_http2(data: bytes) -> bool | None:
    """The client preface (RFC 9113 section 3.4), up to where nothing else can follow."""
    return _starts_with(data, b"PRI * HTTP/2")


def is_proxy_protocol(data: bytes) -> bool | None:
    """Version 1 or 2. That the header is in order is for its reader to say."""
    if data.startswith((V1_START, V2_SIGNATURE)):
        return True
    return None if V1_START.startswith(data) or V2_SIGNATURE.startswith(data) else False


def is_tls(data: bytes) -> bool | None:
    """A handshake record that begins with a ClientHello (RFC 8446 sections 4 and 5.1)."""
    if not b"\x16\x03".startswith(data[:2]) or data[2:3] > b"\x04":
        return False
    if len(data) < 6:
        return None
    return 1 <= int.from_bytes(data[3:5], "big") <= 16384 and data[5] == 1


METHOD_LIMIT = 24
"""Bytes of an HTTP method; the longest registered one, UPDATEREDIRECTREF, has 17."""

_REDIS_WORDS = "AUTH|CLIENT|CLUSTER|COMMAND|CONFIG|DBSIZE|ECHO|EXISTS|HELLO|INFO|KEYS|PING|QUIT|SELECT|SET|TTL"
"""Not GET, COPY, MOVE and SUBSCRIBE, which are HTTP methods."""


def _unfinished(*parts: str) -> str:
    """A pattern of all the beginnings of ``parts`` in a row, but not of the whole."""
    pattern = ""
    for part in reversed(parts[:-1]):
        pattern = f"(?:{part}{pattern})?"
    return pattern


_NO_METHOD = rf"(?!SSH-|(?:PRI|PROXY|(?i:{_REDIS_WORDS})) )"
_METHOD = rf"{_NO_METHOD}[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{METHOD_LIMIT}}}"
_REQUEST_LINE = (_METHOD, " ", r"[^\x00-\x20\x7f]+", *" HTTP/1", r"\.", "[0-9]")
_HTTP1_START = re.compile(rf"(?:\r\n)?{''.join(_REQUEST_LINE)}".encode())
_HTTP1_UNFINISHED = re.compile(rf"\r|(?:\r\n)?{_unfinished(*_REQUEST_LINE)}".encode())


def is_http1(data: bytes) -> bool | None:
    """A request line (RFC 9112 section 3) with any method, after at most one empty line (section 2.2)."""
    if _HTTP1_START.match(data):
        return True
    return None if _HTTP1_UNFINISHED.fullmatch(data) else False


_RESP_COMMAND = (r"\*", "[1-9]", "[0-9]{0,6}", "\r", "\n", r"\$")
_REDIS_START = re.compile(rf"{''.join(_RESP_COMMAND)}|(?i:{_REDIS_WORDS})(?: |\r?\n)".encode())
_REDIS_UNFINISHED = re.compile(_unfinished(*_RESP_COMMAND).encode())
_REDIS_WORD_STARTS = frozenset(
    f"{word}\r"[:size].encode() for word in _REDIS_WORDS.split("|") for size in range(1, len(word) + 2)
)


def is_redis(data: bytes) -> bool | None:
    """A command as an array, or as a line that begins with a well-known command which is no HTTP method."""
    if _REDIS_START.match(data):
        return True
    return None if _REDIS_UNFINISHED.fullmatch(data) or data[:9].upper() in _REDIS_WORD_STARTS else False


_POSTGRES_CODES = (b"\0\3", b"\x04\xd2\x16")
_POSTGRES_CANCEL, _POSTGRES_SSL, _POSTGRES_GSSENC = 80877102, 80877103, 80877104
_PARAMETER_START = frozenset(b"_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def is_postgres(data: bytes) -> bool | None:
    """A startup message of protocol 3, or a request to cancel or for encryption (PostgreSQL documentation, "Message
    Formats").

    A startup message names parameters, at least the user; the server refuses one of more than 10000 bytes.
    """
    if data[:2] > b"\0\0" or not any(code.startswith(data[4:7][: len(code)]) for code in _POSTGRES_CODES):
        return False
    if len(data) < 8:
        return None
    length, code = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
    if code >> 16 == 3 and 9 < length <= 10000:
        return data[8] in _PARAMETER_START if len(data) > 8 else None
    if code == _POSTGRES_CANCEL:
        return 16 <= length <= 268
    return code in (_POSTGRES_SSL, _POSTGRES_GSSENC) and length == 8


_KAFKA_HEADER = struct.Struct("!ihhih")
_KAFKA_SIZES = range(10, 100 * 1024 * 1024 + 1)
_KAFKA_PRODUCE, _KAFKA_METADATA = 0, 3
_KAFKA_CLIENT_ID = re.compile(rb"[^\x00-\x1f\x7f]{0,512}")


def is_kafka(data: bytes) -> bool | None:
    """The header of a request (Kafka protocol guide, "Request Header v1"), with room for APIs and versions yet to come.

    Two look-alikes are left out: the startup message of PostgreSQL, which has a letter in the place of the
    correlation id (clients count from 0), and the connect request of ZooKeeper, a Produce v0 without a client id."""
    if data[:1] > b"\x06" or data[4:5] > b"\0" or data[6:7] > b"\0" or data[7:8] > b"\x3f":
        return False
    if len(data) >= 4 and int.from_bytes(data[:4], "big") not in _KAFKA_SIZES:
        return False
    if len(data) > 8 and data[5] == _KAFKA_METADATA and data[8] in _PARAMETER_START:
        return False
    if len(data) < 14:
        return None
    size, api_key, api_version, _, id_length = _KAFKA_HEADER.unpack_from(data)
    if not -1 <= id_length <= size - 10 or (api_key == _KAFKA_PRODUCE and api_version == 0 and id_length <= 0):
        return False
    client_id = data[14 : 14 + max(id_length, 0)]
    if not _KAFKA_CLIENT_ID.fullmatch(client_id):
        return False
    return True if len(client_id) >= id_length else None


DETECTORS: dict[str, Detector] = {
    "http1": is_http1,
    "http2": is_http2,
    "kafka": is_kafka,
    "postgres": is_postgres,
    "proxy_protocol": is_proxy_protocol,
    "redis": is_redis,
    "ssh": is_ssh,
    "tls": is_tls,
}
"""By the names that protocols have in a configuration."""
