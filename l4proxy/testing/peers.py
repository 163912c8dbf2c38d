"""The two peers of a real proxy in a test: a client's socket, and an upstream whose connections run in threads."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Handler", "SocketEnd", "Upstream", "echo"]

TIMEOUT = 30.0
"""Seconds that a socket of a test waits before it raises TimeoutError: a wrong test fails, it does not hang."""
_RESET = struct.pack("ii", 1, 0)


class SocketEnd:
    """One end of a connection, as blocking calls. ``sock`` is its socket, for whatever these do not do."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)

    def send(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.sock.sendall(chunk)

    def eof(self) -> None:
        """Send end of stream (FIN). What the other end sends can still be received."""
        self.sock.shutdown(socket.SHUT_WR)

    def receive(self, size: int) -> bytes:
        """Wait for ``size`` bytes. Fewer: the other end has ended its side before."""
        received = bytearray()
        while len(received) < size and (data := self.sock.recv(size - len(received))):
            received += data
        return bytes(received)

    def receive_all(self) -> bytes:
        """Wait for the other end's end of stream, and return all that came before it. Raises ConnectionResetError."""
        received = bytearray()
        while data := self.sock.recv(1 << 18):
            received += data
        return bytes(received)

    def reset(self) -> None:
        """Close with RST, like a process that was killed with bytes unread."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> SocketEnd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Handler: TypeAlias = Callable[[SocketEnd], object]
"""What an upstream does with a connection. It may block; when it returns, the connection is closed."""


def echo(end: SocketEnd) -> None:
    """Send everything back, the end of stream included."""
    while data := end.sock.recv(1 << 18):
        end.send(data)
    end.eof()


class Upstream:
    """Listens on a port of its own on loopback, and runs ``handler`` for each connection in a thread.

    That a connection breaks is no error, for the proxy may cut it; ``errors`` are reports of all else that handlers
    raised.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._open: dict[SocketEnd, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closing = False
        self.errors: list[str] = []
        self._accepting = threading.Thread(target=self._accept, name="test upstream", daemon=True)
        self._accepting.start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listening.getsockname()
        return host, port

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listening.accept()
            except OSError:  # closed
                return
            end = SocketEnd(sock)
            thread = threading.Thread(target=self._serve, args=(end,), name="test upstream's connection", daemon=True)
            with self._lock:
                self._open[end] = thread
            thread.start()

    def _serve(self, end: SocketEnd) -> None:
        try:
            self._handler(end)
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                return  # the proxy has cut the connection, or the test is over
            self.errors.append(f"the upstream's handler failed:\n{traceback.format_exc()}")
        finally:
            with self._lock:
                del self._open[end]
                end.close()

    def close(self) -> None:
        """Accept nothing more, and cut what is open."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        self._accepting.join(TIMEOUT)
        self._listening.close()
        with self._lock:
            threads = list(self._open.values())
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(TIMEOUT)
