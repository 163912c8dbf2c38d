"""A connection, sending: heads, bodies under windows, and turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from http2_wire import GET, Frame, headers, kinds, read_frames, server
from l4proxy.codec import LocalProtocolError
from l4proxy.protocols.http2 import ErrorCode, Http2Connection, Http2Stream, RequestReceived, Setting
from l4proxy.protocols.http2.codes import FrameType
from l4proxy.protocols.http2.frames import frame, reset_frame, settings_frame, window_update_frame
from l4proxy.protocols.http2.output import CONNECTION_QUEUE_HIGH, QUEUE_HIGH, WRITE_LIMIT
from l4proxy.protocols.http_fields import EMPTY, FieldBlock


def streams(connection: Http2Connection, count: int, fields: tuple[tuple[str, str], ...] = GET) -> list[Http2Stream]:
    events = connection.receive_data(b"".join(headers(2 * at + 1, fields) for at in range(count)))
    made = [event.stream for event in events if isinstance(event, RequestReceived)]
    for stream in made:
        connection.respond(stream, 200, EMPTY)
    connection.data_to_send()
    return made


def bodies(sent: bytes) -> list[tuple[int, int, int]]:
    return [(f.stream_id, len(f.payload), f.flags) for f in read_frames(sent) if f.kind == FrameType.DATA]


def everything(connection: Http2Connection) -> list[Frame]:
    frames: list[Frame] = []
    while sent := connection.data_to_send():
        frames += read_frames(sent)
    return frames


def test_a_small_answer_is_two_frames_in_one_write() -> None:
    connection = server()
    (stream,) = streams(connection, 1)
    connection.send_data(stream, b"hello", True)
    assert bodies(connection.data_to_send()) == [(1, 5, 1)]
    assert connection.data_to_send() == b""
    assert stream.closed


def test_it_says_whether_there_may_be_anything_to_send() -> None:
    connection = server()
    (stream,) = streams(connection, 1)
    said = [connection.has_output]
    connection.send_data(stream, bytes(2 * connection.send_window), False)
    said.append(connection.has_output)
    everything(connection)
    connection.drained()
    said.append(connection.has_output)  # what is left waits for windows
    connection.receive_data(window_update_frame(1, 10) + window_update_frame(0, 10))
    assert [*said, connection.has_output] == [False, True, False, True]


def test_a_body_is_cut_at_the_frame_size() -> None:
    connection = server()
    (stream,) = streams(connection, 1)
    connection.send_data(stream, bytes(40_000), True)
    assert bodies(connection.data_to_send()) == [(1, 16384, 0), (1, 16384, 0), (1, 7232, 1)]


def test_the_peer_may_allow_larger_frames() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.MAX_FRAME_SIZE: 50_000}))
    (stream,) = streams(connection, 1)
    connection.send_data(stream, bytes(40_000), True)
    assert bodies(connection.data_to_send()) == [(1, 40_000, 1)]


def test_a_stream_waits_for_its_window() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 10}))
    (stream,) = streams(connection, 1)
    connection.send_data(stream, b"0123456789abcdef", True)
    assert bodies(connection.data_to_send()) == [(1, 10, 0)]
    assert connection.data_to_send() == b""
    connection.receive_data(window_update_frame(1, 5))
    assert bodies(connection.data_to_send()) == [(1, 5, 0)]
    connection.receive_data(window_update_frame(1, 5))
    assert bodies(connection.data_to_send()) == [(1, 1, 1)]


def test_a_window_that_opens_behind_the_end_is_of_no_effect() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 10}))
    (event,) = connection.receive_data(headers(1, end=False))
    assert isinstance(event, RequestReceived)
    connection.respond(event.stream, 200, EMPTY)
    connection.send_data(event.stream, b"0123456789abcdef", True)
    connection.data_to_send()
    connection.receive_data(window_update_frame(1, 100))
    assert bodies(connection.data_to_send()) == [(1, 6, 1)]
    connection.receive_data(window_update_frame(1, 100))
    assert connection.data_to_send() == b""


def test_all_wait_for_the_connection_s_window() -> None:
    connection = server()
    one, other = streams(connection, 2)
    connection.send_data(one, bytes(60_000), True)
    connection.send_data(other, bytes(60_000), True)
    assert sum(size for _, size, _ in bodies(connection.data_to_send())) == 65_535
    assert connection.data_to_send() == b""
    connection.receive_data(window_update_frame(0, 100_000))
    assert sum(size for _, size, _ in bodies(connection.data_to_send())) == 120_000 - 65_535


def test_a_smaller_initial_window_takes_back() -> None:
    """Windows may become negative (section 6.9.2)."""
    connection = server()
    (stream,) = streams(connection, 1)
    connection.send_data(stream, bytes(1000), False)
    connection.data_to_send()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 100}))
    assert stream.send_window == -900
    connection.data_to_send()
    connection.send_data(stream, b"x", True)
    connection.receive_data(window_update_frame(1, 900))
    assert connection.data_to_send() == b""
    connection.receive_data(window_update_frame(1, 1))
    assert bodies(connection.data_to_send()) == [(1, 1, 1)]


def test_an_end_needs_no_window() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}))
    one, other = streams(connection, 2)
    connection.send_data(one, b"", True)
    connection.send_trailers(other, FieldBlock([("grpc-status", "0")]))
    assert kinds(connection.data_to_send()) == ["DATA", "HEADERS"]


def test_trailers_wait_behind_the_body() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 3}))
    (stream,) = streams(connection, 1)
    connection.send_data(stream, b"12345", False)
    connection.send_trailers(stream, FieldBlock([("grpc-status", "0")]))
    assert kinds(connection.data_to_send()) == ["DATA"]
    connection.receive_data(window_update_frame(1, 2))
    data, trailers = read_frames(connection.data_to_send())
    assert (data.flags, trailers.flags) == (0, 5)
    assert stream.closed


def test_no_trailers_are_an_end() -> None:
    connection = server()
    (stream,) = streams(connection, 1)
    connection.send_trailers(stream, EMPTY)
    assert bodies(connection.data_to_send()) == [(1, 0, 1)]


def test_streams_take_turns() -> None:
    """However much the first has, the second one's frames come after one write of it, and then every other frame."""
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30}) + window_update_frame(0, 2**30))
    large, small = streams(connection, 2)
    for _ in range(40):
        connection.send_data(large, bytes(16384), False)
    connection.send_data(small, bytes(3 * 16384), True)
    order = [f.stream_id for f in everything(connection) if f.kind == FrameType.DATA]
    at = order.index(3)
    assert at <= WRITE_LIMIT // 16384 + 1
    assert order[at : at + 5] == [3, 1, 3, 1, 3]


