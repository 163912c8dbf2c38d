"""Walk over a stream of PostgreSQL messages: from header to header, looking into few of them.

A message is a kind (one byte) and a length (four, itself included). Nearly all bytes of a busy session are rows
(``DataRow``) and COPY data; of those only the header is read, and nothing is built.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from l4proxy.codec import RemoteProtocolError

__all__ = ["LOOK", "SKIP", "Lost", "Walker"]

SKIP = 0
LOOK = 4096
"""Bytes of a message's beginning that are looked at. A statement may have a gigabyte."""

_HEADER = struct.Struct("!BI")
_DATA_ROW = ord("D")
"""From the server; from the client it is Describe, which nobody asks for either."""
_COPY_DATA = ord("d")


class Lost(RemoteProtocolError):
    """These bytes are not PostgreSQL's protocol, or not as it is known here."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="not_postgres")


class Walker:
    """One direction of one session.

    ``looks`` says for each kind that may come how many bytes of it are wanted (``SKIP``: none);
    ``on_message(kind, body)`` gets them as soon as they are there. Raises Lost for a kind that may not come.
    """

    __slots__ = ("_kept", "_looks", "_on_message", "_skip")

    def __init__(self, looks: Mapping[int, int], on_message: Callable[[int, bytes], object]) -> None:
        self._looks = looks
        self._on_message = on_message
        self._skip = 0
        """Bytes still to come of a message that is done with."""
        self._kept = b""
        """The beginning of a message that is not done with: at most a header and ``LOOK`` bytes."""

    def feed(self, data: bytes) -> int:
        """Take a chunk. Returns how many bytes of COPY data were in the messages that begin in it."""
        at = self._skip
        if at >= len(data):
            self._skip = at - len(data)
            return 0
        if self._kept:
            data = self._kept + data
        end = len(data)
        copied = 0
        while end - at >= 5:
            kind, length = _HEADER.unpack_from(data, at)
            if length < 4:
                raise Lost(f"a message of {length} bytes")
            if kind == _DATA_ROW:
                at += length + 1
                continue
            if kind == _COPY_DATA:
                copied += length - 4
                at += length + 1
                continue
            look = self._looks.get(kind)
            if look is None:
                raise Lost(f"a message of the kind {bytes([kind])!r}")
            if look:
                body_end = at + 5 + min(length - 4, look)
                if body_end > end:
                    break
                self._on_message(kind, data[at + 5 : body_end])
            at += length + 1
        self._skip = max(at - end, 0)
        self._kept = data[at:]
        return copied
