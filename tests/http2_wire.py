"""Frames for tests of HTTP/2: written by hand, and read back from what a connection sends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import hpack

from l4proxy.protocols.http2 import PREFACE, Http2Connection, Limits
from l4proxy.protocols.http2.codes import FrameType
from l4proxy.protocols.http2.events import Event
from l4proxy.protocols.http2.frames import frame, settings_frame

__all__ = ["GET", "OK", "Frame", "block", "client", "data", "headers", "kinds", "read_block", "read_frames", "server"]

GET = ((":method", "GET"), (":scheme", "http"), (":authority", "example.com"), (":path", "/"))
OK = ((":status", "200"),)


@dataclass(frozen=True, slots=True)
class Frame:
    kind: FrameType | int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == FrameType.GOAWAY else self.payload[:4], "big")


def read_frames(data: bytes) -> list[Frame]:
    frames = []
    data = data.removeprefix(PREFACE)
    while data:
        length = int.from_bytes(data[:3], "big")
        kind = FrameType(data[3]) if data[3] in set(FrameType) else data[3]
        frames.append(Frame(kind, data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        assert len(frames[-1].payload) == length, "half a frame"
        data = data[9 + length :]
    return frames


def kinds(data: bytes) -> list[str]:
    return [frame.kind.name if isinstance(frame.kind, FrameType) else str(frame.kind) for frame in read_frames(data)]


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block that adds nothing to a table."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])


def read_block(block: bytes) -> list[tuple[str, str]]:
    """What a decoder with an empty table makes of a header block."""
    decoded: Any = hpack.Decoder().decode(block)  # text, but annotated as what it is with raw=True, too
    return [(name, value) for name, value in decoded]


def headers(
    stream_id: int, fields: Iterable[tuple[str, str]] = GET, *, end: bool = True, flags: int = 0x4, prefix: bytes = b""
) -> bytes:
    return frame(FrameType.HEADERS, flags | end, stream_id, prefix + block(fields))


def data(stream_id: int, content: bytes = b"", *, end: bool = False, flags: int = 0) -> bytes:
    return frame(FrameType.DATA, flags | end, stream_id, content)


def server(limits: Limits | None = None) -> Http2Connection:
    """A server whose client has said hello."""
    connection = Http2Connection(limits=limits)
    _greet(connection, PREFACE)
    return connection


def client(limits: Limits | None = None, settings: dict[int, int] | None = None) -> Http2Connection:
    """A client whose server has said hello."""
    connection = Http2Connection(client=True, limits=limits)
    _greet(connection, b"", settings)
    return connection


def _greet(connection: Http2Connection, preface: bytes, settings: dict[int, int] | None = None) -> None:
    connection.at(0.0)
    events: list[Event] = connection.receive_data(
        preface + settings_frame(settings or {}) + settings_frame({}, ack=True)
    )
    assert len(events) == 1
    connection.data_to_send()
