"""A connection, reading: frames, heads, windows, SETTINGS, GOAWAY, and what breaks a stream or everything."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from http2_wire import GET, OK, block, client, data, headers, kinds, read_block, read_frames, server
from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.http2 import (
    PREFACE,
    DataReceived,
    ErrorCode,
    GoAwayReceived,
    Http2Connection,
    Http2Error,
    InformationalReceived,
    Limits,
    PingAcked,
    RequestReceived,
    ResponseReceived,
    Setting,
    SettingsChanged,
    StreamRefused,
    StreamReset,
    TrailersReceived,
)
from l4proxy.protocols.http2.codes import FrameType
from l4proxy.protocols.http2.frames import (
    MAX_STREAM_ID,
    frame,
    goaway_frame,
    ping_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from l4proxy.protocols.http2.stream_state import State
from l4proxy.protocols.http_fields import EMPTY, FieldBlock

POST = ((":method", "POST"), *GET[1:])


def fails(connection: Http2Connection, wire: bytes) -> Http2Error:
    with pytest.raises(Http2Error) as caught:
        connection.receive_data(wire)
    return caught.value


def only(events: list[Any], kind: type) -> Any:
    (event,) = events
    assert isinstance(event, kind)
    return event


# Hello


def test_a_server_says_what_it_allows() -> None:
    connection = Http2Connection(limits=Limits(max_concurrent_streams=7, stream_window=70_000))
    settings, window = read_frames(connection.data_to_send())
    sent = {settings.payload[at + 1]: int.from_bytes(settings.payload[at + 2 : at + 6], "big")
            for at in range(0, len(settings.payload), 6)}  # fmt: skip
    assert sent[Setting.MAX_CONCURRENT_STREAMS] == 7
    assert sent[Setting.INITIAL_WINDOW_SIZE] == 70_000
    assert sent[Setting.ENABLE_CONNECT_PROTOCOL] == 1
    assert window.kind == FrameType.WINDOW_UPDATE


def test_a_client_says_hello_first_and_wants_no_push() -> None:
    sent = Http2Connection(client=True).data_to_send()
    assert sent.startswith(PREFACE)
    settings = read_frames(sent)[0]
    assert bytes([0, Setting.ENABLE_PUSH, 0, 0, 0, 0]) in settings.payload


@pytest.mark.parametrize("wire", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:10] + b"x", b"\0"])
def test_what_is_no_preface(wire: bytes) -> None:
    connection = Http2Connection()
    connection.data_to_send()
    error = fails(connection, wire)
    assert (error.code, error.error_code) == ("bad_preface", ErrorCode.PROTOCOL_ERROR)
    assert kinds(error.reply) == ["GOAWAY"]


@pytest.mark.parametrize("wire", [ping_frame(b"12345678"), settings_frame({}, ack=True), headers(1)[:12]])
def test_settings_come_first(wire: bytes) -> None:
    assert fails(Http2Connection(), PREFACE + wire).code == "no_settings"


def test_settings_are_acknowledged() -> None:
    connection = server()
    event = only(connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: 5})), SettingsChanged)
    assert event.settings == {Setting.INITIAL_WINDOW_SIZE: 5}
    (ack,) = read_frames(connection.data_to_send())
    assert (ack.kind, ack.flags, ack.payload) == (FrameType.SETTINGS, 1, b"")


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        (Setting.ENABLE_PUSH, 2, ErrorCode.PROTOCOL_ERROR),
        (Setting.MAX_FRAME_SIZE, 16383, ErrorCode.PROTOCOL_ERROR),
        (Setting.MAX_FRAME_SIZE, 2**24, ErrorCode.PROTOCOL_ERROR),
        (Setting.INITIAL_WINDOW_SIZE, 2**31, ErrorCode.FLOW_CONTROL_ERROR),
        (Setting.ENABLE_CONNECT_PROTOCOL, 2, ErrorCode.PROTOCOL_ERROR),
        (Setting.NO_RFC7540_PRIORITIES, 2, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_settings_that_may_not_be(setting: Setting, value: int, code: ErrorCode) -> None:
    assert fails(server(), settings_frame({setting: value})).error_code == code


def test_a_server_may_not_allow_push_nor_take_extended_connect_back() -> None:
    assert fails(client(), settings_frame({Setting.ENABLE_PUSH: 1})).code == "bad_setting"
    connection = client(settings={Setting.ENABLE_CONNECT_PROTOCOL: 1})
    assert connection.extended_connect
    assert fails(connection, settings_frame({Setting.ENABLE_CONNECT_PROTOCOL: 0})).code == "bad_setting"


def test_settings_that_are_not_acknowledged_in_time() -> None:
    connection = Http2Connection()
    connection.at(100.0)
    connection.receive_data(PREFACE + settings_frame({}))
    assert connection.waiting
    connection.at(110.0)
    with pytest.raises(Http2Error) as caught:
        connection.at(110.1)
    assert caught.value.error_code == ErrorCode.SETTINGS_TIMEOUT
    assert not server().waiting


# Requests and responses


def test_a_request_without_a_body() -> None:
    connection = server()
    event = only(connection.receive_data(headers(1)), RequestReceived)
    assert event.end
    assert event.head.method == "GET"
    assert event.head.block.fields == (("host", "example.com"),)
    connection.respond(event.stream, 204, EMPTY, end=True)
    assert kinds(connection.data_to_send()) == ["HEADERS"]
    assert event.stream.closed
    assert not connection.streams


def test_a_request_with_a_body_and_trailers() -> None:
    connection = server()
    connection.receive_data(headers(1, POST, end=False))
    events: list[Any] = connection.receive_data(data(1, b"he") + data(1, b"llo") + headers(1, [("x", "y")]))
    first, second = events
    assert (first.data, first.size, first.end) == (b"hello", 5, False)
    assert second.trailers.fields == (("x", "y"),)


def test_data_of_a_read_is_one_event_for_each_stream() -> None:
    connection = server()
    connection.receive_data(headers(1, POST, end=False) + headers(3, POST, end=False))
    wire = data(1, b"a") + data(3, b"b") + data(1, b"c", end=True) + data(3, b"d")
    events: list[Any] = connection.receive_data(wire)
    assert [(event.stream.id, event.data, event.end) for event in events] == [(1, b"ac", True), (3, b"bd", False)]
    assert only(connection.receive_data(data(3, b"e")), DataReceived).data == b"e"


def test_padding_counts_and_is_not_data() -> None:
    connection = server()
    connection.receive_data(headers(1, POST, end=False))
    event = only(connection.receive_data(data(1, b"\5hello" + bytes(5), flags=8)), DataReceived)
    assert (event.data, event.size) == (b"hello", 11)


_LARGE = st.tuples(st.sampled_from([1, 1, 1, 3]), st.sampled_from([5000, 5000, 16384, 3, 0]), st.integers(1, 9))


@given(st.lists(_LARGE, max_size=8), st.sampled_from([20_000, 50_000, 1 << 20]), st.sampled_from([None, 30_000]))
def test_frames_that_are_alike_are_read_together_as_they_are_one_by_one(
    runs: list[tuple[int, int, int]], window: int, length: int | None
) -> None:
    limits = Limits(stream_window=window, connection_window=100_000)
    said = [*POST, *([] if length is None else [("content-length", str(length))])]
    outcomes: list[Any] = []
    frames = [data(at, bytes([count]) * size) for at, size, count in runs for _ in range(count)]
    whole = b"".join(frames)
    pieces = [
        piece for at in range(0, len(whole), 40_000) for piece in (whole[at : at + 39_900], whole[at + 39_900 :][:100])
    ]
    for reads in (frames, [whole], pieces):
        connection = server(limits)
        connection.receive_data(headers(1, said, end=False) + headers(3, said, end=False))
        got: dict[int, bytes] = {1: b"", 3: b""}
        faults = []
        try:
            for read in reads:
                for event in connection.receive_data(read):
                    if isinstance(event, DataReceived):
                        got[event.stream.id] += event.data
                        assert event.size == len(event.data)
                    else:
                        assert isinstance(event, StreamReset)
                        faults.append((event.stream.id, event.detail))
        except Http2Error as error:
            outcomes.append((error.code,))  # events of the read that broke it are dropped
            continue
        left = [(at, stream.recv_window, stream.expected) for at, stream in connection.streams.items()]
        outcomes.append((got, faults, left, connection._recv_window, connection.guard.work))
    assert outcomes[1] == outcomes[2] == outcomes[0]


def test_headers_with_all_that_flags_can_add() -> None:
    connection = server()
    wire = frame(FrameType.HEADERS, 0x2D, 1, b"\3" + b"\0\0\0\0\x10" + block(GET) + bytes(3))
    assert only(connection.receive_data(wire), RequestReceived).head.target == "/"


def test_a_header_section_in_pieces() -> None:
    connection = server()
    whole = block(GET)
    wire = frame(FrameType.HEADERS, 1, 1, whole[:3])
    wire += frame(FrameType.CONTINUATION, 0, 1, whole[3:5]) + frame(FrameType.CONTINUATION, 4, 1, whole[5:])
    assert only(connection.receive_data(wire), RequestReceived).end


def test_equal_header_blocks_are_one_head() -> None:
    """From the third time on, until the table changes."""
    connection = server()
    encoder = hpack.Encoder()
    fields = [*GET, ("user-agent", "curl")]

    def head(stream_id: int, extra: list[tuple[str, str]]) -> Any:
        wire = frame(FrameType.HEADERS, 5, stream_id, encoder.encode(fields + extra))
        event = only(connection.receive_data(wire), RequestReceived)
        connection.reset(event.stream, ErrorCode.CANCEL)
        return event.head

    heads = [head(at, []) for at in (1, 3, 5, 7, 9)]
    assert heads[4] is heads[3] is heads[2]
    assert head(11, [("x", "y")]).block.fields[-1] == ("x", "y")
    again = head(13, [])
    assert again is not heads[4]
    assert again.block == heads[4].block


def test_equal_blocks_that_refer_to_no_table_are_one_head_and_still_add_to_it() -> None:
    """As nginx sends them: literals, each of which is indexed, and never an index."""
    connection = client()
    literal = b"\x88" + b"\x40\x01a\x01b" + b"\x40\x01c" + b"\x7f\x00" + b"x" * 127
    heads = []
    for at in range(1, 160, 2):
        connection.request("GET", "http", "/", "a", EMPTY, end=True)
        (event,) = connection.receive_data(frame(FrameType.HEADERS, 5, at, literal))
        assert isinstance(event, ResponseReceived)
        heads.append(event.head)
        assert len(connection._decoder._table) == min(at + 1, 2 * 21)
        assert connection._decoder.table_size <= 4096
    assert heads[-1] is heads[2] is not heads[0]
    connection.request("GET", "http", "/", "a", EMPTY, end=True)
    (event,) = connection.receive_data(frame(FrameType.HEADERS, 5, 161, b"\x88\xbf"))
    assert isinstance(event, ResponseReceived)
    assert event.head.block.fields == (("a", "b"),)


def test_equal_trailers_are_one_block() -> None:
    connection = client()
    encoder = hpack.Encoder()
    blocks = []
    for at in (1, 3, 5, 7):
        connection.request("GET", "http", "/", "a", EMPTY, end=True)
        wire = frame(FrameType.HEADERS, 4, at, encoder.encode([*OK]))
        wire += frame(FrameType.HEADERS, 5, at, encoder.encode([("grpc-status", "0")]))
        blocks.append(connection.receive_data(wire)[1].trailers)  # type: ignore[union-attr]
    assert blocks[3] is blocks[2]


def test_a_response_with_informational_ones_in_front() -> None:
    connection = client()
    stream = connection.request("GET", "http", "/", "a", EMPTY, end=True)
    events = connection.receive_data(
        headers(1, [(":status", "103"), ("link", "x")], end=False)
        + headers(1, OK, end=False)
        + data(1, b"hi", end=True)
    )
    assert [type(event) for event in events] == [InformationalReceived, ResponseReceived, DataReceived]
    assert stream.closed


def test_a_response_to_head_has_a_length_and_no_body() -> None:
    connection = client()
    connection.request("HEAD", "http", "/", "a", EMPTY, end=True)
    connection.request("HEAD", "http", "/", "a", EMPTY, end=True)
    fields = [*OK, ("content-length", "10")]
    assert only(connection.receive_data(headers(1, fields)), ResponseReceived).end
    connection.receive_data(headers(3, fields, end=False))
    assert only(connection.receive_data(data(3, b"x")), StreamReset).detail == "content_length_mismatch"


def test_connect_and_a_tunnel() -> None:
    connection = client(settings={Setting.ENABLE_CONNECT_PROTOCOL: 1})
    connection.request("CONNECT", "http", "", "a:443", EMPTY)
    connection.request("CONNECT", "http", "/chat", "a", EMPTY, protocol="websocket")
    events = server().receive_data(connection.data_to_send())
    plain, extended = (event.head for event in events if isinstance(event, RequestReceived))
    assert (plain.target, plain.protocol) == ("", "")
    assert (extended.target, extended.protocol) == ("/chat", "websocket")


# What breaks a stream


@pytest.mark.parametrize(
    ("wire", "detail", "code"),
    [
        (headers(1, [*POST, ("content-length", "3")], end=False) + data(1, b"hell"), "content_length_mismatch", 1),
        (
            headers(1, [*POST, ("content-length", "3")], end=False) + data(1, b"h", end=True),
            "content_length_mismatch",
            1,
        ),
        (
            headers(1, [*POST, ("content-length", "3")], end=False) + headers(1, [("x", "y")]),
            "content_length_mismatch",
            1,
        ),
        (headers(1, POST, end=False) + headers(1, [("x", "y")], end=False), "trailers_without_end", 1),
        (headers(1, POST, end=False) + headers(1, [(":path", "/")]), "bad_trailer", 1),
        (headers(1) + data(1, b"x"), "stream_closed", 5),
        (headers(1) + headers(1, [("x", "y")]), "stream_closed", 5),
        (headers(1) + window_update_frame(1, 0), "bad_window_update", 1),
        (headers(1) + window_update_frame(1, 2**31 - 1), "flow_control", 3),
        (headers(1) + frame(FrameType.PRIORITY, 0, 1, b"1234"), "bad_priority", 6),
        (headers(1) + frame(FrameType.PRIORITY, 0, 1, b"\0\0\0\1\0"), "bad_priority", 1),
    ],
)
def test_errors_of_a_stream(wire: bytes, detail: str, code: int) -> None:
    """It is reset, and the connection goes on; what is on its way for it is ignored."""
    connection = server()
    event = connection.receive_data(wire)[-1]
    assert isinstance(event, StreamReset)
    assert (event.detail, event.code) == (detail, code)
    reset = read_frames(connection.data_to_send())[-1]
    assert (reset.kind, reset.stream_id, reset.code) == (FrameType.RST_STREAM, 1, code)
    assert not connection.receive_data(data(1, b"x") + headers(1, [("x", "y")]) + reset_frame(1, 8))
    assert only(connection.receive_data(headers(3)), RequestReceived).stream.id == 3


@pytest.mark.parametrize("end", [False, True])
def test_a_malformed_request_is_answered_and_reset(end: bool) -> None:
    connection = server()
    event = only(connection.receive_data(headers(1, [*GET, ("Bad", "x")], end=end)), StreamRefused)
    assert (event.detail, event.status) == ("bad_header_name", 400)
    head, reset = read_frames(connection.data_to_send())
    assert read_block(head.payload) == [(":status", "400")]
    assert (reset.kind, reset.code) == (FrameType.RST_STREAM, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(("end", "frames"), [(True, ["HEADERS"]), (False, ["HEADERS", "RST_STREAM"])])
def test_a_header_section_that_is_too_large_is_answered_with_431(end: bool, frames: list[str]) -> None:
    connection = server(Limits(max_header_count=5))
    event = only(connection.receive_data(headers(1, [*GET, ("a", "1"), ("b", "2")], end=end)), StreamRefused)
    assert event.status == 431
    assert kinds(connection.data_to_send()) == frames
    assert only(connection.receive_data(headers(3)), RequestReceived).stream.id == 3


def test_a_stream_beyond_the_limit_is_refused() -> None:
    connection = server(Limits(max_concurrent_streams=1))
    connection.receive_data(headers(1))
    assert only(connection.receive_data(headers(3)), StreamRefused).detail == "max_concurrent_streams"
    (reset,) = read_frames(connection.data_to_send())
    assert (reset.stream_id, reset.code) == (3, ErrorCode.REFUSED_STREAM)


def test_more_data_than_the_window() -> None:
    connection = server(Limits(stream_window=10))
    connection.receive_data(headers(1, POST, end=False))
    event = only(connection.receive_data(data(1, bytes(11))), StreamReset)
    assert (event.code, event.detail) == (ErrorCode.FLOW_CONTROL_ERROR, "flow_control")


@pytest.mark.parametrize(
    "what", [data(1, b"x"), headers(1, [*OK, ("x", "\n")], end=False), headers(1, [(":status", "100")])]
)
def test_a_malformed_response(what: bytes) -> None:
    connection = client()
    stream = connection.request("GET", "http", "/", "a", EMPTY)
    event = only(connection.receive_data(what), StreamReset)
    assert event.stream is stream
    assert event.detail in ("data_before_head", "bad_header_value", "informational_end")
    assert not event.unprocessed


def test_a_peer_that_resets() -> None:
    connection = server()
    request, reset = connection.receive_data(headers(1) + reset_frame(1, 8))
    assert isinstance(reset, StreamReset)
    assert (reset.code, reset.detail) == (8, "")
    assert request.stream.closed  # type: ignore[union-attr]


def test_a_refused_stream_was_not_processed() -> None:
    connection = client()
    connection.request("GET", "http", "/", "a", EMPTY, end=True)
    connection.request("GET", "http", "/", "a", EMPTY, end=True)
    refused, cancelled = connection.receive_data(reset_frame(1, ErrorCode.REFUSED_STREAM) + reset_frame(3, 8))
    assert isinstance(refused, StreamReset)
    assert refused.unprocessed
    assert isinstance(cancelled, StreamReset)
    assert not cancelled.unprocessed


# What breaks the connection


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(FrameType.DATA, 0, 0, b"x"), 1),
        (frame(FrameType.DATA, 0, 1, b"x"), 1),
        (frame(FrameType.DATA, 8, 1, b""), 6),
        (frame(FrameType.DATA, 8, 1, b"\5abc"), 1),
        (headers(0), 1),
        (headers(2), 1),
        (headers(3) + headers(1), 1),
        (headers(1) + reset_frame(1, 8) + headers(1), 5),
        (frame(FrameType.HEADERS, 0xC, 1, b""), 6),
        (frame(FrameType.HEADERS, 0x24, 1, b"123"), 6),
        (frame(FrameType.HEADERS, 0xC, 1, b"\x7f" + block(GET)), 1),
        (frame(FrameType.HEADERS, 0x4, 1, b"\x80"), 9),
        (frame(FrameType.HEADERS, 0, 1, block(GET)) + ping_frame(b"12345678"), 1),
        (frame(FrameType.HEADERS, 0, 1, block(GET)) + frame(FrameType.CONTINUATION, 4, 3, b""), 1),
        (frame(FrameType.HEADERS, 0, 1, block(GET)) + frame(200, 4, 1, b""), 1),  # type: ignore[arg-type]
        (frame(FrameType.CONTINUATION, 4, 1, b""), 1),
        (frame(FrameType.PRIORITY, 0, 0, bytes(5)), 1),
        (frame(FrameType.PRIORITY, 0, 1, bytes(4)), 6),
        (frame(FrameType.RST_STREAM, 0, 0, bytes(4)), 1),
        (frame(FrameType.RST_STREAM, 0, 1, bytes(4)), 1),
        (frame(FrameType.RST_STREAM, 0, 1, bytes(5)), 6),
        (frame(FrameType.SETTINGS, 0, 1, b""), 1),
        (frame(FrameType.SETTINGS, 0, 0, bytes(5)), 6),
        (frame(FrameType.SETTINGS, 1, 0, bytes(6)), 6),
        (settings_frame([(99, 0)] * 33), 11),
        (frame(FrameType.PUSH_PROMISE, 4, 1, b"\0\0\0\2" + block(GET)), 1),
        (frame(FrameType.PING, 0, 1, bytes(8)), 1),
        (frame(FrameType.PING, 0, 0, bytes(7)), 6),
        (frame(FrameType.GOAWAY, 0, 1, bytes(8)), 1),
        (frame(FrameType.GOAWAY, 0, 0, bytes(7)), 6),
        (goaway_frame(1, 0) + goaway_frame(3, 0), 1),
        (window_update_frame(0, 0), 1),
        (window_update_frame(0, 2**31 - 1), 3),
        (window_update_frame(1, 1), 1),
        (frame(FrameType.WINDOW_UPDATE, 0, 0, b"123"), 6),
        (frame(FrameType.PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=1"), 1),
        (frame(FrameType.PRIORITY_UPDATE, 0, 0, b"\0\0\0"), 6),
        (frame(FrameType.PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1"), 1),
        (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", 6),
        (b"\x00\x40\x01\x63\x00\x00\x00\x00\x01", 6),
    ],
)
def test_errors_of_the_connection(wire: bytes, code: int) -> None:
    connection = server()
    error = fails(connection, wire)
    assert error.error_code == code
    goaway = read_frames(error.reply)[-1]
    assert (goaway.kind, goaway.code, goaway.payload[8:]) == (FrameType.GOAWAY, code, error.code.encode())
    assert connection.receive_data(headers(9)) == []  # nothing is taken any more
    assert connection.finished


def test_the_last_stream_of_goaway_is_one_that_was_told_of() -> None:
    connection = server()
    connection.receive_data(headers(1))
    error = fails(connection, headers(3) + ping_frame(b""))
    assert read_frames(error.reply)[-1].payload[:4] == b"\0\0\0\1"


def test_more_data_than_the_connection_s_window() -> None:
    connection = server(Limits(connection_window=65_535))
    connection.receive_data(b"".join(headers(at, POST, end=False) for at in (1, 3)))
    for _ in range(3):
        connection.receive_data(data(1, bytes(16384)) + data(3, bytes(5000)))
    assert fails(connection, data(3, bytes(2000))).error_code == ErrorCode.FLOW_CONTROL_ERROR


def test_frames_of_an_unknown_type_are_ignored() -> None:
    assert server().receive_data(frame(0x0C, 0xFF, 5, b"whatever")) == []  # type: ignore[arg-type]


def test_the_reserved_bit_is_ignored() -> None:
    wire = headers(1)
    assert only(server().receive_data(wire[:5] + b"\x80" + wire[6:]), RequestReceived).stream.id == 1


# Windows of ours


def test_windows_open_again_when_data_is_consumed() -> None:
    connection = server(Limits(stream_window=100, max_stream_window=100, connection_window=65_535))
    connection.receive_data(headers(1, POST, end=False))
    event = only(connection.receive_data(data(1, bytes(49))), DataReceived)
    connection.consumed(event.stream, event.size)
    assert connection.data_to_send() == b""
    event = only(connection.receive_data(data(1, b"x")), DataReceived)
    connection.consumed(event.stream, event.size)
    (update,) = read_frames(connection.data_to_send())
    assert (update.stream_id, int.from_bytes(update.payload, "big")) == (1, 50)


def test_a_window_that_is_used_up_grows() -> None:
    connection = server(Limits(stream_window=1000, max_stream_window=3000))
    connection.receive_data(headers(1, POST, end=False))
    sizes = []
    for size in (1000, 2000, 3000, 3000):
        event = only(connection.receive_data(data(1, bytes(size))), DataReceived)
        connection.consumed(event.stream, event.size)
        sizes.append(event.stream.recv_window)
    assert sizes == [2000, 3000, 3000, 3000]


def test_a_held_stream_gets_no_window() -> None:
    connection = server(Limits(stream_window=100, connection_window=65_535))
    connection.receive_data(headers(1, POST, end=False))
    event = only(connection.receive_data(data(1, bytes(100))), DataReceived)
    connection.hold(event.stream)
    connection.consumed(event.stream, event.size)
    assert connection.data_to_send() == b""
    assert only(connection.receive_data(data(1, b"x")), StreamReset).detail == "flow_control"


def test_a_released_stream_gets_it_all() -> None:
    connection = server(Limits(stream_window=100, max_stream_window=100))
    connection.receive_data(headers(1, POST, end=False))
    event = only(connection.receive_data(data(1, bytes(100))), DataReceived)
    connection.hold(event.stream)
    connection.consumed(event.stream, event.size)
    connection.release(event.stream)
    (update,) = read_frames(connection.data_to_send())
    assert (update.stream_id, int.from_bytes(update.payload, "big")) == (1, 100)


def test_what_streams_that_are_over_had_goes_back_to_the_connection() -> None:
    """Held bytes of a stream that ends, and data for one that was reset."""
    connection = server(Limits(connection_window=65_535))
    for at in range(1, 200, 2):
        connection.receive_data(headers(at, POST, end=False))
        event = only(connection.receive_data(data(at, bytes(16384))), DataReceived)
        connection.hold(event.stream)
        connection.consumed(event.stream, event.size)
        connection.reset(event.stream, ErrorCode.CANCEL)
        assert not connection.receive_data(data(at, bytes(16384)))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["data", "end", "hold", "release", "reset", "take"]))))
@example([(0, "data"), (0, "hold"), (0, "reset")])
def test_no_window_is_lost(steps: list[tuple[int, str]]) -> None:
    """Whatever streams do, and whenever their data is consumed: in the end the connection's window is whole."""
    connection = server()
    connection.receive_data(b"".join(headers(at, POST, end=False) for at in (1, 3, 5)))
    streams = [connection.streams[at] for at in (1, 3, 5)]
    waiting: list[DataReceived] = []

    def take() -> None:
        while waiting:
            event = waiting.pop()
            connection.consumed(event.stream, event.size)

    for at, step in steps:
        stream = streams[at]
        if step in ("data", "end") and not stream.remote_ended:
            events = connection.receive_data(data(stream.id, bytes(1000), end=step == "end"))
            waiting += [event for event in events if isinstance(event, DataReceived)]
        elif step == "hold":
            connection.hold(stream)
        elif step == "release":
            connection.release(stream)
        elif step == "reset":
            connection.reset(stream, ErrorCode.CANCEL)
        elif step == "take":
            take()
    take()
    for stream in streams:
        if stream.state != State.CLOSED:
            connection.reset(stream, ErrorCode.CANCEL)
    assert connection._recv_window + connection._unacked == connection.limits.connection_window


