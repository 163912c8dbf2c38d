"""Frames as bytes (RFC 9113 sections 4.1 and 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from l4proxy.protocols.http2.codes import Flag, FrameType, Setting

__all__ = [
    "FRAME_HEAD",
    "FRAME_HEAD_SIZE",
    "MAX_STREAM_ID",
    "MAX_WINDOW",
    "are_frames",
    "frame",
    "goaway_frame",
    "header_frames",
    "ping_frame",
    "reset_frame",
    "settings_frame",
    "window_update_frame",
]

FRAME_HEAD = struct.Struct("!IBI")
"""Length (24 bits) and type together, flags, stream: three numbers are read in less time than four."""
FRAME_HEAD_SIZE = FRAME_HEAD.size
MAX_STREAM_ID = MAX_WINDOW = 0x7FFFFFFF

_ON_STREAMS = {FrameType.DATA, FrameType.HEADERS, FrameType.PRIORITY, FrameType.RST_STREAM, FrameType.CONTINUATION}
_ON_NONE = {FrameType.SETTINGS, FrameType.PING, FrameType.GOAWAY}
_RESET = struct.Struct("!IBII")
_GOAWAY = struct.Struct("!II")
_SETTING = struct.Struct("!HI")


def frame(kind: FrameType, flags: int, stream_id: int, payload: bytes) -> bytes:
    return FRAME_HEAD.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def reset_frame(stream_id: int, code: int) -> bytes:
    return _RESET.pack(4 << 8 | FrameType.RST_STREAM, 0, stream_id, code)


def are_frames(data: bytes) -> bool:
    """Whether ``data`` can be nothing but whole frames, of types and on streams that there are: for who looks at a
    connection that he has not seen the beginning of."""
    at, end = 0, len(data)
    while at + FRAME_HEAD_SIZE <= end:
        head, _, stream_id = FRAME_HEAD.unpack_from(data, at)
        if head & 0xFF not in (_ON_STREAMS if stream_id else _ON_NONE) and head & 0xFF != FrameType.WINDOW_UPDATE:
            return False
        at += FRAME_HEAD_SIZE + (head >> 8)
    return 0 < at == end


def window_update_frame(stream_id: int, increment: int) -> bytes:
    return _RESET.pack(4 << 8 | FrameType.WINDOW_UPDATE, 0, stream_id, increment)


def ping_frame(payload: bytes, *, ack: bool = False) -> bytes:
    return frame(FrameType.PING, Flag.ACK if ack else 0, 0, payload)


def settings_frame(
    settings: Mapping[Setting, int] | Mapping[int, int] | Iterable[tuple[int, int]], *, ack: bool = False
) -> bytes:
    pairs: Iterable[tuple[int, int]] = settings.items() if isinstance(settings, Mapping) else settings
    payload = b"".join(_SETTING.pack(number, value) for number, value in pairs)
    return frame(FrameType.SETTINGS, Flag.ACK if ack else 0, 0, payload)


def goaway_frame(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    return frame(FrameType.GOAWAY, 0, 0, _GOAWAY.pack(last_stream_id, code) + debug)


def header_frames(stream_id: int, block: bytes, end_stream: int, max_frame_size: int) -> bytes:
    """HEADERS, and CONTINUATION for as much as does not fit. ``end_stream`` is the flag or 0."""
    size = len(block)
    if size <= max_frame_size:
        return FRAME_HEAD.pack(size << 8 | 1, end_stream | 4, stream_id) + block
    parts = [frame(FrameType.HEADERS, end_stream, stream_id, block[:max_frame_size])]
    for start in range(max_frame_size, size, max_frame_size):
        last = start + max_frame_size >= size
        parts.append(
            frame(
                FrameType.CONTINUATION,
                Flag.END_HEADERS if last else 0,
                stream_id,
                block[start : start + max_frame_size],
            )
        )
    return b"".join(parts)
