"""Floods: what each costs before it is stopped, in frames taken (time) and in what is kept (memory)."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from http2_floods import BAD, BOMB, CRUMBS, FLOODS, POST, mentions, odd
from http2_wire import client, data, headers, read_frames, server
from l4proxy.protocols.http2 import Allowances, ErrorCode, Http2Connection, Http2Error, Limits, RequestReceived, Setting
from l4proxy.protocols.http2.events import DataReceived
from l4proxy.protocols.http2.frames import (
    ping_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from l4proxy.protocols.http2.limits import ALLOWANCES, FloodError, Guard
from l4proxy.protocols.http_fields import EMPTY

MEMORY = 1024 * 1024
"""Bytes that any flood may make us keep, three tables and a read included."""


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
    connection.receive_data(BOMB)
    tracemalloc.start()
    (event,) = connection.receive_data(mentions(3))
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert event.status == 431  # type: ignore[union-attr]
    assert memory < MEMORY
    assert not connection._heads


def test_a_bomb_of_cookie_crumbs_is_one_request_refused() -> None:
    connection = server()
    connection.receive_data(CRUMBS)
    (event,) = connection.receive_data(mentions(3))
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


def test_clients_may_give_up_what_they_have_waited_for() -> None:
    """Each second 100 long polls, which nothing has been sent for, by a proxy of many clients (CANCEL)."""
    connection = server()
    for second in range(100):
        connection.at(3.0 * second)
        first = 200 * second + 1
        connection.receive_data(b"".join(headers(at) for at in range(first, first + 200, 2)))
        connection.at(3.0 * second + 2)
        connection.receive_data(b"".join(reset_frame(at, 8) for at in range(first, first + 200, 2)))
    assert (connection.streams, connection.guard.glitches_total) == ({}, 0)


def test_clients_may_give_up_what_has_begun() -> None:
    """The first message of each call, and no more, a thousand times at once."""
    connection = server()
    for at in range(1, 2000, 2):
        (event, *_) = connection.receive_data(headers(at))
        connection.respond(event.stream, 200, EMPTY)  # type: ignore[union-attr]
        connection.send_data(event.stream, b"first", False)  # type: ignore[union-attr]
        connection.receive_data(reset_frame(at, 8))
        connection.data_to_send()
    assert connection.guard.glitches_total == 0


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
