"""Sockets, a poller and a clock without a system behind them: the real byte path, run by hand.

Only what the kernel does is replaced. Streams, paths, connections and timers are those of the proxy.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import weakref
from collections import deque
from collections.abc import Callable

from l4proxy.poller import ERROR, PEER_ENDED, READ, WRITE

__all__ = ["ManualLoop", "MemoryPoller", "MemorySocket"]


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()
        for sock in (self._ssock, self._csock):  # type: ignore[attr-defined]
            weakref.finalize(self, sock.close)

    def time(self) -> float:
        return self.now

    def __del__(self) -> None:
        """Nobody has to close it: it goes with the test that used it, and with all that still waits in it."""

    def run_ready(self) -> None:
        """Run what is due now, and what that makes due, for a few turns; never wait."""
        for _ in range(5):
            self.call_soon(self.stop)
            self.run_forever()


class MemorySocket:
    """The kernel's side of a connected socket, as far as a stream uses one."""

    family = socket.AF_INET
    _next_fd = 1000

    def __init__(self) -> None:
        MemorySocket._next_fd += 1
        self._fd = MemorySocket._next_fd
        self.arrived: deque[bytes] = deque()
        """What the peer has sent and nobody has read. ``b""`` is its end of stream."""
        self.taken = bytearray()
        """What was written to the peer."""
        self.room: int | None = None
        """How many bytes the peer still takes; None: any number."""
        self.error: OSError | None = None
        self.shut = False
        self.closed = False
        self.reset = False

    def fileno(self) -> int:
        return self._fd

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.error is not None:
            raise self.error
        if not self.arrived:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        data = self.arrived.popleft()
        if len(data) > size:
            self.arrived.appendleft(data[size:])
        if not data:
            self.arrived.append(b"")
        return data[:size]

    def send(self, data: bytes | memoryview) -> int:
        if self.error is not None:
            raise self.error
        if self.shut:
            raise BrokenPipeError(errno.EPIPE, "written after the end")
        data = memoryview(data)  # TypeError as a socket raises it
        size = len(data) if self.room is None else min(len(data), self.room)
        if not size:
            raise BlockingIOError(errno.EAGAIN, "no room")
        if self.room is not None:
            self.room -= size
        self.taken += data[:size]
        return size

    def shutdown(self, _how: int) -> None:
        self.shut = True

    def getsockopt(self, _level: int, _option: int) -> int:
        return self.error.errno or 0 if self.error is not None else 0

    def setsockopt(self, _level: int, option: int, _value: object) -> None:
        self.reset = self.reset or option == socket.SO_LINGER

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.1", 80)

    def getpeername(self) -> tuple[str, int]:
        return ("198.51.100.1", self._fd)

    def close(self) -> None:
        self.closed = True


class MemoryPoller:
    """Calls the callbacks of sockets on which something happened, edge-triggered as the real one does."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._sockets: dict[int, MemorySocket] = {}
        self._edges: dict[int, int] = {}
        self._deferred: deque[Callable[[], None]] = deque()

    def attach(self, sock: MemorySocket) -> None:
        self._sockets[sock.fileno()] = sock

    def happened(self, sock: MemorySocket) -> None:
        """The peer did something: sent, ended, made room, reset."""
        self._edges[sock.fileno()] = 1

    def register(self, fd: int, _mask: int, callback: Callable[[int], None]) -> None:
        self._callbacks[fd] = callback
        self._edges[fd] = 1

    def change(self, fd: int, _mask: int) -> None:
        self._edges[fd] = 1

    def unregister(self, fd: int) -> None:
        self._callbacks.pop(fd, None)

    forget = unregister

    def defer(self, call: Callable[[], None]) -> None:
        self._deferred.append(call)

    @property
    def pending(self) -> bool:
        """Something has happened that the next turn tells of."""
        return bool(self._edges or self._deferred)

    def run(self) -> bool:
        """One turn. False: nothing happened."""
        edges, self._edges = self._edges, {}
        for fd in edges:
            callback, sock = self._callbacks.get(fd), self._sockets[fd]
            if callback is not None:
                unread = len(sock.arrived)
                callback(self._mask(sock))
                if 0 < len(sock.arrived) < unread:  # chunks are told one by one, as if each had arrived by itself
                    self._edges[fd] = 1
        worked = bool(edges)
        while self._deferred:
            worked = True
            self._deferred.popleft()()
        return worked

    @staticmethod
    def _mask(sock: MemorySocket) -> int:
        mask = 0 if sock.room == 0 else WRITE
        if sock.arrived:
            mask |= READ
        if sock.error is not None:
            mask |= READ | ERROR
        if b"" in sock.arrived and len(sock.arrived) <= 2:
            mask |= PEER_ENDED
        return mask