def test_what_is_handed_out_at_once_is_bounded() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30}) + window_update_frame(0, 2**30))
    many = streams(connection, 20)
    for stream in many:
        connection.send_data(stream, bytes(50_000), True)
    sizes = []
    while sent := connection.data_to_send():
        sizes.append(len(sent))
    assert max(sizes) < WRITE_LIMIT + 60_000
    assert sum(sizes) > 20 * 50_000


def test_the_urgent_go_first() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30}))
    (slow,) = streams(connection, 1)
    events = connection.receive_data(headers(3, [*GET, ("priority", "u=0")]) + headers(5, [*GET, ("priority", "u=7")]))
    fast, lazy = (event.stream for event in events if isinstance(event, RequestReceived))
    for stream in (fast, lazy):
        connection.respond(stream, 200, EMPTY)
    connection.send_window = 0
    for stream in (lazy, slow, fast):
        connection.send_data(stream, bytes(20_000), True)
    connection.receive_data(window_update_frame(0, 60_000))
    order = [f.stream_id for f in everything(connection) if f.kind == FrameType.DATA]
    assert order == [3, 3, 1, 1, 5, 5]


@pytest.mark.parametrize(
    ("priorities", "order"),
    [
        (("u=3", "u=3", "u=3"), [1, 1, 1, 3, 3, 3, 5, 5, 5]),
        (("i", "i", "i"), [5, 3, 1, 5, 3, 1, 5, 3, 1]),
        ((None, None, None), [5, 3, 1, 5, 3, 1, 5, 3, 1]),
        (("u=3", None, "i"), [1, 1, 1, 5, 3, 5, 3, 5, 3]),
        (("u=5", "u=4, i", "u=4"), [5, 5, 5, 3, 3, 3, 1, 1, 1]),
    ],
)
def test_what_is_shown_in_pieces_shares_and_all_else_goes_one_by_one(
    priorities: tuple[str | None, ...], order: list[int]
) -> None:
    """RFC 9218 section 10; the bodies are there in the opposite order of the requests."""
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30}))
    heads = [[*GET, *([] if said is None else [("priority", said)])] for said in priorities]
    events = connection.receive_data(b"".join(headers(2 * at + 1, head) for at, head in enumerate(heads)))
    made = [event.stream for event in events if isinstance(event, RequestReceived)]
    for stream in made:
        connection.respond(stream, 200, EMPTY)
    connection.send_window = 0
    for stream in reversed(made):
        connection.send_data(stream, bytes(40_000), True)
    connection.receive_data(window_update_frame(0, 2**20))
    assert [f.stream_id for f in everything(connection) if f.kind == FrameType.DATA] == order


