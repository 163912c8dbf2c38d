"""Floods: what each costs before it is stopped, in frames taken (time) and in what is kept (memory)."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from http2_wire import GET, block, client, data, headers, read_frames, server
from l4proxy.protocols.http2 import Allowances, ErrorCode, Http2Connection, Http2Error, Limits, RequestReceived, Setting
from l4proxy.protocols.http2.codes import FrameType
from l4proxy.protocols.http2.events import DataReceived
from l4proxy.protocols.http2.frames import (
    frame,
    goaway_frame,
    ping_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from l4proxy.protocols.http2.limits import ALLOWANCES, FloodError, Guard
from l4proxy.protocols.http_fields import EMPTY

POST = ((":method", "POST"), *GET[1:])
BAD = (*GET, ("Bad", "x"))
MEMORY = 1024 * 1024
"""Bytes that any flood may make us keep, three tables and a read included."""


def forever(wire: bytes, first: bytes = b"") -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([first] if first else [], itertools.repeat(wire))


def each(make: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
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


def flood(connection: Http2Connection, frames: Iterator[bytes]) -> tuple[str, int, int, int]:
    """Send until we are stopped; an owner does its part and its writes leave. Returns the error, the frames that were
    taken before it, the memory that all of it grew by at most, and the code of GOAWAY."""
    count = 0
    tracemalloc.start()
    try:
        for wire in frames:
            count += len(read_frames(wire))
            assert count < 20_000, "nothing stops it"
            try:
                events = connection.receive_data(wire)
            except Http2Error as error:
                goaway = read_frames(error.reply)[-1]
                return error.code, count, tracemalloc.get_traced_memory()[1], goaway.code
            for event in events:
                if isinstance(event, DataReceived):
                    connection.consumed(event.stream, event.size)
            connection.data_to_send()
    finally:
        tracemalloc.stop()
    raise AssertionError("it ended")


@pytest.mark.parametrize(("kind", "most", "frames"), [pytest.param(*row[1:], id=row[0]) for row in FLOODS])
def test_each_flood_is_stopped(kind: str, most: int, frames: Callable[[], Iterator[bytes]]) -> None:
    code, count, memory, goaway = flood(server(), frames())
    assert (code, goaway) == (f"{kind}_flood", ErrorCode.ENHANCE_YOUR_CALM)
    assert count <= most
    assert memory < MEMORY


def test_every_allowance_has_a_flood() -> None:
    assert set(ALLOWANCES) <= {row[1] for row in FLOODS} | {"informational", "glitches"}


def test_informational_responses_without_end() -> None:
    connection = client()
    connection.request("GET", "http", "/", "a", EMPTY, end=True)
    code, count, memory, _ = flood(connection, itertools.repeat(headers(1, [(":status", "102")], end=False)))
    assert (code, count) == ("informational_flood", 101)
    assert memory < MEMORY


def test_oddities_add_up() -> None:
    """None of them is a flood by itself."""
    connection = server(Limits(allowances=Allowances(glitches=40)))

    def oddities() -> Iterator[bytes]:
        for at in itertools.count(1, 2):
            yield headers(at, BAD, end=False) + odd(0, b"x") + settings_frame({})

    code, count, _, _ = flood(connection, oddities())
    assert code == "glitches_flood"
    assert 41 <= count < 44
    assert connection.guard.glitches_total == 41


@pytest.mark.parametrize("row", FLOODS[:4], ids=lambda row: row[1])
def test_an_allowance_is_a_number_one_can_set(row: tuple[str, str, int, Callable[[], Iterator[bytes]]]) -> None:
    code, count, _, _ = flood(server(Limits(allowances=Allowances(**{row[1]: 3}))), row[3]())
    assert code == f"{row[1]}_flood"
    assert count <= 8


def test_an_hpack_bomb_is_one_request_refused() -> None:
    """A field of 4000 bytes in the table, and 16,000 times its index: 64 MB of fields in one frame (CVE-2026-47774)."""
    connection = server()
    large = frame(FrameType.HEADERS, 5, 1, block(GET) + b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000)
    connection.receive_data(large)
    tracemalloc.start()
    (event,) = connection.receive_data(frame(FrameType.HEADERS, 5, 3, block(GET) + b"\xbe" * 16_000))
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert event.status == 431  # type: ignore[union-attr]
    assert memory < MEMORY
    assert not connection._heads


def test_a_bomb_of_cookie_crumbs_is_one_request_refused() -> None:
    connection = server()
    connection.receive_data(frame(FrameType.HEADERS, 5, 1, block(GET) + b"\x60\x01a"))
    (event,) = connection.receive_data(frame(FrameType.HEADERS, 5, 3, block(GET) + b"\xbe" * 16_000))
    assert event.status == 431  # type: ignore[union-attr]


def test_busy_connections_reach_no_limit() -> None:
    """Ten thousand requests with a body, a PING and window updates each, and every third one given up."""
    connection = server()
    for at in range(1, 20_001, 2):
        wire = headers(at, POST, end=False) + data(at, b"x", end=True) + ping_frame(b"12345678")
        wire += window_update_frame(0, 6) * 3
        events = connection.receive_data(wire)
        request = next(event for event in events if isinstance(event, RequestReceived))
        if at % 6 == 1:
            connection.receive_data(reset_frame(at, 8))
        else:
            connection.respond(request.stream, 200, EMPTY)
            connection.send_data(request.stream, b"answer", True)
        connection.data_to_send()
    assert connection.guard.glitches < 100


def test_allowances_grow_with_time() -> None:
    guard = Guard(Allowances(pings=10))
    for second in range(1, 100):
        guard.at(float(second))
        guard.spend("pings", glitch=False)
    for _ in range(10):
        guard.at(200.0)
        guard.spend("pings", glitch=False)
    with pytest.raises(FloodError, match="more than 10 pings"):
        guard.spend("pings", glitch=False)


def test_allowances_grow_with_work() -> None:
    guard = Guard(Allowances(pings=10, window_updates=10))
    for _ in range(1000):
        guard.work += 1
        guard.spend("pings", glitch=False)
        for _ in range(9):
            guard.spend("window_updates", glitch=False)


@pytest.mark.parametrize("number", [Setting.MAX_CONCURRENT_STREAMS, Setting.INITIAL_WINDOW_SIZE])
def test_peers_that_allow_nothing_cost_nothing(number: Setting) -> None:
    """Windows that never open: what is queued is bounded by whoever minds ``full``, a stream each."""
    connection = server()
    connection.receive_data(settings_frame({number: 0}))
    events: list[Any] = connection.receive_data(b"".join(headers(at) for at in range(1, 201, 2)))
    for event in events:
        connection.respond(event.stream, 200, EMPTY)
        while not event.stream.full and len(connection.streams) > 50:
            connection.send_data(event.stream, bytes(16384), False)
            if number == Setting.MAX_CONCURRENT_STREAMS:
                break
    assert all(stream.queued <= 80 * 1024 + 16384 for stream in connection.streams.values())
