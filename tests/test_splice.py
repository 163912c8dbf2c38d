"""Bytes moved by the kernel, on real sockets: equal to what was sent whatever the peers do, and no pipe is lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import random
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from l4proxy import splice
from l4proxy.poller import Poller
from l4proxy.splice import PIPED, SMALL, SPARE_PIPES
from l4proxy.stream import READ_SIZE
from streams import Watched, nonblocking, open_descriptors, reset, tcp_pair, turn, turn_until

pytestmark = pytest.mark.skipif(not splice.AVAILABLE, reason="this system has no splice")

FULL = 2
MIB = 1 << 20


class Relay:
    """A client, a source stream, a sink stream and a server, wired as a chain without filters is."""

    def __init__(
        self, client: socket.socket, source: socket.socket, sink: socket.socket, server: socket.socket
    ) -> None:
        self.poller = Poller()
        self.client = client
        self.server = server
        self.source = Watched(source, self.poller)
        self.sink = Watched(sink, self.poller)
        self.copied = 0
        """Bytes that came through this process."""
        self.received = bytearray()
        """What the server has read."""
        up, down = self.source.stream, self.sink.stream
        up.on_data = self._copy
        up.on_eof = down.write_eof
        down.on_writable = lambda writable: (up.release_reading if writable else up.hold_reading)(FULL)
        up.splice_to(down)
        down.start()
        up.start()

    def _copy(self, data: bytes) -> None:
        self.copied += len(data)
        self.sink.stream.write(data)

    @property
    def pending(self) -> bool:
        """Bytes wait in a pipe."""
        return self.sink.stream.piped is not None

    def read(self, size: int = 4 * MIB) -> bool:
        """Let the server read up to ``size`` bytes. True: it has read the end."""
        with contextlib.suppress(BlockingIOError):
            while size:
                chunk = self.server.recv(size)
                if not chunk:
                    return True
                self.received += chunk
                size -= len(chunk)
        return False

    def transfer(self, data: bytes, read_size: Callable[[], int] = lambda: 4 * MIB) -> bytes:
        """Send ``data`` and then the end; the server reads ``read_size()`` bytes each turn."""
        sender = memoryview(data)

        def ended() -> bool:
            nonlocal sender
            with contextlib.suppress(BlockingIOError):
                while sender:
                    sender = sender[self.client.send(sender) :]
                self.client.shutdown(socket.SHUT_WR)
            return self.read(read_size())

        turn_until(self.poller, ended)
        return bytes(self.received)

    def jam(self) -> int:
        """Send until bytes wait in a pipe, for nobody reads; return how many."""
        size = 0

        def jammed() -> bool:
            nonlocal size
            with contextlib.suppress(BlockingIOError):
                size += self.client.send(bytes(MIB))
            return self.pending

        turn_until(self.poller, jammed)
        return size

    def close(self) -> None:
        self.source.stream.close()
        self.sink.stream.close()
        self.poller.close()


@contextlib.contextmanager
def relaying(
    pair: Callable[[], contextlib.AbstractContextManager[tuple[socket.socket, socket.socket]]],
) -> Iterator[Relay]:
    with pair() as (client, source), pair() as (sink, server):
        relay = Relay(client, source, sink, server)
        try:
            yield relay
        finally:
            relay.close()


@contextlib.contextmanager
def unix_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * MIB)  # by default less than a full read is on its way
    with nonblocking(one), nonblocking(other):
        yield one, other


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    splice.close_spare_pipes()
    before = open_descriptors()
    yield
    splice.close_spare_pipes()
    assert open_descriptors() <= before


@pytest.fixture
def relay() -> Iterator[Relay]:
    with relaying(tcp_pair) as relay:
        yield relay


def random_bytes(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


# What arrives


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_everything_arrives_as_it_was_sent(
    pair: Callable[[], contextlib.AbstractContextManager[tuple[socket.socket, socket.socket]]], slow: bool, seed: int
) -> None:
    chance = random.Random(seed)
    data = random_bytes(seed, 6 * MIB)

    def read_size() -> int:
        return chance.choice([0, 0, 1, 1000, 100_000, MIB]) if slow else 4 * MIB

    with relaying(pair) as relay:
        received = relay.transfer(data, read_size)
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
        assert relay.source.stream.received == relay.sink.stream.sent == len(data)
        assert relay.copied < len(data)
        assert relay.source.said == []


def test_small_chunks_are_read_plainly_again(relay: Relay) -> None:
    stream = relay.source.stream
    size = 0

    def arrived() -> bool:
        relay.read()
        return len(relay.received) == size

    for _ in range(2):
        copied = relay.copied
        while stream._read == stream.read:
            with contextlib.suppress(BlockingIOError):
                size += relay.client.send(bytes(MIB))
            turn(relay.poller)
            relay.read()
        turn_until(relay.poller, arrived)
        for _ in range(4):
            size += relay.client.send(bytes(SMALL - 1))
            turn_until(relay.poller, arrived)
        assert stream._read == stream.read
        assert relay.copied > copied


def test_urgent_data_in_the_middle_holds_nothing_up(relay: Relay) -> None:
    size = relay.jam()
    turn_until(relay.poller, lambda: relay.read() or len(relay.received) == size)
    relay.client.send(b"before")
    relay.client.send(b"!", socket.MSG_OOB)
    relay.client.send(b"behind")
    turn_until(relay.poller, lambda: relay.read() or len(relay.received) == size + 12)
    assert relay.received.endswith(b"beforebehind")


def test_what_others_write_to_the_sink_stays_behind_the_pipe(relay: Relay) -> None:
    size = relay.jam()
    relay.sink.stream.write(b"injected")
    relay.sink.stream.write_eof()
    turn_until(relay.poller, relay.read)
    piped = len(relay.received) - len(b"injected")
    assert 0 < piped <= size
    assert relay.received == bytes(piped) + b"injected"


def test_while_bytes_wait_in_a_pipe_the_source_is_not_read(relay: Relay) -> None:
    relay.jam()
    received = relay.source.stream.received
    for _ in range(5):
        turn(relay.poller)
    assert relay.source.stream.holds & PIPED
    assert relay.source.stream.received == received
    assert 0 < relay.sink.stream.buffered <= splice.PIPE_SIZE


# Ends while bytes wait in a pipe


def test_the_sink_is_lost(relay: Relay) -> None:
    relay.jam()
    reset(relay.server)
    turn_until(relay.poller, lambda: relay.sink.stream.closed)
    assert relay.sink.said[-1] in (f"lost {errno.ECONNRESET}", f"lost {errno.EPIPE}")
    assert not relay.pending
    assert not relay.source.stream.closed, "that is for the connection to decide"


def test_a_sink_that_refuses_has_its_answer_read(relay: Relay) -> None:
    relay.jam()
    sink, source = relay.sink.stream, relay.source.stream

    def read_some(data: bytes) -> None:
        relay.sink.chunks.append(data)
        sink.hold_reading(1)

    sink.on_data = read_some
    relay.server.send(b"no" * READ_SIZE)
    relay.server.close()
    turn_until(relay.poller, lambda: sink.failure)
    assert not relay.pending
    received = source.received
    turn_until(relay.poller, lambda: source.received > received)
    assert not sink.closed
    sink.release_reading(1)
    sink.on_data = relay.sink.chunks.append
    turn_until(relay.poller, lambda: sink.closed)
    assert relay.sink.data == b"no" * READ_SIZE


def test_the_sink_is_closed(relay: Relay) -> None:
    relay.jam()
    relay.sink.stream.close()
    relay.source.stream.discard_input()
    turn(relay.poller)
    assert relay.sink.said == ["closed"]


@pytest.mark.parametrize("end", ["closed", "reset"])
def test_what_follows_a_message_is_read_though_its_sink_is_gone(end: str, relay: Relay) -> None:
    """Others wait for it: the source is a connection that they share."""
    source, sink = relay.source.stream, relay.sink.stream
    message, behind = 32 * MIB, b"what follows"
    source.on_data = relay.source.chunks.append
    assert source.splice_next(sink, message)
    left = message - relay.jam()
    if end == "closed":
        sink.close()
    else:
        reset(relay.server)
    rest = memoryview(bytes(left) + behind)

    def sent() -> bool:
        nonlocal rest
        with contextlib.suppress(BlockingIOError):
            while rest:
                rest = rest[relay.client.send(rest) :]
        return relay.source.data.endswith(behind)

    turn_until(relay.poller, sent)
    assert relay.source.data == behind


def test_the_source_is_closed_and_its_last_bytes_arrive(relay: Relay) -> None:
    relay.jam()
    relay.source.stream.close()
    relay.sink.stream.write_eof()
    turn_until(relay.poller, relay.read)
    assert len(relay.received) == relay.source.stream.received


def test_the_source_is_reset(relay: Relay) -> None:
    relay.jam()
    reset(relay.client)
    turn_until(relay.poller, lambda: relay.source.stream.closed)
    assert relay.source.said == ["closed", f"lost {errno.ECONNRESET}"]
    assert relay.pending


def test_a_reset_behind_spliced_data_is_not_taken_for_an_end(relay: Relay) -> None:
    stream = relay.source.stream

    def spliced() -> bool:
        with contextlib.suppress(BlockingIOError):
            relay.client.send(bytes(MIB))
        relay.read()
        return stream._read != stream.read

    turn_until(relay.poller, spliced)
    reset(relay.client)
    turn_until(relay.poller, lambda: relay.read() or stream.closed)
    assert relay.source.said == ["closed", f"lost {errno.ECONNRESET}"]
    assert not stream.eof_received


# Pipes


def no_longer_jammed(relay: Relay) -> bool:
    relay.read()
    return not relay.pending


def test_a_thousand_transfers_would_share_a_few_pipes() -> None:
    with contextlib.ExitStack() as stack:
        relays = [stack.enter_context(relaying(unix_pair)) for _ in range(SPARE_PIPES + 4)]
        for relay in relays:
            relay.jam()
        assert splice._spare == []
        for relay in relays:
            turn_until(relay.poller, partial(no_longer_jammed, relay))
        assert len(splice._spare) == SPARE_PIPES
        splice.close_spare_pipes()
        assert splice._spare == []


def test_without_pipes_bytes_are_copied(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(os, "pipe2", no_more)
    data = random_bytes(1, 3 * MIB)
    assert relay.transfer(data) == data
    assert relay.copied == len(data)


def test_small_pipes_do_as_well(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_fd: int, _command: int, _size: int) -> int:
        raise PermissionError(errno.EPERM, "too many pages")

    monkeypatch.setattr(fcntl, "fcntl", refused)
    data = random_bytes(1, 3 * MIB)
    assert relay.transfer(data) == data
    assert relay.copied < len(data)


def test_what_cannot_be_spliced_is_copied_and_not_tried_again(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def refused(source: int, *_: object, **__: object) -> int:
        tries.append(source)
        raise OSError(errno.EINVAL, "not this kind")

    monkeypatch.setattr(os, "splice", refused)
    data = random_bytes(1, 5 * MIB)
    assert relay.transfer(data) == data
    assert relay.copied == len(data)
    assert len(tries) == 1


def test_a_filter_that_begins_to_read_gets_every_byte_from_then_on(relay: Relay) -> None:
    size = relay.jam()
    seen: list[bytes] = []
    stream = relay.source.stream
    stream.splice_to(None)
    received = stream.received

    def read(data: bytes) -> None:
        seen.append(data)
        relay.sink.stream.write(data)

    stream.on_data = read
    relay.client.shutdown(socket.SHUT_WR)
    turn_until(relay.poller, relay.read)
    assert len(relay.received) == size
    assert sum(map(len, seen)) == size - received
