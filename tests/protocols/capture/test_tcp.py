from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import ACK, FIN, RST, START, SYN, Timed, Wire
from l4proxy.protocols.capture.packet import TcpFinder
from l4proxy.protocols.capture.tcp import (
    CLOSED_KEPT,
    SECONDS_ACKNOWLEDGED,
    SECONDS_LATE,
    SECONDS_OPEN,
    TcpReassembler,
)
from l4proxy.protocols.capture.tcp_state import Endpoint, TcpLimits

CLIENT, SERVER = 0, 1
Piece = bytes | int
"""Bytes that were delivered, or the size of a gap."""


class Stream:
    """The receiver of one connection."""

    def __init__(self, client: Endpoint, server: Endpoint, midway: bool, at: float) -> None:
        self.client, self.server, self.midway = client, server, midway
        self.pieces: tuple[list[Piece], list[Piece]] = ([], [])
        self.eofs: list[int] = []
        self.closed = 0
        self.times = [at]
        self.failing = False
        self.failures: list[Exception] = []

    def take(self, side: int, piece: Piece, at: float) -> None:
        assert not self.closed
        assert piece
        assert side not in self.eofs
        assert at >= self.times[-1]
        self.times.append(at)
        pieces = self.pieces[side]
        if pieces and type(piece) is type(pieces[-1]):
            pieces[-1] += piece  # type: ignore[operator]
        else:
            pieces.append(piece)
        if self.failing and isinstance(piece, bytes):
            raise ZeroDivisionError

    def client_data(self, data: bytes, at: float) -> None:
        self.take(CLIENT, data, at)

    def server_data(self, data: bytes, at: float) -> None:
        self.take(SERVER, data, at)

    def client_lost(self, size: int, at: float) -> None:
        self.take(CLIENT, size, at)

    def server_lost(self, size: int, at: float) -> None:
        self.take(SERVER, size, at)

    def client_eof(self, at: float) -> None:
        assert not self.closed
        self.eofs.append(CLIENT)

    def server_eof(self, at: float) -> None:
        assert not self.closed
        self.eofs.append(SERVER)

    def failed(self, error: Exception, at: float) -> None:
        self.failures.append(error)

    def close(self, at: float) -> None:
        self.closed += 1
        self.times.append(at)


class Capture:
    """A reassembler with the streams that it gives."""

    def __init__(self, limits: TcpLimits | None = None, ports: frozenset[int] = frozenset({7777})) -> None:
        self.streams: list[Stream] = []
        self.finder = TcpFinder()
        self.tcp = TcpReassembler(self.begin, ports.__contains__, limits)

    def begin(self, client: Endpoint, server: Endpoint, midway: bool, at: float) -> Stream:
        self.streams.append(Stream(client, server, midway, at))
        return self.streams[-1]

    def take(self, *packets: Iterable[Timed] | Timed, cut: int = 1 << 20) -> Capture:
        for one in packets:
            for at, packet in [one] if isinstance(one, tuple) else one:
                found = self.finder.find(1, packet[:cut], 0, len(packet[:cut]), len(packet))
                assert found is not None
                key, tcp, end, whole = found
                self.tcp.segment(key, packet[:cut], tcp, end, whole, at)
        return self

    def finish(self) -> list[Stream]:
        self.tcp.finish(START)
        assert self.tcp.waiting_bytes == self.tcp.connections == 0
        assert all(stream.closed == 1 for stream in self.streams)
        return self.streams

    def counted(self) -> dict[str, int]:
        """What was counted beside connections."""
        return {name: number for name, number in asdict(self.tcp.counts).items() if number and name != "connections"}


def one(capture: Capture) -> Stream:
    (stream,) = capture.finish()
    return stream


# The usual