# Time, PING, GOAWAY


def test_a_header_section_that_does_not_end() -> None:
    connection = server(Limits(head_timeout=5.0))
    connection.at(10.0)
    connection.receive_data(frame(FrameType.HEADERS, 0, 1, block(GET)))
    connection.at(12.0)
    connection.receive_data(frame(FrameType.CONTINUATION, 0, 1, b"\x82"))
    assert connection.waiting
    with pytest.raises(RemoteProtocolError) as caught:
        connection.at(16.0)
    assert caught.value.code == "head_timeout"


@pytest.mark.parametrize(
    ("wire", "waits"), [(headers(1)[:-1], True), (headers(1)[:5], True), (data(1, b"xx")[:-1], False)]
)
def test_a_frame_that_does_not_end(wire: bytes, waits: bool) -> None:
    """Bodies may be as slow as whoever reads them allows."""
    connection = server()
    connection.receive_data(headers(1, POST, end=False) if not waits else b"")
    connection.receive_data(wire)
    assert connection.waiting is waits


def test_ping_is_answered_and_its_answer_told() -> None:
    connection = server()
    assert connection.receive_data(ping_frame(b"12345678")) == []
    (answer,) = read_frames(connection.data_to_send())
    assert (answer.flags, answer.payload) == (1, b"12345678")
    connection.ping(b"abcdefgh")
    assert connection.data_to_send() == ping_frame(b"abcdefgh")
    assert only(connection.receive_data(ping_frame(b"abcdefgh", ack=True)), PingAcked).payload == b"abcdefgh"


