"""What tests of TLS share: both ends of handshakes on real sockets, a poller turned by hand, and peers in threads."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from l4proxy.config.schema import ClientTls, ServerTls
from l4proxy.config.types import FilePath
from l4proxy.filter import TlsInfo
from l4proxy.poller import Poller
from l4proxy.tls import ClientTlsContext, Handshake, ServerTlsContext, TlsStream
from services.certs import Certificate
from streams import nonblocking, tcp_pair, turn_until

__all__ = ["End", "FakeTimers", "Peer", "Thread", "accepted", "client_context", "client_tls", "connected",
           "server_context", "server_tls"]  # fmt: skip

T = TypeVar("T")
LIMIT = 30
"""Seconds after which a peer's socket gives up."""


def file(path: Path) -> FilePath:
    return FilePath(str(path))


def server_tls(certificate: Certificate, **options: Any) -> ServerTls:
    return ServerTls(file(certificate.cert), file(certificate.key), **options)


def client_tls(ca: Path | None = None, certificate: Certificate | None = None, **options: Any) -> ClientTls:
    if certificate is not None:
        options |= {"cert": file(certificate.cert), "key": file(certificate.key)}
    return ClientTls(ca=file(ca) if ca else None, **options)


def client_context(ca: Path | None, certificate: Certificate | None = None) -> ssl.SSLContext:
    """Of a Python client: verifies if there is an authority to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    if certificate is not None:
        context.load_cert_chain(certificate.cert, certificate.key)
    return context


def server_context(certificate: Certificate, client_ca: Path | None = None) -> ssl.SSLContext:
    """Of a Python server: asks for client certificates if there is an authority to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class FakeTimers:
    """Timers that fire when a test says so."""

    def __init__(self) -> None:
        self.running: list[FakeTimer] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        self.running.append(FakeTimer(self, delay, callback))
        return self.running[-1]

    def fire(self) -> None:
        for timer in self.running[:]:
            timer.cancel()
            timer.callback()


class FakeTimer:
    def __init__(self, timers: FakeTimers, delay: float, callback: Callable[[], object]) -> None:
        self.timers = timers
        self.delay = delay
        self.callback = callback

    def cancel(self) -> None:
        if self in self.timers.running:
            self.timers.running.remove(self)


class End:
    """Our end of a connection: its handshake, then its stream, and everything that they say."""

    def __init__(
        self, context: ServerTlsContext | ClientTlsContext, sock: socket.socket, hostname: str = "localhost"
    ) -> None:
        self.context = context
        self.poller = Poller()
        self.timers = FakeTimers()
        self.said: list[str] = []
        self.chunks: list[bytes] = []
        self.errors: list[OSError] = []
        self.failure: tuple[str, str] | None = None
        self.on_ready: Callable[[TlsStream], object] = TlsStream.start
        self._stream: TlsStream | None = None
        self.info = TlsInfo()
        timers: Any = self.timers
        callbacks = (self.poller, timers, self._ready, self._failed)
        self.handshake: Handshake
        if isinstance(context, ServerTlsContext):
            self.handshake = context.accept(nonblocking(sock), *callbacks)
        else:
            self.handshake = context.connect(nonblocking(sock), hostname, *callbacks)

    @property
    def stream(self) -> TlsStream:
        assert self._stream is not None, self.failure
        return self._stream

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)

    def _ready(self, stream: TlsStream, info: TlsInfo, seconds: float) -> None:
        assert seconds >= 0
        assert self._stream is None
        assert self.failure is None
        self._stream = stream
        self.info = info
        stream.on_data = self.chunks.append
        stream.on_eof = lambda: self.said.append("eof")
        stream.on_lost = self._lost
        stream.on_writable = lambda writable: self.said.append("writable" if writable else "full")
        stream.on_flushed = lambda: self.said.append("flushed")
        stream.on_closed = lambda _stream: self.said.append("closed")
        self.on_ready(stream)

    def _lost(self, error: OSError) -> None:
        self.said.append("lost")
        self.errors.append(error)

    def _failed(self, why: str, message: str) -> None:
        assert self._stream is None
        assert self.failure is None
        self.failure = (why, message)

    def turn_until(self, condition: Callable[[], object]) -> None:
        turn_until(self.poller, condition)

    def shake_hands(self) -> None:
        """Turn until the handshake has succeeded or failed."""
        self.turn_until(lambda: self._stream or self.failure)

    def echo(self) -> None:
        """Send back what comes, and its end."""
        stream = self.stream
        stream.on_data, stream.on_eof = stream.write, stream.write_eof
        stream.on_writable = lambda writable: stream.release_reading(1) if writable else stream.hold_reading(1)

    def close(self) -> None:
        self.handshake.cancel()
        if self._stream is not None:
            self._stream.close()
        assert len(self.poller) == 0
        assert not self.timers.running
        self.poller.close()


class Thread(Generic[T]):
    """A peer in a thread of its own, and what came of it."""

    def __init__(self, run: Callable[[], T]) -> None:
        self._run = run
        self._result: T | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        try:
            self._result = self._run()
        except Exception as error:
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    @property
    def error(self) -> Exception | None:
        self._thread.join(LIMIT)
        assert self.done
        return self._error

    @property
    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self._result  # type: ignore[return-value]


class Peer:
    """The other end, driven step by step: what it wants to send are bytes, which a test may cut or spoil."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, **options: Any) -> None:
        self.sock = nonblocking(sock)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **options)
        self.data = bytearray()
        self.ended = False

    def seal(self, data: bytes) -> bytes:
        """Encrypt, without sending it."""
        while data:
            data = data[self.tls.write(data) :]
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.sock.sendall(self.seal(data))

    def close_notify(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def shake_hands(self) -> bool:
        """One step; whether the handshake is done."""
        self._take()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.sock.sendall(self.outgoing.read())
        return True

    def receive(self) -> bytearray:
        """Take what has come; return all that has been decrypted so far."""
        self._take()
        try:
            while not self.ended:
                record = self.tls.read(1 << 16)
                self.data += record
                self.ended = not record
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        return self.data

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := self.sock.recv(1 << 16):
                self.incoming.write(data)


@contextlib.contextmanager
def accepted(
    context: ServerTlsContext, peer: ssl.SSLContext, name: str | None = "localhost"
) -> Iterator[tuple[End, Peer]]:
    """Our server's end and a client, after their handshake."""
    with tcp_pair() as (ours, theirs), contextlib.closing(End(context, ours)) as end:
        client = Peer(theirs, peer, server_hostname=name)
        end.turn_until(lambda: client.shake_hands() or end.failure)
        end.shake_hands()
        yield end, client


@contextlib.contextmanager
def connected(
    context: ClientTlsContext, peer: ssl.SSLContext, hostname: str = "localhost"
) -> Iterator[tuple[End, Peer]]:
    """Our client's end and a server, after their handshake."""
    with tcp_pair() as (ours, theirs), contextlib.closing(End(context, ours, hostname)) as end:
        server = Peer(theirs, peer, server_side=True)
        end.turn_until(lambda: server.shake_hands() or end.failure)
        end.shake_hands()
        yield end, server
