"""What tests of streams share: streams on real sockets that write down what they say, and a poller turned by hand."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator

from l4proxy.poller import Poller
from l4proxy.stream import Stream

__all__ = ["Watched", "nonblocking", "open_descriptors", "reset", "tcp_pair", "turn", "turn_until"]

TURNS = 10_000
"""Far more than anything needs: they only end a test that fails."""


class Watched:
    """A stream, what it received, and what it said beside."""

    def __init__(self, sock: socket.socket, poller: Poller, high: int = 64 * 1024) -> None:
        self.said: list[str] = []
        self.chunks: list[bytes] = []
        self.poller = poller
        self.stream = stream = Stream(sock, poller, high)
        stream.on_data = self.chunks.append
        stream.on_eof = lambda: self.said.append("eof")
        stream.on_lost = lambda error: self.said.append(f"lost {error.errno}")
        stream.on_writable = lambda writable: self.said.append("writable" if writable else "full")
        stream.on_flushed = lambda: self.said.append("flushed")
        stream.on_closed = lambda _stream: self.said.append("closed")

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)


def nonblocking(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two nonblocking sockets, connected over TCP."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
        server.accept()[0] as other,
    ):
        yield nonblocking(one), nonblocking(other)


def reset(sock: socket.socket) -> None:
    """Close a socket with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def turn(poller: Poller, timeout: float = 0) -> None:
    """What a loop does once."""
    poller.run_deferred()
    poller.dispatch(poller.epoll.poll(timeout))


def turn_until(poller: Poller, condition: Callable[[], object]) -> None:
    for _ in range(TURNS):
        if condition():
            return
        turn(poller, 0.001)
    raise AssertionError("it never happened")


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))
