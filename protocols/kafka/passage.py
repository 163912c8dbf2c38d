"""One direction of a connection that passes through somebody's hands: cut into frames, changed where it has to be.

Whoever watches (`frames`) is told of frames when they are complete, for the bytes have left already. Here they leave
when it is known what becomes of them. For most frames that is so as soon as their first bytes are there: they **pass**,
in the chunks in which they come, and a chunk in which nothing is changed leaves as the very object that came. A frame
that has to be seen as a whole is **collected**; one that is too large for that is given to a **reader**, a generator
that gets its chunks and yields the bytes that leave instead.

A passage can be **stopped** between two frames. What is behind waits, and is looked at when it goes on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import NoReturn

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka.frames import MAX_FRAME, SIZE, refuse
from l4proxy.protocols.kafka.wire import Chunk

__all__ = ["COLLECT", "MAX_MESSAGE", "PASS", "READ", "Look", "Passage", "Reader"]

MAX_MESSAGE = 16 * 1024 * 1024
"""Default for the largest frame that is collected."""

PASS = 0
COLLECT = -1
READ = -2

Look = Callable[[bytes, int, int, int], int]
"""``look(data, pos, end, size)``: a frame of ``size`` bytes has begun, of which ``data[pos:end]`` are there, all of it
or a part. Returns `PASS`; `READ`, when it has set ``reader``; `COLLECT`; or how many bytes of the frame have to be
there before that can be said. In these two cases it is asked again when there are more."""
Whole = Callable[[bytes, int, int], bytes]
"""``whole(data, pos, stop)``: a collected frame is ``data[pos:stop]``, its size in front of it. Returns the bytes that
leave in its place; they may be none."""
Reader = Generator[bytes, Chunk, None]
"""Gets the chunks of a frame without its size, and yields what leaves in their place, a size included. It is not asked
for more behind the last one."""

_size = struct.Struct(">i").unpack_from


class Passage:
    """``feed`` takes what comes, and returns what leaves."""

    __slots__ = ("_have", "_kept", "_left", "_look", "_need", "_whole", "after", "max_frame", "max_message", "reader",
                 "stopped")  # fmt: skip

    def __init__(self, look: Look, whole: Whole, *, max_frame: int = MAX_FRAME, max_message: int = MAX_MESSAGE) -> None:
        self._look = look
        self._whole = whole
        self.max_frame = max_frame
        self.max_message = max_message
        self.reader: Reader | None = None
        """Set by ``look`` before it returns `READ`; started already."""
        self.after: Callable[[], bytes] | None = None
        """Called behind the frame under way, for bytes that leave behind it. While it is None, nobody is."""
        self.stopped = False
        """Nothing more is looked at. Set from within ``look``, ``whole`` or ``after``, or between two chunks."""
        self._left = 0
        """Bytes that are missing of the frame that passes, or is read."""
        self._kept: list[bytes] = []
        self._have = 0
        """Bytes in it."""
        self._need = SIZE
        """So many of them have to be there before it is worth looking."""

    @property
    def left(self) -> int:
        """Bytes that are missing of the frame that passes, or is read; 0 between frames."""
        return self._left

    @property
    def waiting(self) -> int:
        """Bytes that have come and not left."""
        return self._have

    def close(self) -> None:
        """Let go of the owner."""
        self._look = self._whole = _closed
        self.after = self.reader = None
        self._kept.clear()

    def feed(self, data: bytes) -> bytes:
        """Raises RemoteProtocolError where a size is none, and what the owner raises; after that it is of no use."""
        if self._have:
            self._kept.append(data)
            self._have += len(data)
            if self._have < self._need or self.stopped:
                return b""
            data = b"".join(self._kept)
            self._kept.clear()
            self._have = 0
        out: list[bytes] = []
        start = pos = self._go_on(data, out) if self._left else 0
        if not out:
            start = 0
        end = len(data)
        look = self._look
        max_frame = self.max_frame
        self._need = SIZE
        while end - pos >= SIZE and not self.stopped:
            (size,) = _size(data, pos)
            if not 0 <= size <= max_frame:
                raise refuse(size, data[pos : pos + SIZE], max_frame)
            stop = pos + SIZE + size
            what = look(data, pos + SIZE, stop if stop < end else end, size)
            if what == PASS:
                if stop > end:
                    self._left = stop - end
                    pos = end
                    break
                pos = stop
                if self.after is None:
                    continue
                out.append(data[start:pos])
            elif what == READ:
                out += (data[start:pos], self._read(data, pos + SIZE, min(stop, end)))
                if stop > end:
                    self._left = stop - end
                    start = pos = end
                    break
                self.reader = None
            elif what == COLLECT and stop <= end and size <= self.max_message:
                if start < pos:
                    out.append(data[start:pos])
                out.append(self._whole(data, pos + SIZE, stop))
            else:
                self._need = self._needed(what, size)
                break
            start = pos = stop
            if self.after is not None:
                out.append(self.after())
        if pos < end:
            self._kept.append(data[pos:] if pos else data)
            self._have = end - pos
        if not out:
            return data[start:pos] if pos - start != end else data
        if start < pos:
            out.append(data[start:pos])
        return b"".join(out)

    def _needed(self, what: int, size: int) -> int:
        if what != COLLECT:
            return SIZE + what
        if size > self.max_message:
            raise RemoteProtocolError(
                f"a message of {size} bytes has to be seen as a whole, where {self.max_message} are allowed",
                code="oversized_message",
            )
        return SIZE + size

    def go_on(self) -> bytes:
        """Go on after a stop; return what leaves."""
        self.stopped = False
        self._need = 0
        return self.feed(b"") if self._have else b""

    def _go_on(self, data: bytes, out: list[bytes]) -> int:
        """More of a frame that passes or is read; return where the next one begins."""
        pos = min(len(data), self._left)
        self._left -= pos
        if self.reader is not None:
            out.append(self._read(data, 0, pos))
            if not self._left:
                self.reader = None
        elif not self._left and self.after is not None:
            out.append(data[:pos])
        if not self._left and self.after is not None:
            out.append(self.after())
        return pos

    def _read(self, data: bytes, pos: int, end: int) -> bytes:
        assert self.reader is not None
        return self.reader.send((data, pos, end))


def _closed(*_args: object) -> NoReturn:
    raise RuntimeError("this direction was closed")
