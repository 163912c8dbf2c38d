"""HTTP/2 as somebody sees it who stands beside the connection and only reads.

The two directions are read each by itself, tolerantly: what the ends make of a frame is theirs to say. What has to be
followed are SETTINGS, for they say how the other end may compress. A connection can be read from its beginning alone,
because compression remembers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.http2.codes import PREFACE, Flag, FrameType, Setting
from l4proxy.protocols.http2.frames import FRAME_HEAD, FRAME_HEAD_SIZE, MAX_STREAM_ID
from l4proxy.protocols.http2.hpack_decoder import Decoder
from l4proxy.protocols.http_fields import Field

__all__ = ["Direction", "Sink", "watch"]

MAX_TABLE = 64 * 1024
"""Bytes of a compression table that we follow; ends may agree on any size."""
MAX_BLOCK = 256 * 1024
"""Bytes of a header section."""
MAX_FRAME = 1 << 24

_LONG = struct.Struct("!I")
_SETTING = struct.Struct("!HI")


class Sink(Protocol):
    """What a direction tells. ``at`` is what ``feed`` was given."""

    def on_head(self, stream_id: int, fields: Sequence[Field], end: bool, size: int, at: float) -> None:
        """A header section, which was ``size`` bytes of frames: a head, or trailers."""

    def on_data(self, stream_id: int, data: bytes, end: bool, size: int, at: float) -> None: ...

    def on_reset(self, stream_id: int, code: int, at: float) -> None: ...

    def on_goaway(self, last_stream_id: int, code: int, at: float) -> None: ...


class Direction:
    """What one end sends. ``other`` is set to the other direction."""

    __slots__ = ("_block", "_block_flags", "_block_size", "_block_stream", "_decoder", "_needed", "_parts",
                 "_parts_size", "_preface", "_sink", "other")  # fmt: skip

    other: Direction

    def __init__(self, sink: Sink, *, client: bool) -> None:
        self._sink = sink
        self._preface = client
        self._decoder = Decoder(MAX_TABLE)
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._needed = 0
        self._block: list[bytes] = []
        self._block_stream = 0
        self._block_flags = 0
        self._block_size = 0

    def feed(self, data: bytes, at: float) -> None:
        """Raises RemoteProtocolError for what is no HTTP/2."""
        if self._parts:
            self._parts.append(data)
            self._parts_size += len(data)
            if self._parts_size < self._needed:
                return
            data = b"".join(self._parts)
            self._parts = []
        pos = self._read(data, at)
        if pos < len(data):
            rest = data[pos:]
            self._parts, self._parts_size = [rest], len(rest)
            if self._preface:
                self._needed = len(PREFACE)
            elif len(rest) < FRAME_HEAD_SIZE:
                self._needed = FRAME_HEAD_SIZE
            else:
                self._needed = FRAME_HEAD_SIZE + (FRAME_HEAD.unpack_from(rest)[0] >> 8)

    def _read(self, data: bytes, at: float) -> int:
        pos, size = 0, len(data)
        if self._preface:
            if not data.startswith(PREFACE):
                if PREFACE.startswith(data):
                    return 0
                raise RemoteProtocolError("not the preface of HTTP/2", code="bad_preface")
            self._preface = False
            pos = len(PREFACE)
        while size - pos >= FRAME_HEAD_SIZE:
            head, flags, stream_id = FRAME_HEAD.unpack_from(data, pos)
            start = pos + FRAME_HEAD_SIZE
            stop = start + (head >> 8)
            if stop > size:
                break
            self._take(head & 0xFF, flags, stream_id & MAX_STREAM_ID, data[start:stop], at)
            pos = stop
        return pos

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes, at: float) -> None:
        size = FRAME_HEAD_SIZE + len(payload)
        try:
            if kind in (FrameType.DATA, FrameType.HEADERS):
                payload = _unpadded(kind, flags, payload)
            if kind == FrameType.DATA:
                self._sink.on_data(stream_id, payload, bool(flags & Flag.END_STREAM), size, at)
            elif kind == FrameType.HEADERS:
                self._block, self._block_stream, self._block_flags, self._block_size = [payload], stream_id, flags, size
                self._end_block(flags, at)
            elif kind == FrameType.CONTINUATION:
                self._block.append(payload)
                self._block_size += size
                self._end_block(flags, at)
            elif kind == FrameType.RST_STREAM:
                self._sink.on_reset(stream_id, _LONG.unpack_from(payload)[0], at)
            elif kind == FrameType.GOAWAY:
                self._sink.on_goaway(
                    _LONG.unpack_from(payload)[0] & MAX_STREAM_ID, _LONG.unpack_from(payload, 4)[0], at
                )
            elif kind == FrameType.PUSH_PROMISE:
                raise RemoteProtocolError("server push, which is not followed", code="push_promise")
            elif kind == FrameType.SETTINGS and not flags & Flag.ACK:
                self._settings(payload)
        except (struct.error, IndexError):
            raise RemoteProtocolError(
                f"a frame of type {kind} and {len(payload)} bytes", code="bad_frame_size"
            ) from None

    def _end_block(self, flags: int, at: float) -> None:
        if self._block_size > MAX_BLOCK:
            raise RemoteProtocolError("a header section that is too large", code="headers_too_large")
        if flags & Flag.END_HEADERS:
            entries = self._decoder.decode(b"".join(self._block))
            fields = [entry[0] for entry in entries]
            end = bool(self._block_flags & Flag.END_STREAM)
            self._block = []
            self._sink.on_head(self._block_stream, fields, end, self._block_size, at)

    def _settings(self, payload: bytes) -> None:
        """The other end may use a table of this size, and says so when it does."""
        for number, value in _SETTING.iter_unpack(payload):
            if number == Setting.HEADER_TABLE_SIZE:
                self.other._decoder.limit = min(value, MAX_TABLE)


def _unpadded(kind: int, flags: int, payload: bytes) -> bytes:
    start, stop = 0, len(payload)
    if flags & Flag.PADDED:
        start, stop = 1, stop - payload[0]
    if kind == FrameType.HEADERS and flags & Flag.PRIORITY:
        start += 5
    if start > stop:
        raise IndexError
    return payload[start:stop] if start or stop < len(payload) else payload


def watch(client: Sink, server: Sink) -> tuple[Direction, Direction]:
    """What the client sends, and what the server does."""
    from_client, from_server = Direction(client, client=True), Direction(server, client=False)
    from_client.other, from_server.other = from_server, from_client
    return from_client, from_server