def test_a_server_ends_in_two_steps() -> None:
    connection = server()
    open_one = only(connection.receive_data(headers(1)), RequestReceived)
    connection.shutdown()
    connection.shutdown()
    ping, first = read_frames(connection.data_to_send())
    assert first.payload == MAX_STREAM_ID.to_bytes(4, "big") + bytes(4)
    assert only(connection.receive_data(headers(3)), RequestReceived)  # it was on its way
    connection.receive_data(ping_frame(ping.payload, ack=True))
    (second,) = read_frames(connection.data_to_send())
    assert second.payload == bytes([0, 0, 0, 3, 0, 0, 0, 0])
    assert connection.receive_data(headers(5)) == []
    assert not connection.finished
    for stream in (open_one.stream, connection.streams[3]):
        connection.respond(stream, 204, EMPTY, end=True)
    assert connection.finished


def test_a_peer_that_does_not_answer_delays_the_second_step_only_so_long() -> None:
    connection = server(Limits(shutdown_timeout=3.0))
    connection.at(50.0)
    connection.shutdown()
    assert connection.waiting
    connection.at(54.0)
    assert kinds(connection.data_to_send()) == ["PING", "GOAWAY", "GOAWAY"]
    assert connection.finished


def test_a_server_that_goes_away() -> None:
    connection = client()
    streams = [connection.request("GET", "http", "/", "a", EMPTY, end=True) for _ in range(3)]
    goaway, lost = connection.receive_data(goaway_frame(3, 0, b"bye"))
    assert isinstance(lost, StreamReset)
    assert (lost.stream, lost.unprocessed) == (streams[2], True)
    assert isinstance(goaway, GoAwayReceived)
    assert (goaway.last_stream_id, goaway.debug) == (3, b"bye")
    assert connection.capacity == 0
    with pytest.raises(LocalProtocolError):
        connection.request("GET", "http", "/", "a", EMPTY, end=True)
    assert not connection.finished
    connection.receive_data(headers(1, OK) + headers(3, OK))
    assert connection.finished