@pytest.mark.parametrize(("client", "server"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
@pytest.mark.parametrize("isn", [0, 1000, 0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF, 0x80000000])
def test_a_whole_connection(client: str, server: str, isn: int) -> None:
    data = random.Random(1).randbytes(20_000)
    wire = Wire(client, server, client_isn=isn, server_isn=isn ^ 0x80000000)
    capture = Capture().take(wire.talk([(CLIENT, data), (SERVER, data[::-1]), (CLIENT, b"bye")]))
    stream = capture.streams[0]
    assert stream.closed == 1  # not only when the capture is over
    assert one(capture).pieces == ([data + b"bye"], [data[::-1]])
    assert (stream.client, stream.server) == (Endpoint(client, 40000), Endpoint(server, 7777))
    assert not stream.midway
    assert stream.eofs == [CLIENT, SERVER]
    assert capture.counted() == {}


def test_what_a_receiver_raises_is_told_to_it() -> None:
    wire = Wire()
    capture = Capture().take(wire.open())
    capture.streams[0].failing = True
    capture.take(wire.say(CLIENT, b"a"), wire.say(SERVER, b"b"))
    late = wire.frame(CLIENT, ACK, b"2", seq=wire.seqs[CLIENT] + 1)
    capture.take(late, wire.frame(CLIENT, ACK, b"1"))
    assert [type(error) for error in one(capture).failures] == [ZeroDivisionError] * 4


def test_a_time_that_goes_back_is_not_told() -> None:
    wire = Wire(step=-0.5)
    capture = Capture().take(wire.open(), wire.say(CLIENT, b"a"), wire.say(SERVER, b"b"))
    wire.step = 5.0
    capture.take(wire.say(CLIENT, b"c"))
    assert one(capture).pieces == ([b"ac"], [b"b"])


# Order


def test_segments_out_of_order() -> None:
    wire = Wire(mss=10)
    capture = Capture().take(wire.open())
    frames = list(wire.say(CLIENT, bytes(range(100))))[::2]
    capture.take([(START, packet) for _, packet in reversed(frames)])
    assert one(capture).pieces[CLIENT] == [bytes(range(100))]
    assert capture.counted() == {"out_of_order": 9}


def test_retransmissions_and_overlaps() -> None:
    wire = Wire()
    capture = Capture().take(wire.open())
    base = wire.seqs[CLIENT]
    for start, end in [(0, 10), (0, 10), (5, 15), (20, 30), (12, 25), (25, 29), (28, 40), (0, 40)]:
        capture.take(wire.frame(CLIENT, ACK, bytes(range(start, end)), seq=base + start))
    assert one(capture).pieces[CLIENT] == [bytes(range(40))]
    assert capture.counted() == {"retransmitted": 3, "overlapping": 3, "out_of_order": 1}


def test_the_first_copy_counts() -> None:
    wire = Wire()
    capture = Capture().take(wire.open())
    base = wire.seqs[CLIENT]
    capture.take(wire.frame(CLIENT, ACK, b"abcd"), wire.frame(CLIENT, ACK, b"XXXXef", seq=base))
    assert one(capture).pieces[CLIENT] == [b"abcdef"]


def test_keep_alives_and_zero_windows() -> None:
    wire = Wire()
    capture = Capture().take(wire.open(), wire.say(CLIENT, b"abc"))
    capture.take(
        wire.frame(CLIENT, ACK, b"c", seq=wire.seqs[CLIENT] - 1), wire.frame(CLIENT, ACK, seq=wire.seqs[CLIENT] - 1)
    )
    capture.take(wire.frame(SERVER, ACK, window=0), wire.frame(SERVER), wire.say(CLIENT, b"d"))
    assert one(capture).pieces[CLIENT] == [b"abcd"]
    assert capture.counted() == {"keep_alives": 1, "zero_windows": 1}


# Holes


def lose(capture: Capture, wire: Wire, size: int = 10) -> None:
    """The client sends bytes that are not captured."""
    wire.seqs[CLIENT] += size


def test_a_hole_that_was_acknowledged_is_lost_as_soon_as_nothing_can_be_captured_late() -> None:
    wire = Wire(step=SECONDS_ACKNOWLEDGED / 4)
    capture = Capture().take(wire.open(), wire.say(CLIENT, b"before"))
    lose(capture, wire)
    capture.take(wire.frame(CLIENT, ACK, b"behind"))
    wire.seqs[CLIENT] += 6
    assert capture.streams[0].pieces[CLIENT] == [b"before"]
    for _ in range(5):
        capture.take(wire.frame(SERVER))
    assert capture.streams[0].pieces[CLIENT] == [b"before", 10, b"behind"]
    assert capture.counted() == {"out_of_order": 1, "gaps": 1, "lost_bytes": 10}


def test_a_hole_that_was_not_acknowledged_may_be_filled_for_longer() -> None:
    wire = Wire()
    capture = Capture().take(wire.open(), wire.say(CLIENT, b"before"))
    acknowledged = wire.seqs[CLIENT]
    wire.seqs[CLIENT] += 3
    capture.take(wire.frame(CLIENT, ACK, b"behind"))
    wire.at += SECONDS_OPEN - 0.1
    wire.seqs[CLIENT] = acknowledged
    capture.take(wire.frame(SERVER))
    assert capture.streams[0].pieces[CLIENT] == [b"before"]
    capture.take(wire.frame(CLIENT, ACK, b"..."))
    assert one(capture).pieces[CLIENT] == [b"before...behind"]
    assert capture.counted() == {"out_of_order": 1}


def test_but_not_for_ever() -> None:
    wire = Wire()
    capture = Capture().take(wire.open(), wire.say(CLIENT, b"before"))
    wire.seqs[CLIENT] += 3
    capture.take(wire.frame(CLIENT, ACK, b"behind"))
    wire.seqs[CLIENT] += 6
    wire.at += SECONDS_OPEN
    capture.take(wire.frame(CLIENT, ACK, b"now"))
    assert one(capture).pieces[CLIENT] == [b"before", 3, b"behindnow"]


def test_holes_in_front_of_an_end() -> None:
    wire = Wire()
    capture = Capture().take(wire.open())
    lose(capture, wire, 7)
    capture.take(wire.frame(CLIENT, FIN | ACK), wire.frame(CLIENT, FIN | ACK))
    wire.seqs[CLIENT] += 1
    assert capture.streams[0].eofs == []
    wire.at += 1
    capture.take(wire.frame(SERVER))
    assert capture.streams[0].eofs == [CLIENT]
    assert one(capture).pieces[CLIENT] == [7]


@pytest.mark.parametrize("end", ["reset", "finish", "another"])
def test_what_waits_is_delivered_at_the_end(end: str) -> None:
    wire = Wire()
    capture = Capture().take(wire.open())
    lose(capture, wire)
    capture.take(wire.frame(CLIENT, ACK, b"behind"))
    if end == "reset":
        capture.take(wire.frame(SERVER, RST | ACK))
    elif end == "another":
        capture.take(Wire(client_isn=77_777).open())
    assert capture.streams[0].pieces[CLIENT] == ([] if end == "finish" else [10, b"behind"])
    assert capture.finish()[0].pieces[CLIENT] == [10, b"behind"]
    assert capture.tcp.counts.resets == (end == "reset")
    assert capture.tcp.counts.reused == (end == "another")


def test_packets_that_were_cut_off() -> None:
    wire = Wire(mss=100)
    capture = Capture().take(wire.talk([(CLIENT, bytes(250)), (SERVER, b"a" * 90)]), cut=14 + 20 + 32 + 60)
    assert one(capture).pieces == ([bytes(60), 40, bytes(60), 40, bytes(50)], [b"a" * 60, 30])
    assert capture.counted() == {"cut_off": 3, "gaps": 3, "lost_bytes": 110}


def test_what_waits_is_bounded() -> None:
    limits = TcpLimits(waiting_bytes=10_000, waiting_bytes_in_all=15_000)
    capture = Capture(limits)
    wires = [Wire(client_port=port, mss=1000, step=0) for port in (40000, 40001, 40002)]
    for wire in wires:
        capture.take(wire.open())
        wire.seqs[CLIENT] += 5
    for _ in range(20):
        for wire in wires:
            capture.take(wire.frame(CLIENT, ACK, bytes(1000)))
            wire.seqs[CLIENT] += 1000
            assert capture.tcp.waiting_bytes <= limits.waiting_bytes_in_all
    assert [stream.pieces[CLIENT] for stream in capture.finish()] == [[5, bytes(20_000)]] * 3


def test_ends_that_are_repeated_behind_a_hole_are_bounded_too() -> None:
    capture = Capture(TcpLimits(waiting_bytes=2000))
    wire = Wire(step=0)
    capture.take(wire.open())
    wire.seqs[CLIENT] += 5
    for _ in range(1000):
        capture.take(wire.frame(CLIENT, FIN | ACK))
    assert one(capture).eofs == [CLIENT]


# From the middle


@pytest.mark.parametrize(
    ("port", "client_port", "roles"), [(7777, 40000, 0), (40000, 7777, 1), (80, 443, 0), (443, 80, 1)]
)
@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_who_is_the_client_of_a_connection_that_is_under_way(
    port: int, client_port: int, roles: int, side: int
) -> None:
    wire = Wire(port=port, client_port=client_port)
    capture = Capture().take(wire.frame(CLIENT), wire.frame(SERVER), wire.say(side, b"a"), wire.say(1 - side, b"b"))
    stream = one(capture)
    assert stream.midway
    assert stream.pieces[side ^ roles] == [b"a"]
    assert (stream.client.port, stream.server.port) == ((client_port, port), (port, client_port))[roles]
    assert capture.counted() == {"midway": 1}


def test_only_the_answer_to_a_handshake_was_seen() -> None:
    wire = Wire()
    _, *rest = wire.open()
    capture = Capture(ports=frozenset({40000})).take(rest, wire.say(CLIENT, b"a"), wire.say(SERVER, b"b"))
    stream = one(capture)
    assert not stream.midway
    assert stream.pieces == ([b"a"], [b"b"])


def test_segments_of_before_the_beginning_are_retransmissions() -> None:
    wire = Wire()
    capture = Capture().take(wire.say(CLIENT, b"abc"), wire.frame(CLIENT, ACK, b"xyz", seq=500))
    assert one(capture).pieces == ([b"abc"], [])


def test_handshakes_that_are_repeated() -> None:
    wire = Wire()
    syn, answer, ack = wire.open()
    capture = Capture().take(
        syn, syn, answer, syn, answer, ack, wire.say(CLIENT, b"a"), syn, answer, wire.say(CLIENT, b"b")
    )
    assert one(capture).pieces[CLIENT] == [b"ab"]


def test_data_in_the_first_packet() -> None:
    """TCP Fast Open (RFC 7413)."""
    wire = Wire()
    capture = Capture().take(wire.frame(CLIENT, SYN, b"early"))
    wire.seqs[CLIENT] += 6
    capture.take(wire.frame(SERVER, SYN | ACK))
    wire.seqs[SERVER] += 1
    capture.take(wire.say(CLIENT, b" bird"), wire.say(SERVER, b"worm"))
    assert one(capture).pieces == ([b"early bird"], [b"worm"])


# Another connection between the same ports


def test_ports_that_are_used_again() -> None:
    capture = Capture()
    for number in range(3):
        capture.take(Wire(client_isn=number * 7919, server_isn=number * 104729).talk([(CLIENT, b"a"), (SERVER, b"b")]))
    assert [stream.pieces for stream in capture.finish()] == [([b"a"], [b"b"])] * 3
    assert capture.counted() == {}


def test_ports_that_are_used_again_after_an_end_that_was_not_seen() -> None:
    first, second = Wire(), Wire(client_isn=999_999)
    capture = Capture().take(first.open(), first.say(CLIENT, b"a"), second.talk([(CLIENT, b"b")]))
    assert [stream.pieces[CLIENT] for stream in capture.finish()] == [[b"a"], [b"b"]]
    assert capture.counted() == {"reused": 1}


def test_ports_that_are_used_again_of_which_only_the_answer_was_seen() -> None:
    first, second = Wire(), Wire(client_isn=999_999, server_isn=888_888)
    capture = Capture().take(first.open(), first.say(CLIENT, b"a"))
    _, *rest = second.talk([(CLIENT, b"b"), (SERVER, b"c")])
    assert [stream.pieces for stream in capture.take(rest).finish()] == [([b"a"], []), ([b"b"], [b"c"])]


def test_a_segment_that_is_far_away_is_of_another_connection() -> None:
    first, second = Wire(), Wire(client_isn=0x90000000, server_isn=0xA0000000)
    capture = Capture().take(first.open(), first.say(CLIENT, b"a"), first.say(SERVER, b"b"))
    capture.take(second.say(SERVER, b"c"), second.say(CLIENT, b"d"))
    streams = capture.finish()
    assert [stream.pieces for stream in streams] == [([b"a"], [b"b"]), ([b"d"], [b"c"])]
    assert [stream.midway for stream in streams] == [False, True]


def test_what_comes_late_belongs_to_nobody_and_much_later_to_another() -> None:
    wire = Wire()
    capture = Capture().take(wire.talk([(CLIENT, b"a")]))
    capture.take(
        wire.frame(CLIENT, ACK, b"late"), wire.frame(CLIENT, RST), wire.frame(SERVER), wire.frame(CLIENT, FIN | ACK)
    )
    assert len(capture.streams) == 1
    assert capture.counted() == {"late": 2}
    wire.at += SECONDS_LATE
    capture.take(wire.say(CLIENT, b"still here"), wire.say(SERVER, b"me too"))
    assert capture.finish()[1].pieces == ([b"still here"], [b"me too"])


def test_a_reset_ends_both_directions() -> None:
    wire = Wire()
    capture = Capture().take(wire.open(), wire.frame(SERVER, RST | ACK))
    assert capture.streams[0].closed == 1
    capture.take(wire.frame(CLIENT, RST))
    assert capture.counted() == {"resets": 1}
    assert Capture().take(wire.frame(CLIENT, RST), wire.frame(CLIENT, RST, b"why")).streams == []


def test_what_follows_an_end_is_none_of_its_bytes() -> None:
    wire = Wire()
    capture = Capture().take(wire.open(), wire.say(CLIENT, b"a"), wire.end(CLIENT))
    capture.take(wire.frame(CLIENT, FIN | ACK, seq=wire.seqs[CLIENT] - 1))
    capture.take(wire.frame(CLIENT, ACK, b"\0", seq=wire.seqs[CLIENT] - 1))  # a keep-alive
    capture.take(wire.say(SERVER, b"b"), wire.end(SERVER))
    stream = one(capture)
    assert stream.pieces == ([b"a"], [b"b"])
    assert stream.eofs == [CLIENT, SERVER]


# Bounds


def test_connections_that_are_idle_are_forgotten_when_there_are_too_many() -> None:
    capture = Capture(TcpLimits(connections=50))
    wires = [Wire(client_port=40000 + number) for number in range(200)]
    for number, wire in enumerate(wires):
        wire.at = START + number
        capture.take(wire.open(), wire.say(CLIENT, b"a"))
        assert capture.tcp.connections <= 50
    assert sum(stream.closed for stream in capture.streams[:150]) == 150
    assert sum(stream.closed for stream in capture.streams[-20:]) == 0
    assert capture.tcp.counts.forgotten >= 150


def test_connections_that_were_idle_for_long_are_forgotten() -> None:
    idle, busy = Wire(client_port=40000), Wire(client_port=40001)
    capture = Capture(TcpLimits(idle_seconds=100)).take(idle.open(), busy.open())
    busy.at += 80
    capture.take(busy.say(CLIENT, b"a"))
    busy.at += 80
    capture.take(busy.say(CLIENT, b"a"))
    assert [stream.closed for stream in capture.streams] == [0, 0]  # it is looked for when one is opened
    third = Wire(client_port=40002)
    third.at = busy.at
    capture.take(third.open())
    assert [stream.closed for stream in capture.streams] == [1, 0, 0]
    assert capture.counted() == {"forgotten": 1}


def test_connections_that_are_over_are_known_for_a_while_and_not_for_ever() -> None:
    capture = Capture()
    for number in range(CLOSED_KEPT + 500):
        client = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        capture.take(Wire(client).open(), Wire(client).frame(SERVER, RST))
    assert capture.tcp.connections == CLOSED_KEPT


def test_headers_that_are_not_in_order() -> None:
    at, packet = Wire().frame(CLIENT, ACK, b"abc")
    capture = Capture()
    for offset in (0, 4, 15):
        capture.take((at, packet[:46] + bytes([offset << 4]) + packet[47:]))
    assert capture.streams == []
    assert capture.tcp.counts.damaged == 3


# The laws


@st.composite
def captured(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """A stream, and the segments of it that were captured, in any order, overlapping in any way."""
    size = draw(st.integers(1, 60))
    border = st.integers(0, size)
    segments = draw(st.lists(st.tuples(border, border).map(sorted).filter(lambda one: one[0] < one[1]), max_size=30))
    return bytes(range(size)), [(start, end) for start, end in segments]


@given(captured(), st.integers(0, 0xFFFFFFFF))
def test_any_cutting_reordering_and_repetition_gives_the_stream_or_exactly_its_gaps(
    case: tuple[bytes, list[tuple[int, int]]], isn: int
) -> None:
    stream, segments = case
    wire = Wire(client_isn=isn, step=0)
    capture = Capture().take(wire.open())
    base = wire.seqs[CLIENT]
    for start, end in segments:
        capture.take(wire.frame(CLIENT, ACK, stream[start:end], seq=base + start))
    wire.seqs[CLIENT] += len(stream)
    capture.take(wire.frame(CLIENT, FIN | ACK))
    seen = {at for start, end in segments for at in range(start, end)}
    expected: list[Piece] = []
    for at, byte in enumerate(stream):
        piece: Piece = bytes([byte]) if at in seen else 1
        if expected and type(expected[-1]) is type(piece):
            expected[-1] += piece  # type: ignore[operator]
        else:
            expected.append(piece)
    got = one(capture)
    assert got.pieces[CLIENT] == expected
    assert got.eofs == [CLIENT]
    assert capture.tcp.counts.lost_bytes == len(stream) - len(seen)


ODD_FLAGS = st.sampled_from([ACK] * 8 + [FIN | ACK, RST, SYN, SYN | ACK, 0])
ODD_SEGMENT = st.tuples(
    st.integers(0, 1), st.integers(-40, 40), st.integers(0, 30), st.integers(0, 30), ODD_FLAGS,
    st.integers(-50, 50), st.sampled_from([0.0, 0.001, 0.02, 6.0]),
)  # fmt: skip


@settings(max_examples=300)
@given(st.booleans(), st.lists(ODD_SEGMENT, max_size=40), st.integers(0, 0xFFFFFFFF))
def test_whatever_is_captured_no_byte_is_delivered_in_the_wrong_place(
    handshake: bool, segments: list[tuple[int, int, int, int, int, int, float]], isn: int
) -> None:
    """Anything at all: each byte says where it belongs, so that what is delivered and lost can be held against it."""
    wire = Wire(client_isn=isn, server_isn=isn + 100_000, step=0)
    limits = TcpLimits(waiting_bytes=2000, waiting_bytes_in_all=3000)
    capture = Capture(limits)
    if handshake:
        capture.take(wire.open())
    base = list(wire.seqs)
    for side, offset, size, cut, flags, ack, step in segments:
        wire.at += step
        wire.seqs[1 - side] = base[1 - side] + ack
        data = bytes((offset + at) % 251 for at in range(size))
        frame = wire.frame(side, flags, data, seq=base[side] + offset - bool(flags & SYN))
        capture.take(frame, cut=max(54, len(frame[1]) - cut))
        assert capture.tcp.waiting_bytes <= limits.waiting_bytes_in_all
    for stream in capture.finish():
        for pieces in stream.pieces:
            place: int | None = None
            for piece in pieces:
                if isinstance(piece, int):
                    place = None if place is None else place + piece
                    continue
                place = piece[0] if place is None else place
                assert piece == bytes((place + at) % 251 for at in range(len(piece)))
                place += len(piece)
