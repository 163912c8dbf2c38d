"""Floods: what peers may do too often, frame by frame, for the codec alone and for a running proxy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from http2_wire import GET, block, data, headers
from l4proxy.protocols.http2 import Setting
from l4proxy.protocols.http2.codes import FrameType
from l4proxy.protocols.http2.frames import (
    frame,
    goaway_frame,
    ping_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)

__all__ = ["BAD", "BOMB", "CRUMBS", "FLOODS", "POST", "Frames", "mentions", "odd"]

Frames = Callable[[], Iterator[bytes]]
POST = ((":method", "POST"), *GET[1:])
BAD = (*GET, ("Bad", "x"))


def forever(wire: bytes, first: bytes = b"") -> Frames:
    return lambda: itertools.chain([first] if first else [], itertools.repeat(wire))


def each(make: Callable[[int], bytes]) -> Frames:
    """What is sent for one stream after the other."""
    return lambda: (make(at) for at in itertools.count(1, 2))


UPLOAD = headers(1, POST, end=False)
UNENDED = frame(FrameType.HEADERS, 0, 1, block(GET))


def odd(flags: int, payload: bytes) -> bytes:
    return frame(0x77, flags, 0, payload)  # type: ignore[arg-type]


def more(payload: bytes) -> bytes:
    return frame(FrameType.CONTINUATION, 0, 1, payload)


def self_priority(at: int) -> bytes:
    return frame(FrameType.PRIORITY, 0, at, at.to_bytes(4, "big") + b"\0")


def one_too_many(at: int) -> bytes:
    return headers(at, [*POST, ("content-length", "1")], end=False) + data(at, b"xx")


# What it is; the error that it ends in; how many frames may be taken before; what is sent.
FLOODS = [
    ("PING", "pings", 201, forever(ping_frame(b"12345678"))),
    ("SETTINGS", "settings", 51, forever(settings_frame({}))),
    ("large SETTINGS", "settings", 1, forever(settings_frame([(Setting.HEADER_TABLE_SIZE, 5)] * 2000))),
    ("rapid reset", "resets", 402, each(lambda at: headers(at) + reset_frame(at, 8))),
    ("WINDOW_UPDATE by 0", "provoked_resets", 202, each(lambda at: headers(at) + window_update_frame(at, 0))),
    ("windows too large", "provoked_resets", 202, each(lambda at: headers(at) + window_update_frame(at, 2**31 - 1))),
    ("priority of itself", "provoked_resets", 202, each(lambda at: headers(at) + self_priority(at))),
    ("data behind the end", "provoked_resets", 202, each(lambda at: headers(at) + data(at, b"x"))),
    ("more data than promised", "provoked_resets", 202, each(one_too_many)),
    ("malformed requests", "provoked_resets", 101, each(lambda at: headers(at, BAD))),
    ("names of no length", "provoked_resets", 101, each(lambda at: headers(at, [*GET, ("", "")]))),
    ("too many fields", "provoked_resets", 101, each(lambda at: headers(at, [*GET, *[("x", "")] * 200]))),
    ("too many streams", "refused_streams", 1101, each(lambda at: headers(at))),
    ("empty DATA", "empty_frames", 22, forever(data(1), UPLOAD)),
    ("nothing but padding", "empty_frames", 22, forever(data(1, b"\0", flags=8), UPLOAD)),
    ("PRIORITY", "priorities", 501, forever(frame(FrameType.PRIORITY, 0, 1, bytes(5)))),
    ("PRIORITY_UPDATE", "priorities", 501, forever(frame(FrameType.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1"))),
    ("WINDOW_UPDATE", "window_updates", 1001, forever(window_update_frame(0, 1))),
    ("unknown frames", "unknown_frames", 101, forever(odd(0, b"x"))),
    ("GOAWAY", "unknown_frames", 102, forever(goaway_frame(0, 0))),
    ("data after a reset", "late_frames", 10_002, forever(data(1, b"x"), headers(1, BAD, end=False))),
    ("resets of the same stream", "late_frames", 10_003, forever(reset_frame(1, 8), headers(1) + reset_frame(1, 8))),
    ("CONTINUATION", "continuation", 18, forever(more(b"\x00\x01a\x01b"), UNENDED)),
    ("empty CONTINUATION", "continuation", 18, forever(more(b""), UNENDED)),
    ("large CONTINUATION", "continuation", 5, forever(more(bytes(16384)), UNENDED)),
]
BOMB = frame(FrameType.HEADERS, 5, 1, block(GET) + b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000)
"""A field of 4000 bytes for the table, whose index is one byte from then on (CVE-2026-47774)."""
CRUMBS = frame(FrameType.HEADERS, 5, 1, block(GET) + b"\x60\x01a")
"""The same with a cookie, which every mention makes a crumb of."""


def mentions(at: int) -> bytes:
    """A request that has the newest field of the table 16,000 times."""
    return frame(FrameType.HEADERS, 5, at, block(GET) + b"\xbe" * 16_000)