def test_a_client_that_ends() -> None:
    connection = client()
    stream = connection.request("GET", "http", "/", "a", EMPTY, end=True)
    connection.shutdown()
    assert connection.capacity == 0
    assert kinds(connection.data_to_send()) == ["HEADERS", "GOAWAY"]
    connection.receive_data(headers(stream.id, OK))
    assert connection.finished


def test_numbers_run_out() -> None:
    connection = server()
    connection.receive_data(headers(MAX_STREAM_ID))
    assert kinds(connection.data_to_send()) == ["PING", "GOAWAY"]
    assert connection.exhausted
    other = client()
    other._next_id = 0x7FFFFEFF
    assert not other.exhausted
    other.request("GET", "http", "/", "a", EMPTY, end=True)
    assert (other.capacity, other.exhausted) == (0, True)


def test_capacity_is_what_settings_say() -> None:
    fresh = Http2Connection(client=True)
    assert fresh.capacity == 100
    assert client().capacity > 10**9
    connection = client(settings={Setting.MAX_CONCURRENT_STREAMS: 2})
    connection.request("GET", "http", "/", "a", EMPTY, end=True)
    assert connection.capacity == 1
    connection.receive_data(settings_frame({Setting.MAX_CONCURRENT_STREAMS: 0}))
    assert connection.capacity == 0


