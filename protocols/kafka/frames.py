"""Frames: one direction's bytes, cut where their sizes say (the guide's "Common Request and Response Structure").

A frame is a size of four bytes and as many bytes behind it. Most are small and lie whole in one chunk: those are handed
over where they lie, without a copy. What lies across chunks is collected up to `COLLECT`. A larger frame goes to a
generator that its owner starts for it, chunk by chunk as they come, so that megabytes of records are never joined:
most often it has read the few bytes it wants from the first chunk, and the rest is only counted.

The parser remembers how much is missing, not what it has seen, so byte by byte it does as little as it has to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import NoReturn

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka.wire import UNREADABLE, Chunk, Unreadable

__all__ = ["COLLECT", "GAP", "MAX_FRAME", "SIZE", "Frames", "Piecemeal", "cut_frames"]

SIZE = 4
"""Bytes of a frame's size, which does not count itself."""
MAX_FRAME = 100 * 1024 * 1024
"""Default for the largest frame: what a broker accepts (``socket.request.max.bytes``), and a consumer fetches at most
(``fetch.max.bytes`` is 50 MiB)."""
COLLECT = 32 * 1024
"""Frames up to this size are joined where they lie across chunks."""

GAP = "gap"

Whole = Callable[[bytes, int, int], object]
"""``whole(data, pos, stop)``: a frame without its size is ``data[pos:stop]``."""
Piecemeal = Generator[int, Chunk, None]
"""Reads a large frame: each ``yield`` gets the next chunk of it, and says how many bytes of what follows it will skip.
Returns when it has read enough."""

_size = struct.Struct(">i").unpack_from

_MISTAKES = {
    b"GET ": "http", b"HEAD": "http", b"POST": "http", b"PUT ": "http", b"OPTI": "http", b"CONN": "http",
    b"PRI ": "http", b"HTTP": "http", b"SSH-": "ssh", b"PROX": "proxy_protocol", b"\r\n\r\n": "proxy_protocol",
}  # fmt: skip
"""What else begins with four bytes that look like a size, by those bytes."""


def refuse(size: int, head: bytes, limit: int) -> RemoteProtocolError:
    """Why ``size``, read from ``head``, is none."""
    if head in _MISTAKES:
        return RemoteProtocolError(f"this is {_MISTAKES[head]}, not Kafka: {head!r}", code=_MISTAKES[head])
    if head[:2] == b"\x16\x03" or head[:3] == b"\x15\x03\x03":
        what = "a TLS handshake" if head[0] == 0x16 else "a TLS alert"
        return RemoteProtocolError(f"this is {what}, and not plain Kafka", code="tls")
    if size < 0:
        return RemoteProtocolError(f"a frame of {size} bytes", code="negative_length")
    return RemoteProtocolError(f"a frame of {size} bytes, where {limit} are allowed", code="oversized_frame")


