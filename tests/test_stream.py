"""Streams on real sockets: what is told once, what waits, what is joined, and peers that do odd things."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4proxy import stream as stream_module
from l4proxy.poller import Poller
from l4proxy.stream import IOV_LIMIT, JOIN_LIMIT, READ_SIZE, SOON_LIMIT, Stream
from streams import Watched, nonblocking, reset, tcp_pair, turn, turn_until

LOST = f"lost {errno.ECONNRESET}"


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest, poller: Poller) -> Iterator[tuple[Watched, socket.socket]]:
    """A stream that is started, and its peer."""
    with contextlib.ExitStack() as stack:
        if request.param == "tcp":
            sock, peer = stack.enter_context(tcp_pair())
        else:
            sock, peer = map(nonblocking, map(stack.enter_context, socket.socketpair()))
        watched = Watched(sock, poller)
        watched.stream.start()
        yield watched, peer
        watched.stream.close()


Pair = tuple[Watched, socket.socket]
tcp_only = pytest.mark.parametrize("pair", ["tcp"], indirect=True)
unix_only = pytest.mark.parametrize("pair", ["unix"], indirect=True)


def fill(watched: Watched) -> int:
    """Write until bytes have to wait; return how many were written."""
    size = 0
    while not watched.stream.buffered:
        watched.stream.write(bytes(10000))
        size += 10000
    return size


def receive(poller: Poller, peer: socket.socket, size: int) -> bytes:
    """Let the peer read while the poller turns."""
    data = bytearray()

    def arrived() -> bool:
        with contextlib.suppress(BlockingIOError):
            while len(data) < size and (chunk := peer.recv(size - len(data))):
                data.extend(chunk)
        return len(data) == size

    turn_until(poller, arrived)
    return bytes(data)


# Reading


@unix_only
def test_full_reads_are_followed_by_others_and_grow(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    size = READ_SIZE + 4 * READ_SIZE + 100
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * size)
    assert peer.send(bytes(size)) == size
    turn_until(poller, lambda: watched.stream.received == size)
    assert [len(chunk) for chunk in watched.chunks] == [READ_SIZE, 4 * READ_SIZE, 100]


@unix_only
def test_pieces_that_are_much_work_become_smaller(poller: Poller, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, peer = pair
    spent, sent = 0.0, 0

    def on_data(data: bytes) -> None:
        nonlocal spent
        spent += len(data) * per_byte
        watched.chunks.append(data)

    def has_received(size: int) -> bool:
        return watched.stream.received == size

    watched.stream.on_data = on_data
    monkeypatch.setattr(stream_module, "_cpu_time", lambda: spent)
    sizes = []
    for seconds in (0.019, 0.002):  # for 16 KiB
        per_byte = seconds / READ_SIZE
        for _ in range(8):
            peer.send(bytes(READ_SIZE))
            sent += READ_SIZE
            turn_until(poller, partial(has_received, sent))
        sizes.append(max(map(len, watched.chunks[-4:])))
        watched.chunks.clear()
    assert sizes == [READ_SIZE // 4, READ_SIZE]


@pytest.mark.parametrize("size", [1, READ_SIZE, 2 * READ_SIZE])
def test_what_comes_later_is_told_whatever_was_read_before(poller: Poller, pair: Pair, size: int) -> None:
    watched, peer = pair
    for _ in range(3):
        peer.send(bytes(size))
        turn_until(poller, lambda: watched.stream.received % size == 0 and watched.chunks)
        watched.chunks.clear()
        turn(poller)
    assert watched.chunks == []
    assert watched.said == []


@tcp_only
def test_an_end_that_arrives_with_the_data_is_read_with_it(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    peer.send(b"last words")
    peer.shutdown(socket.SHUT_WR)
    turn(poller)
    assert (watched.data, watched.said) == (b"last words", ["eof"])


@pytest.mark.parametrize("size", [0, 1, READ_SIZE, READ_SIZE + 1])
def test_an_end_is_told_once_behind_the_data(poller: Poller, pair: Pair, size: int) -> None:
    watched, peer = pair
    peer.send(bytes(size))
    peer.shutdown(socket.SHUT_WR)
    turn_until(poller, lambda: watched.said)
    assert (watched.data, watched.said) == (bytes(size), ["eof"])
    assert not watched.stream.reading
    watched.stream.hold_reading(1)
    watched.stream.release_reading(1)
    turn(poller)
    assert watched.said == ["eof"]


@pytest.mark.parametrize("size", [0, 5, READ_SIZE])
def test_a_reset_behind_data_is_not_taken_for_an_end(poller: Poller, pair: Pair, size: int) -> None:
    watched, peer = pair
    watched.stream.write(b"never read")
    peer.send(bytes(size))
    reset(peer)
    turn_until(poller, lambda: watched.stream.closed)
    assert (watched.data, watched.said) == (bytes(size), ["closed", LOST])


@tcp_only
@pytest.mark.parametrize("ends", [True, False])
def test_urgent_data_holds_nothing_up(poller: Poller, pair: Pair, ends: bool) -> None:
    watched, peer = pair
    peer.send(b"before ")
    peer.send(b"!", socket.MSG_OOB)
    peer.send(b"behind")
    if ends:
        peer.shutdown(socket.SHUT_WR)
    turn_until(poller, lambda: watched.data == b"before behind" and watched.said == ["eof"] * ends)


# Holding


def test_it_is_read_again_when_every_reason_to_hold_it_is_gone(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    stream = watched.stream
    stream.hold_reading(1)
    stream.hold_reading(2)
    stream.hold_reading(2)
    peer.send(b"waits")
    turn(poller)
    stream.release_reading(4)
    stream.release_reading(1)
    turn(poller)
    assert (stream.holds, stream.reading, watched.data) == (2, False, b"")
    stream.release_reading(2)
    turn_until(poller, lambda: watched.data == b"waits")
    assert stream.reading


def test_what_a_callback_leaves_unread_is_told_again(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    stream = watched.stream

    def hold(data: bytes) -> None:
        watched.chunks.append(data)
        stream.hold_reading(1)

    stream.on_data = hold
    peer.send(bytes(READ_SIZE + 10))
    turn_until(poller, lambda: watched.chunks)
    for _ in range(3):
        turn(poller)
    assert stream.received == READ_SIZE
    stream.release_reading(1)
    turn_until(poller, lambda: stream.received == READ_SIZE + 10)


def test_held_before_it_is_started(poller: Poller) -> None:
    with tcp_pair() as (sock, peer):
        watched = Watched(sock, poller)
        watched.stream.hold_reading(1)
        peer.send(b"early")
        watched.stream.start()
        turn(poller, 0.1)
        assert watched.data == b""
        watched.stream.release_reading(1)
        turn_until(poller, lambda: watched.data == b"early")
        watched.stream.close()


def test_a_held_stream_hears_of_the_end_when_it_is_read(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    watched.stream.hold_reading(1)
    peer.send(b"data")
    peer.close()
    turn(poller, 0.1)
    turn(poller)
    assert watched.said == []
    assert watched.stream.peer_ended
    watched.stream.release_reading(1)
    turn_until(poller, lambda: watched.said)
    assert (watched.data, watched.said) == (b"data", ["eof"])


@pytest.mark.parametrize("buffered", [True, False])
def test_a_held_stream_hears_of_a_reset_at_once(
    buffered: bool, poller: Poller, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    watched, peer = pair
    watched.stream.write(b"unread")
    if buffered:
        fill(watched)
    watched.stream.hold_reading(1)
    reset(peer)
    turn_until(poller, lambda: watched.stream.closed)
    assert watched.said[-2] == "closed"
    assert watched.said[-1] in (LOST, f"lost {errno.EPIPE}")
    assert caplog.records == []


@tcp_only
def test_once_both_directions_are_shut_a_reset_is_heard(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    peer.shutdown(socket.SHUT_WR)
    turn_until(poller, lambda: watched.said == ["eof"])
    watched.stream.write(b"unread")
    reset(peer)
    turn_until(poller, lambda: watched.stream.closed)
    assert watched.said == ["eof", "closed", LOST]


def test_discarding_input_frees_a_held_stream(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    watched.stream.hold_reading(3)
    peer.send(bytes(1000))
    peer.shutdown(socket.SHUT_WR)
    turn(poller)
    watched.stream.discard_input()
    turn_until(poller, lambda: watched.said == ["eof"])
    assert watched.chunks == []
    assert watched.stream.received == 0, "nobody has received it"


def test_discarding_begins_to_read_where_nobody_did(poller: Poller) -> None:
    with tcp_pair() as (sock, peer):
        watched = Watched(sock, poller)
        peer.send(b"x")
        peer.shutdown(socket.SHUT_WR)
        watched.stream.discard_input()
        turn_until(poller, lambda: watched.said == ["eof"])
        assert watched.chunks == []
        watched.stream.close()


def test_a_callback_that_fails_ends_its_stream(poller: Poller, pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    watched, peer = pair

    def broken(_data: bytes) -> None:
        raise KeyError("mistake")

    watched.stream.on_data = broken
    peer.send(b"x")
    turn_until(poller, lambda: watched.said)
    assert watched.said[-1] == f"lost {errno.ECONNABORTED}"
    assert watched.stream.closed
    assert "a callback of a stream failed" in caplog.text
    assert "mistake" in caplog.text


# Writing


def test_what_the_socket_does_not_take_waits_in_order(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    stream = watched.stream
    chunks = [bytes([number]) * (1 + 3777 * number) for number in range(80)]
    for chunk in chunks:
        stream.write(chunk)
    size = sum(map(len, chunks))
    assert 0 < stream.buffered == size - stream.sent
    assert stream.blocked
    assert watched.said == ["full"]
    assert receive(poller, peer, size) == b"".join(chunks)
    assert (stream.buffered, stream.sent, stream.blocked) == (0, size, False)
    assert sorted(watched.said) == ["flushed", "full", "writable"]


@pytest.mark.parametrize("count", [1, 7, IOV_LIMIT + 1])
def test_parts_leave_in_their_order_however_many_the_socket_takes(poller: Poller, pair: Pair, count: int) -> None:
    watched, peer = pair
    sent = b""
    while not watched.stream.buffered:
        parts = [bytes([len(sent) >> 16 & 255, at & 255]) * 3000 for at in range(count)]
        watched.stream.write_parts([memoryview(part) if at % 2 else part for at, part in enumerate(parts)])
        sent += b"".join(parts)
    watched.stream.write_parts([b"and", b"more"])
    sent += b"andmore"
    assert receive(poller, peer, len(sent)) == sent
    assert watched.stream.sent == len(sent)


def test_writable_is_said_at_half_of_the_high_watermark(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    stream = watched.stream
    fill(watched)
    while not stream.blocked:
        assert stream.buffered <= stream.high
        stream.write(bytes(1000))
    assert stream.buffered > stream.high
    while "writable" not in watched.said:
        assert stream.buffered > stream.high // 2
        assert peer.recv(1000)
        turn(poller)
    assert stream.buffered <= stream.high // 2
    assert watched.said.count("writable") == 1


def test_many_small_chunks_leave_in_few_system_calls(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    size = fill(watched)
    for _ in range(3000):
        watched.stream.write(b"a few bytes")
    sizes = record_sends(watched.stream)
    receive(poller, peer, size + 33000)
    assert len(sizes) < 100
    assert max(sizes) <= JOIN_LIMIT + 10000


def test_what_is_written_soon_leaves_together(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    sizes = record_sends(watched.stream)
    for number in range(10):
        watched.stream.write_soon(b"%d" % number)
    watched.stream.write(b"!")
    assert (watched.stream.buffered, sizes) == (11, [])
    watched.stream.write_eof()
    turn(poller)
    assert sizes == [11]
    assert receive(poller, peer, 11) == b"0123456789!"
    assert peer.recv(1) == b""


def test_a_single_message_is_sent_as_it_is_and_what_is_large_at_once(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    sizes = record_sends(watched.stream)
    watched.stream.write_soon(b"message")
    assert (watched.stream.buffered, sizes) == (7, [])
    turn(poller)
    assert (watched.stream.buffered, sizes, watched.said) == (0, [7], ["flushed"])
    watched.stream.write_soon(bytes(SOON_LIMIT + 1))
    watched.stream.write_soon(b"")
    assert sizes == [7, SOON_LIMIT + 1, 0]
    assert receive(poller, peer, SOON_LIMIT + 8)[:7] == b"message"


def test_written_soon_it_waits_for_room_like_anything_else(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    written = fill(watched)
    receive(poller, peer, written)
    room = [3]

    def send_some(_data: bytes | memoryview) -> int:
        if not room:
            raise BlockingIOError
        return room.pop()

    watched.stream._send = send_some
    watched.stream.write_soon(b"message")
    turn(poller)
    assert watched.stream.buffered == 4
    watched.stream._send = watched.stream.sock.send
    watched.stream.write_soon(b"!")
    watched.stream.rearm()
    assert receive(poller, peer, 5) == b"sage!"


def test_written_soon_by_a_callback_it_leaves_at_the_end_of_the_turn(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    watched.stream.on_data = watched.stream.write_soon
    peer.send(b"echo")
    turn_until(poller, lambda: watched.stream.sent)
    assert receive(poller, peer, 4) == b"echo"


def record_sends(stream: Stream) -> list[int]:
    sizes: list[int] = []
    send = stream._send

    def recorded(data: bytes | memoryview) -> int:
        sizes.append(len(data))
        return send(data)

    stream._send = recorded
    return sizes


def test_the_end_leaves_behind_the_buffered_bytes(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    size = fill(watched)
    watched.stream.write_eof()
    watched.stream.write_eof()
    receive(poller, peer, size)
    turn_until(poller, lambda: "flushed" in watched.said)
    assert peer.recv(1) == b""
    peer.send(b"still read")
    turn_until(poller, lambda: watched.data == b"still read")


@pytest.mark.parametrize(
    ("peer_ended", "buffered", "shut"),
    [(False, False, True), (False, True, True), (True, False, False), (True, True, True)],
)
def test_the_last_end_is_left_to_the_close_where_that_sends_it(
    poller: Poller, pair: Pair, peer_ended: bool, buffered: bool, shut: bool
) -> None:
    watched, peer = pair
    if peer_ended:
        peer.shutdown(socket.SHUT_WR)
        turn_until(poller, lambda: watched.said == ["eof"])
    size = fill(watched) if buffered else 0
    watched.stream.write_last_eof()
    assert watched.stream.eof_sent == shut
    receive(poller, peer, size)
    watched.stream.close()
    assert peer.recv(1) == b""


@tcp_only
def test_a_write_that_fails_says_so_once(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    reset(peer)
    watched.stream.write(b"x")
    watched.stream.write(b"x")
    turn(poller)
    assert watched.said == ["closed", LOST]


def refuse(peer: socket.socket, answer: bytes) -> None:
    """Answer and go, without having read what was sent: the peer hears of the answer, then of a reset."""
    peer.send(answer)
    peer.close()


@tcp_only
@pytest.mark.parametrize("waits", [False, True], ids=["writes later", "has more to write"])
@pytest.mark.parametrize("size", [5, 3 * READ_SIZE])
def test_an_answer_in_front_of_a_reset_is_read(poller: Poller, pair: Pair, size: int, waits: bool) -> None:
    watched, peer = pair
    stream = watched.stream
    stream.write(b"unread")
    if waits:
        fill(watched)
        stream.write(bytes(100_000))
    refuse(peer, b"a" * size)
    while not waits and not stream.failure:
        stream.write(b"more")
    turn_until(poller, lambda: stream.failure)
    sent = stream.sent
    stream.write(b"is dropped")
    stream.write_eof()
    assert (stream.closed, stream.buffered, stream.sent) == (False, 0, sent)
    turn_until(poller, lambda: stream.closed)
    assert watched.data == b"a" * size
    assert watched.said[-2:] == ["closed", f"lost {stream.failure and stream.failure.errno}"]
    assert watched.said[:-2] == (["full", "writable"] if waits else [])


@tcp_only
def test_an_answer_in_front_of_a_reset_is_not_waited_for(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    watched.stream.hold_reading(1)
    fill(watched)
    refuse(peer, b"answer")
    turn_until(poller, lambda: watched.stream.closed)
    assert watched.data == b""


def test_what_is_not_bytes_is_refused_where_it_is_written(pair: Pair) -> None:
    watched, _ = pair
    fill(watched)
    with pytest.raises(TypeError):
        watched.stream.write("text")  # type: ignore[arg-type]


# The end


def test_close_is_final(poller: Poller, pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    watched, peer = pair
    stream = watched.stream
    watched.stream.write_soon(b"dropped")
    peer.send(b"unread")
    stream.close()
    stream.close(reset=True)
    said = list(watched.said)
    stream.write(b"x")
    stream.write_soon(b"x")
    stream.write_eof()
    stream.write_last_eof()
    stream.hold_reading(1)
    stream.release_reading(1)
    stream.rearm()
    stream.discard_input()
    stream.splice_to(None)
    stream.lose(OSError(1, "no"))
    turn(poller)
    assert said == watched.said == ["closed"]
    assert (stream.buffered, stream.sent, stream.received, stream.reading) == (0, 0, 0, False)
    assert stream.sock.fileno() == -1
    assert len(poller) == 0
    assert caplog.records == []


def test_whoever_lent_it_sees_the_last_counters(poller: Poller, pair: Pair) -> None:
    watched, peer = pair
    seen: list[tuple[int, int]] = []
    watched.stream.on_closed = lambda stream: seen.append((stream.received, stream.sent))
    watched.stream.write(b"123")
    peer.send(b"12345")
    turn_until(poller, lambda: watched.data)
    watched.stream.close()
    assert seen == [(5, 3)]


def test_closing_with_reset_is_no_clean_end(pair: Pair) -> None:
    watched, peer = pair
    watched.stream.close(reset=True)
    if peer.family == socket.AF_UNIX:  # it has no such thing
        assert peer.recv(1) == b""
    else:
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def peer_sends_and_ends(watched: Watched, peer: socket.socket) -> None:
    peer.send(bytes(READ_SIZE + 10))
    peer.shutdown(socket.SHUT_WR)


def peer_reads_what_waited(watched: Watched, peer: socket.socket) -> None:
    fill(watched)
    watched.stream.write(bytes(watched.stream.high))
    while not watched.stream.closed and watched.stream.buffered:
        with contextlib.suppress(BlockingIOError):
            peer.recv(100000)
        turn(watched.poller)


def peer_resets(watched: Watched, peer: socket.socket) -> None:
    watched.stream.write(b"unread")
    reset(peer)


def owner_closes(watched: Watched, peer: socket.socket) -> None:
    watched.stream.close()


@pytest.mark.parametrize(
    ("callback", "happens"),
    [
        ("on_data", peer_sends_and_ends),
        ("on_eof", peer_sends_and_ends),
        ("on_writable", peer_reads_what_waited),
        ("on_flushed", peer_reads_what_waited),
        ("on_lost", peer_resets),
        ("on_closed", owner_closes),
    ],
)
@pytest.mark.parametrize(
    "close", [Stream.close, partial(Stream.lose, error=OSError(5, "broken"))], ids=["close", "lose"]
)
def test_callbacks_may_close_it(
    callback: str,
    happens: Callable[[Watched, socket.socket], None],
    close: Callable[[Stream], None],
    pair: Pair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched, peer = pair
    called: list[str] = []

    def end(*_: object) -> None:
        called.append(callback)
        close(watched.stream)

    setattr(watched.stream, callback, end)
    happens(watched, peer)
    turn_until(watched.poller, lambda: called)
    turn(watched.poller)
    assert called == [callback]
    assert watched.stream.closed
    assert caplog.records == []


# Laws

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 60000)),
        st.tuples(st.just("write_soon"), st.integers(1, 2 * SOON_LIMIT)),
        st.tuples(st.sampled_from(["hold", "release"]), st.sampled_from([1, 2])),
        st.tuples(st.just("turn"), st.integers(1, 3)),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(STEPS, st.booleans(), st.booleans())
def test_no_schedule_loses_or_reorders_a_byte(steps: list[tuple[str, int]], tcp: bool, ends: bool) -> None:
    poller = Poller()
    with tcp_pair() if tcp else contextlib.nullcontext(tuple(map(nonblocking, socket.socketpair()))) as (one, other):
        writer, reader = Watched(one, poller), Watched(other, poller)
        writer.stream.start()
        reader.stream.start()
        written = bytearray()
        for number, (step, size) in enumerate(steps):
            data = bytes([number]) * size
            if step == "write":
                writer.stream.write(data)
                written += data
            elif step == "write_soon":
                writer.stream.write_soon(data)
                written += data
            elif step == "hold":
                reader.stream.hold_reading(size)
            elif step == "release":
                reader.stream.release_reading(size)
            else:
                for _ in range(size):
                    turn(poller)
        reader.stream.release_reading(1)
        reader.stream.release_reading(2)
        if ends:
            writer.stream.write_eof()
        turn_until(poller, lambda: reader.stream.received == len(written) and ("eof" in reader.said) == ends)
        assert reader.data == written
        assert writer.stream.sent == len(written)
        assert writer.said.count("full") == writer.said.count("writable")
        assert reader.said == ["eof"] * ends
        writer.stream.close()
        reader.stream.close()
    poller.close()
