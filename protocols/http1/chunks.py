"""The chunked transfer coding (RFC 9112 section 7.1).

Reading joins all complete pieces of what has arrived into one event, so that small chunks are passed on as large ones.
Chunk extensions are checked and dropped: nobody uses them, and every hop that reads them differently is a hole.
"""

from __future__ import annotations

import re

from l4proxy.protocols.http1.errors import violation
from l4proxy.protocols.http1.events import Data, End, Event
from l4proxy.protocols.http1.limits import Limits
from l4proxy.protocols.http1.section import fields_of
from l4proxy.protocols.http_fields import FieldBlock

__all__ = ["ChunkReader", "encode_chunk", "encode_last_chunk"]

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}(?=[ \t;\r])")
_FORBIDDEN_TRAILERS = frozenset(
    {"authorization", "connection", "content-encoding", "content-length", "content-range", "content-type", "cookie",
     "expect", "forwarded", "host", "keep-alive", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via"}
)  # fmt: skip
"""RFC 9110 section 6.5.1: what frames, routes, authenticates or changes the meaning of the content."""


class ChunkReader:
    """Reads one chunked body. ``feed`` takes bytes; ``rest`` is what follows the body once ``done``."""

    __slots__ = ("_buffer", "_left", "_limits", "_trailer_size", "_trailers", "done", "rest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        """The beginning of a line that is not complete. Never longer than the limits of lines."""
        self._left = 0
        """Bytes that the chunk under way still has, with the line end behind its data."""
        self._trailers: list[bytes] | None = None
        """Lines behind the last chunk; None before it."""
        self._trailer_size = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """Raises RemoteProtocolError."""
        if self._trailers is not None:
            return self._read_trailers(data)
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        left = self._left
        while True:
            if left > 2:
                end = min(at + left - 2, size)
                pieces.append(data[at:end] if at or end < size else data)
                left -= end - at
                at = end
            if left and at < size:  # the CRLF behind the data
                expected = b"\r\n"[2 - left :]
                ending = data[at : at + left]
                if not expected.startswith(ending):
                    violation("bad_chunk_end")
                left -= len(ending)
                at += len(ending)
            if left or at == size:
                break
            found = _SIZE_LINE.match(data, at)
            if found is None:
                self._check_line(data[at:])
                self._buffer = data[at:]
                break
            if found.end() - at > self._limits.max_chunk_line:
                violation("chunk_line_too_long")
            at = found.end()
            chunk = int(found[1], 16)
            if chunk == 0:
                self._trailers = []
                if not pieces:
                    return self._read_trailers(data[at:], data[:at])
                return [*_joined(pieces, data[:at]), *self._read_trailers(data[at:])]
            left = chunk + 2
        self._left = left
        return _joined(pieces, data[: len(data) - len(self._buffer)])

    def _check_line(self, line: bytes) -> None:
        """A size line that is not complete, or wrong: as soon as it can only be wrong, say so."""
        if len(line) > self._limits.max_chunk_line:
            violation("chunk_line_too_long")
        size, _, rest = line.partition(b";")
        if not re.fullmatch(rb"[0-9A-Fa-f]{0,16}|[0-9A-Fa-f]{1,16}(?:[ \t]+|\r)", size):
            violation("bad_chunk_size", repr(line[:40]))
        if re.search(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]|\r(?=.)", rest, re.DOTALL):
            violation("bad_chunk_extension", repr(line[:40]))
        if b"\r\n" in line:
            violation("bad_chunk_size", repr(line[:40]))

    def _read_trailers(self, data: bytes, raw: bytes = b"") -> list[Event]:
        assert self._trailers is not None
        taken = len(self._buffer)
        data, self._buffer = self._buffer + data, b""
        at = 0
        while True:
            end = data.find(b"\n", at)
            if end < 0:
                break
            line = data[at : end + 1]
            if not line.endswith(b"\r\n"):
                violation("bare_lf")
            self._trailer_size += len(line)
            self._check_trailers(0)
            at = end + 1
            if line == b"\r\n":
                self.done = True
                self.rest = data[at:]
                return [self._end(raw + data[taken:at])]
            self._trailers.append(line[:-2])
        self._buffer = data[at:]
        self._check_trailers(len(self._buffer))
        rest = raw + data[taken:]
        return [Data(b"", rest)] if rest else []

    def _check_trailers(self, more: int) -> None:
        assert self._trailers is not None
        if self._trailer_size + more > self._limits.max_trailers:
            violation("trailers_too_large")
        if len(self._trailers) >= self._limits.max_fields:
            violation("too_many_fields")

    def _end(self, raw: bytes) -> End:
        if not self._trailers:
            return End(raw=raw)
        fields = fields_of(self._trailers)
        for name, _ in fields:
            if name in _FORBIDDEN_TRAILERS:
                violation("forbidden_trailer", name)
        return End(FieldBlock(fields, tuple(self._trailers)), raw)

    def leftover(self) -> bytes:
        return b"" if self._trailers is not None else self._buffer


def _joined(pieces: list[bytes], raw: bytes) -> list[Event]:
    """One event for all the data in ``raw``; one without data where there is only framing."""
    if not raw:
        return []
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return [Data(data, raw)]


def encode_chunk(data: bytes) -> bytes:
    """A chunk; nothing for no data, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_last_chunk(trailers: FieldBlock | None = None) -> bytes:
    return b"0\r\n%b\r\n" % trailers.http1 if trailers is not None and trailers.fields else b"0\r\n\r\n"