@pytest.mark.parametrize("window", [0, 10])
def test_a_stream_whose_window_never_opens_is_given_up(window: int) -> None:
    connection = server(Limits(stall_timeout=30.0))
    connection.receive_data(settings_frame({Setting.INITIAL_WINDOW_SIZE: window}) + headers(1) + headers(3))
    one, other = connection.streams[1], connection.streams[3]
    for stream in (one, other):
        connection.respond(stream, 200, EMPTY)
        connection.send_data(stream, bytes(100), True)
    connection.data_to_send()
    assert connection.waiting
    for now in range(10, 41):
        assert connection.at(float(now)) == []
    connection.receive_data(window_update_frame(3, 1))
    connection.data_to_send()
    assert connection.at(40.0) == []
    event = only(connection.at(41.0), StreamReset)
    assert (event.stream, event.detail) == (one, "stalled")
    assert kinds(connection.data_to_send()) == ["RST_STREAM"]
    only(connection.at(71.0), StreamReset)
    assert not connection.waiting


# Priority


def test_urgency_comes_with_the_request_or_by_a_frame_before_or_after() -> None:
    connection = server()
    update = frame(FrameType.PRIORITY_UPDATE, 0, 0, b"\0\0\0\3u=0")
    events = connection.receive_data(headers(1, [*GET, ("priority", "u=6")]) + update + headers(3) + headers(5))
    assert [event.stream.urgency for event in events] == [6, 0, 3]  # type: ignore[union-attr]
    connection.receive_data(frame(FrameType.PRIORITY_UPDATE, 0, 0, b"\0\0\0\5u=7"))
    assert connection.streams[5].urgency == 7