def test_one_that_goes_alone_keeps_its_place_while_it_waits() -> None:
    """For its window, or for the endpoint."""
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**20}))
    heads = b"".join(headers(number, [*GET, ("priority", "u=3")]) for number in (1, 3))
    first, second = (e.stream for e in connection.receive_data(heads) if isinstance(e, RequestReceived))
    for stream in (first, second):
        connection.respond(stream, 200, EMPTY)
    connection.send_window = 0
    first.send_window = 16384
    connection.send_data(second, bytes(3 * 16384), True)
    connection.send_data(first, bytes(2 * 16384), False)
    connection.receive_data(window_update_frame(0, 2 * 16384))
    assert [f.stream_id for f in everything(connection) if f.kind == FrameType.DATA] == [1, 3]
    connection.receive_data(window_update_frame(1, 2**20))
    connection.send_data(first, bytes(10), True)
    connection.receive_data(window_update_frame(0, 2**20))
    assert [f.stream_id for f in everything(connection) if f.kind == FrameType.DATA] == [1, 1, 3, 3]


def test_a_stream_says_when_it_is_full_and_when_not() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}))
    (stream,) = streams(connection, 1)
    connection.send_data(stream, bytes(QUEUE_HIGH), False)
    assert (stream.full, stream.queued) == (False, QUEUE_HIGH)
    connection.send_data(stream, b"x", False)
    assert stream.full
    assert connection.drained() == []
    connection.receive_data(window_update_frame(1, QUEUE_HIGH // 2 + 1))
    while connection.data_to_send():
        pass
    assert (stream.full, connection.drained()) == (False, [stream])
    assert connection.drained() == []


def test_all_streams_together_may_have_only_so_much_waiting() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}))
    many = streams(connection, 100)
    for stream in many:
        while not stream.full:
            connection.send_data(stream, bytes(16384), False)
    assert connection.queued <= CONNECTION_QUEUE_HIGH + 100 * 16384
    for stream in many[:90]:
        connection.receive_data(reset_frame(stream.id, 8))
    assert connection.queued == sum(stream.queued for stream in many[90:])
    connection.receive_data(window_update_frame(0, 2**30))
    for stream in many[90:]:
        connection.receive_data(window_update_frame(stream.id, stream.queued))
    everything(connection)
    assert connection.queued == 0
    assert connection.drained() == many[90:]


def test_a_stream_that_is_reset_drops_what_waits() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30}))
    one, other = streams(connection, 2)
    connection.send_window = 0
    connection.send_data(one, bytes(30_000), True)
    connection.send_data(other, bytes(30_000), True)
    connection.receive_data(reset_frame(1, 8))
    connection.reset(other, ErrorCode.CANCEL)
    connection.reset(other, ErrorCode.CANCEL)
    assert one.queued == other.queued == 0
    connection.receive_data(window_update_frame(0, 100_000))
    assert kinds(connection.data_to_send()) == ["RST_STREAM"]


def test_what_may_not_be_sent_is_our_bug() -> None:
    connection = server()
    (stream,) = streams(connection, 1)
    connection.send_data(stream, b"", True)
    mistakes: list[Callable[[], object]] = [
        lambda: connection.send_data(stream, b"x", False),
        lambda: connection.send_trailers(stream, EMPTY),
        lambda: connection.respond(stream, 200, EMPTY),
    ]
    for wrong in mistakes:
        with pytest.raises(LocalProtocolError, match="stream 1"):
            wrong()


def test_no_body_behind_an_end_that_still_waits() -> None:
    connection = server()
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}))
    (stream,) = streams(connection, 1)
    connection.send_data(stream, b"x", True)
    with pytest.raises(LocalProtocolError):
        connection.send_data(stream, b"y", False)


def test_long_heads_go_on_in_continuation() -> None:
    connection = server()
    events = connection.receive_data(headers(1))
    assert isinstance(events[0], RequestReceived)
    connection.respond(events[0].stream, 200, FieldBlock([(f"x-{at}", "y" * 2000) for at in range(20)]), end=True)
    frames = read_frames(connection.data_to_send())
    assert [f.kind.name for f in frames if isinstance(f.kind, FrameType)] == ["HEADERS", "CONTINUATION", "CONTINUATION"]
    assert [f.flags for f in frames] == [1, 0, 4]


def test_only_so_many_resets_are_remembered() -> None:
    connection = server()
    for at in range(1, 2001, 2):
        (event,) = connection.receive_data(headers(at, end=False))
        assert isinstance(event, RequestReceived)
        connection.reset(event.stream, ErrorCode.CANCEL)
    assert len(connection.reset_ids) == 200
    assert connection.receive_data(frame(FrameType.DATA, 0, 1, b"late")) == []