class Frames:
    """One direction. ``limit`` is the size of the largest frame, ``collect`` of the largest one that is joined where
    it lies across chunks.

    ``whole`` gets frames; ``begin(size)`` is called for one that is larger than that and not there as a whole, and
    returns what reads it. ``finish(error)`` is called behind each of those: with None, or with what it raised; and
    behind a frame of which a part is missing, with an error of the code `GAP`.
    """

    __slots__ = (
        "_begin",
        "_collect",
        "_error",
        "_finish",
        "_limit",
        "_parts",
        "_reader",
        "_skipped",
        "_unwanted",
        "_whole",
        "have",
        "left",
    )

    def __init__(
        self,
        whole: Whole,
        begin: Callable[[int], Piecemeal],
        finish: Callable[[Exception | None], object],
        *,
        limit: int = MAX_FRAME,
        collect: int = COLLECT,
    ) -> None:
        self._whole = whole
        self._begin = begin
        self._finish = finish
        self._limit = limit
        self._collect = collect
        self._parts: list[bytes] = []
        """The beginning of a frame that is being collected."""
        self.have = 0
        """Bytes of a frame that is being collected."""
        self.left = 0
        """Bytes that are missing of the frame that has begun, as far as its size is known; 0 between frames."""
        self._reader: Piecemeal | None = None
        self._unwanted = 0
        """Bytes of the frame that follow, and that nobody needs."""
        self._skipped = 0
        """Bytes of it that have passed and that the reader has not heard of."""
        self._error: Exception | None = None
        """What it raised; the rest of its frame is skipped."""

    @property
    def limit(self) -> int:
        """The size of the largest frame."""
        return self._limit

    @property
    def between(self) -> bool:
        """Whether the last byte seen was the last one of a frame."""
        return not self.left and not self.have

    def feed(self, data: bytes) -> int:
        """Take a chunk; return how many of the bytes that follow need not come (``skipped`` says so, if they do not).
        Raises RemoteProtocolError where a size is none; after that there are no more frames."""
        pos = 0
        if self.left:
            pos = self._go_on(data)
        elif self.have:  # not even a whole size
            data = b"".join((*self._parts, data))
            self._parts.clear()
            self.have = 0
        end = len(data)
        whole = self._whole
        limit = self._limit
        while end - pos >= SIZE:
            (size,) = _size(data, pos)
            if not 0 <= size <= limit:
                raise refuse(size, data[pos : pos + SIZE], limit)
            pos += SIZE
            if size > end - pos:
                self._start(data, pos, end, size)
                return self._unwanted
            whole(data, pos, pos + size)
            pos += size
        if pos < end:
            self._parts.append(data[pos:])
            self.have = end - pos
        return self._unwanted

    def skipped(self, size: int) -> None:
        """The next ``size`` bytes, no more than ``feed`` has said, will not come."""
        self.left -= size
        self._skipped += size
        self._unwanted = 0

    def reset(self) -> None:
        """Forget the frame that has begun: what comes next is not the rest of it."""
        self._drop()
        self.left = 0

    def skip(self, size: int) -> bool:
        """``size`` bytes are missing. Return whether the frame that has begun is longer than that: then it goes on
        behind them, though it cannot be read any more."""
        if not self.left or size > self.left:
            return False
        self._drop()
        self.left -= size
        self._error = Unreadable("a part of the message is missing", code=GAP)
        if not self.left:
            self._end()
        return True

    def close(self) -> None:
        """Let go of the owner, and of what was collected."""
        self._drop()
        self._whole = self._begin = self._finish = _closed

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._parts.clear()
        self.have = 0
        self._error = None
        self._unwanted = self._skipped = 0

    def _start(self, data: bytes, pos: int, end: int, size: int) -> None:
        """A frame of which the first part is ``data[pos:end]``."""
        self.left = size - (end - pos)
        if size <= self._collect:
            self._parts.append(data[pos - SIZE : end])
            self.have = end - pos + SIZE
            return
        self._reader = self._begin(size)
        next(self._reader)
        if pos < end:
            self._read(data, pos, end)

    def _go_on(self, data: bytes) -> int:
        """More of a frame that has begun; return where the next one begins."""
        pos = min(len(data), self.left)
        self.left -= pos
        if self.have:
            self._parts.append(data[:pos])
            self.have += pos
            if not self.left:
                frame = b"".join(self._parts)
                self._parts.clear()
                self.have = 0
                self._whole(frame, SIZE, len(frame))
            return pos
        if self._reader is not None:
            self._read(data, 0, pos)
        elif self.left:
            self._unwanted = self.left - 1
        if not self.left:
            self._end()
        return pos

    def _read(self, data: bytes, pos: int, end: int) -> None:
        assert self._reader is not None
        skipped, self._skipped = self._skipped, 0
        last = self.left - 1  # it tells when the frame has passed
        try:
            self._unwanted = min(self._reader.send((data, pos - skipped, end)), last)
        except StopIteration:
            self._reader = None
            self._unwanted = last
        except UNREADABLE as error:
            self._reader = None
            self._error = error
            self._unwanted = last

    def _end(self) -> None:
        """A large frame is over. Who still waits for bytes of it waits in vain."""
        self._unwanted = self._skipped = 0
        error, self._error = self._error, None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            error = Unreadable("the message ends within a field", code="truncated")
        self._finish(error)


def cut_frames(limit: int = MAX_FRAME) -> Callable[[bytes], list[bytes]]:
    """Return a function that takes chunks, and returns the whole frames that each of them completes. It raises
    RemoteProtocolError where a size is none."""
    kept: list[bytes] = []
    have = 0
    need = SIZE

    def cut(data: bytes) -> list[bytes]:
        nonlocal have, need
        kept.append(data)
        have += len(data)
        if have < need:
            return []
        data = b"".join(kept)
        frames = []
        pos = 0
        need = SIZE
        while len(data) - pos >= SIZE:
            (size,) = _size(data, pos)
            if not 0 <= size <= limit:
                raise refuse(size, data[pos : pos + SIZE], limit)
            need = SIZE + size
            if len(data) - pos < need:
                break
            frames.append(data[pos : pos + need])
            pos += need
            need = SIZE
        kept[:] = [data[pos:]]
        have = len(data) - pos
        return frames

    return cut


def _closed(*_args: object) -> NoReturn:
    raise RuntimeError("this direction was closed")
