"""Domain names on the wire: labels and compression pointers (RFC 1035 sections 3.1 and 4.1.4)."""

from __future__ import annotations

import re

from l4proxy.codec import LocalProtocolError, RemoteProtocolError

__all__ = ["POINTERS_LIMIT", "Names", "canonical_name", "encode_name", "read_name"]

POINTERS_LIMIT = 32
"""Compression pointers in one name."""

_WIRE_LIMIT = 255
_LABEL_LIMIT = 63
_POINTER = 0xC0
_SPECIAL = re.compile(rb"[^!-~]|[.\\]")


def encode_name(name: str) -> bytes:
    """A last dot is left out, a name beyond ASCII is sent as IDNA. Raises LocalProtocolError for what is no domain
    name."""
    try:
        labels = [label.encode("ascii" if label.isascii() else "idna") for label in name.removesuffix(".").split(".")]
    except UnicodeError as error:
        raise LocalProtocolError(f"{name!r} is not a domain name: {error}") from None
    if not all(0 < len(label) <= _LABEL_LIMIT and b"\0" not in label for label in labels):
        raise LocalProtocolError(f"{name!r} is not a domain name: labels have 1 to 63 bytes")
    wire = b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"
    if len(wire) > _WIRE_LIMIT:
        raise LocalProtocolError(f"{name!r} is not a domain name: it has more than 253 bytes")
    return wire


def read_name(message: bytes, at: int) -> tuple[str, int]:
    """The name at ``at`` of a whole message, in lower case without the last dot, and where the next thing begins.

    Bytes that a host name has not are escaped as in zone files (``\\046`` for a dot). Pointers must lead backwards.
    Raises RemoteProtocolError."""
    labels: list[str] = []
    size, pointers = 1, 0
    start, end = at, 0
    while True:
        if at >= len(message):
            raise _invalid("reaches beyond the end")
        length = message[at]
        if length >= _POINTER:
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            end = end or at + 2
            pointers += 1
            if target >= start or at + 2 > len(message) or pointers > POINTERS_LIMIT:
                raise _invalid("has a pointer that does not lead backwards, or too many")
            start = at = target
            continue
        at += 1 + length
        size += 1 + length
        if length > _LABEL_LIMIT or size > _WIRE_LIMIT + 1:
            raise _invalid("or one of its labels is too long")
        if not length:
            return ".".join(labels), end or at
        labels.append(_label_text(message[at - length : at]))


class Names:
    """The names in one message, read from its front to its back.

    Many are a mere pointer, and most of those the same one: each is followed once.
    """

    __slots__ = ("_known", "message")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self._known: dict[bytes, str] = {}

    def read(self, at: int) -> tuple[str, int]:
        """Like ``read_name``."""
        pointer = self.message[at : at + 2]
        if pointer in self._known:
            return self._known[pointer], at + 2
        name, end = read_name(self.message, at)
        if pointer[0] >= _POINTER:
            self._known[pointer] = name
        return name, end


def canonical_name(name: str) -> str:
    """A name as ``read_name`` returns it. Raises LocalProtocolError."""
    return read_name(encode_name(name), 0)[0]


def _label_text(label: bytes) -> str:
    return _SPECIAL.sub(lambda byte: b"\\%03d" % ord(byte[0]), label.lower()).decode()


def _invalid(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"DNS: a name {what}", code="dns_invalid")