def test_bytes_one_by_one_are_not_gathered_again_and_again() -> None:
    """What is kept of an unfinished frame is joined once, when it is complete."""
    connection = server()
    connection.receive_data(headers(1, POST, end=False))
    wire = data(1, bytes(16384))
    for at in range(len(wire) - 1):
        assert connection.receive_data(wire[at : at + 1]) == []
    assert len(connection._parts) > 16000
    assert only(connection.receive_data(wire[-1:]), DataReceived).size == 16384


def test_trailers_come_once() -> None:
    connection = client()
    connection.request("GET", "http", "/", "a", EMPTY)
    *_, trailers = connection.receive_data(headers(1, OK, end=False) + headers(1, [("grpc-status", "0")]))
    assert isinstance(trailers, TrailersReceived)
    assert only(connection.receive_data(headers(1, [("x", "y")])), StreamReset).detail == "stream_closed"


def test_a_block_is_sent_as_it_was_read() -> None:
    connection = server()
    fields = [*GET, ("x-b", "1"), ("x-a", "2")]
    head = only(connection.receive_data(headers(1, fields)), RequestReceived).head
    other = client()
    other.request(
        head.method, head.scheme, head.target, "example.com", head.block, FieldBlock([("x-c", "3")]), end=True
    )
    (sent,) = read_frames(other.data_to_send())
    decoded = read_block(sent.payload)
    assert sorted(decoded) == sorted([*fields, ("x-c", "3")])
    assert decoded[4:] == [("x-b", "1"), ("x-a", "2"), ("x-c", "3")]
