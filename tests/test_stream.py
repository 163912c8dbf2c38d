"""Streams on real sockets, with a peer that does odd things."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from l4proxy.poller import Poller
from l4proxy.stream import Stream


class Watched:
    """A stream and what it said."""

    def __init__(self, sock: socket.socket, poller: Poller) -> None:
        self.said: list[str] = []
        self.data = b""
        self.poller = poller
        self.stream = Stream(sock, poller)
        self.stream.on_data = self._data
        self.stream.on_eof = lambda: self.said.append("eof")
        self.stream.on_lost = lambda error: self.said.append(f"lost {error.errno}")
        self.stream.start()

    def _data(self, data: bytes) -> None:
        self.data += data

    def turn(self, until: Callable[[], bool]) -> None:
        for _ in range(100):
            self.poller.dispatch(self.poller.epoll.poll(0.1))
            if until():
                return
        raise AssertionError(f"said {self.said}, read {self.data!r}")


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture
def pair(poller: Poller) -> Iterator[tuple[Watched, socket.socket]]:
    """A stream over TCP, and its peer."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        peer = stack.enter_context(socket.create_connection(server.getsockname()))
        sock = stack.enter_context(server.accept()[0])
        sock.setblocking(False)
        yield Watched(sock, poller), peer


@pytest.mark.parametrize("ends", [True, False])
def test_urgent_data_holds_nothing_up(pair: tuple[Watched, socket.socket], ends: bool) -> None:
    watched, peer = pair
    peer.send(b"before ")
    peer.send(b"!", socket.MSG_OOB)
    peer.send(b"behind")
    if ends:
        peer.shutdown(socket.SHUT_WR)
    watched.turn(lambda: watched.data == b"before behind" and watched.said == ["eof"] * ends)


def test_a_reset_is_told_once_also_where_bytes_wait_and_nothing_is_read(
    pair: tuple[Watched, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    watched, peer = pair
    watched.stream.write(bytes(16 << 20))
    watched.stream.hold_reading(1)
    assert watched.stream.buffered
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    watched.turn(lambda: watched.stream.closed)
    assert watched.said == [f"lost {errno.ECONNRESET}"]
    assert caplog.records == []
