"""A stream whose bytes are encrypted on the wire.

There are two ways to drive OpenSSL from an event loop. An ``SSLSocket`` reads and writes the socket itself; an
``SSLObject`` between two ``MemoryBIO`` is given ciphertext that was read, and returns what is to be sent. Both were
built on `Stream` and measured (TLS 1.3, AES-256-GCM, OpenSSL 3.0, CPython 3.11; the least of many interleaved runs):

=========================================  ==========  =============  ====================
CPU, or memory                             SSLSocket   MemoryBIO      MemoryBIO, shared
=========================================  ==========  =============  ====================
seconds per GB received                    0.44        0.46           0.46
seconds per GB sent                        0.42        0.44           0.44
microseconds per message of 128 bytes      33          29             29
microseconds per handshake                 425         400            400
idle connection                            15.3 KiB    17.6 KiB       15.1 KiB
the same after moving a megabyte           15.3 KiB    540 KiB        15.2 KiB
=========================================  ==========  =============  ====================

An ``SSLSocket`` copies less, but makes two system calls to read a record and one to write it, and it cannot half-close:
``unwrap`` sends close_notify and then reads, and data met by that read breaks the connection for good. So it is the
third way. A pair of BIOs is needed only between two callbacks, for OpenSSL keeps what there is of an incomplete record,
and whatever it wrote is sent or kept at once: all streams of a thread share one pair.

kTLS (``OP_ENABLE_KTLS``, Python 3.12) would let the kernel encrypt, and even splice. It needs an ``SSLSocket``, an
OpenSSL built for it and the kernel's ``tls`` module, and ``ssl`` does not say whether it took effect; it is not used.

Of the 15 KiB, all but two are OpenSSL's own, its buffers not among them: Python has it release those between records
(``SSL_MODE_RELEASE_BUFFERS``). Fewer session tickets change nothing. What is buffered here is plaintext, but for the
last piece that was encrypted and not yet taken by the kernel: up to `PIECE` bytes beside the high watermark.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.poller import PEER_ENDED
from l4proxy.stream import READ_SIZE_MAX, Stream
from l4proxy.tls.failures import broken_stream

if TYPE_CHECKING:
    import socket

    from l4proxy.poller import Poller
    from l4proxy.tls.stats import TlsStats

__all__ = ["SCRATCH", "TlsStream"]

RECORD = 16 * 1024
"""The most plaintext that one record carries (RFC 8446, section 5.1)."""
PIECE = 64 * 1024
"""Plaintext that is encrypted between two system calls; more would only leave the processor's cache in between."""


class Scratch(threading.local):
    """What the streams of one thread share. The BIOs are empty whenever no stream is at work on them."""

    def __init__(self) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.received = bytearray(READ_SIZE_MAX)


SCRATCH = Scratch()


def _nothing(_tls: ssl.SSLObject) -> None:
    pass


class TlsStream(Stream):
    """Made by a handshake that is done. ``early`` is ciphertext that came with its last message, ``unsent`` what of its
    last message the kernel has not taken. ``on_end`` is called with the SSLObject when the stream closes."""

    __slots__ = ("_buffer", "_early", "_extra", "_incoming", "_notified", "_on_end", "_outgoing", "_recv_into",
                 "_sealed", "_send_sealed", "_stats", "_taken", "tls")  # fmt: skip

    spliceable = False

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLObject,
        poller: Poller,
        high: int,
        stats: TlsStats,
        *,
        early: bytes = b"",
        unsent: bytes | memoryview = b"",
        on_end: Callable[[ssl.SSLObject], object] = _nothing,
    ) -> None:
        super().__init__(sock, poller, high)
        self.tls = tls
        self._stats = stats
        self._on_end = on_end
        self._incoming = SCRATCH.incoming
        self._outgoing = SCRATCH.outgoing
        self._buffer = memoryview(SCRATCH.received)
        self._recv_into = sock.recv_into
        self._send_sealed = sock.send
        self._send = self._encrypt_and_send
        self._early = early
        self._sealed = unsent
        """Ciphertext that the kernel has not taken."""
        self._taken = 0
        """Bytes of plaintext in it. They stand at the front of the queue until it is gone."""
        self._extra = self.buffered = len(unsent)
        """Bytes in it that stand for no plaintext (handshake, alerts); ``buffered`` counts them."""
        self._notified = False

    @property
    def alpn(self) -> str:
        """The application protocol that was agreed on; empty if none was."""
        return self.tls.selected_alpn_protocol() or ""

    # Reading

    def start(self) -> None:
        super().start()
        self._read_early_soon()

    def rearm(self) -> None:
        super().rearm()
        self._read_early_soon()

    def _read_early_soon(self) -> None:
        if self._early and self._started:
            self._poller.defer(self._read_early)

    def _read_early(self) -> None:
        if self._early and self.reading:
            early, self._early = self._early, b""
            self._incoming.write(early)
            self._decrypt(ended=False)

    def read(self, mask: int) -> None:
        """Read what has come, and hand on the records that are complete in one piece."""
        if self._early:
            self._read_early()
            if not self.reading:  # releasing it tells of this event again
                return
        try:
            size = self._recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lose(error)
            return
        if size == len(self._buffer):
            self.rearm()
            mask = 0
        self._incoming.write(self._buffer[:size])
        self._decrypt(ended=not size or bool(mask & PEER_ENDED))

    def _decrypt(self, ended: bool) -> None:
        """Hand on what is in the incoming BIO. ``ended``: the peer has sent its last byte."""
        incoming, read = self._incoming, self.tls.read
        records: list[bytes] = []
        broken: ssl.SSLError | None = None
        closed = False
        try:
            while incoming.pending and not closed:
                record = read(RECORD)
                if record:
                    records.append(record)
                else:
                    closed = True  # close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            broken = error
        if incoming.pending:
            incoming.read()  # what comes behind the end means nothing
        if self._outgoing.pending and not self._send_extra():
            return
        if records:
            data = records[0] if len(records) == 1 else b"".join(records)
            self.received += len(data)
            self.on_data(data)
        if self.closed:
            return
        if broken is not None:
            self.lose(broken)
        elif closed or ended:
            self._stats.truncated_total += not closed
            self.end()

    # Writing

    def _encrypt_and_send(self, data: bytes | memoryview) -> int:
        """Stands in for ``socket.send``: returns how many bytes of ``data`` have left.

        What was encrypted and has not left whole is not among them; it must stand at the front of the next ``data``.
        """
        if self._sealed and not self._push():
            return 0
        sent, self._taken = self._taken, 0
        size, encrypt = len(data), self.tls.write
        view = memoryview(data)
        while sent < size:
            begin, end = sent, min(sent + PIECE, size)
            while sent < end:
                sent += encrypt(view[sent:end])
            self._sealed = self._outgoing.read()
            if not self._push():
                self._taken = end - begin
                return begin
        return sent

    def _push(self) -> bool:
        """Send what is encrypted; whether all of it has left."""
        try:
            sent = self._send_sealed(self._sealed)
        except (BlockingIOError, InterruptedError):
            return False
        if sent < len(self._sealed):
            self._sealed = memoryview(self._sealed)[sent:]
            return False
        self._sealed = b""
        return True

    def _send_extra(self) -> bool:
        """Send what OpenSSL wrote of its own accord, behind what is encrypted already. False: the stream is lost."""
        extra = self._outgoing.read()
        self._sealed = bytes(self._sealed) + extra
        try:
            if not self._push():
                self._extra += len(extra)
                self.buffered += len(extra)
        except OSError as error:
            self.lose(error)
            return False
        return True

    def _flush(self) -> None:
        if self._extra:
            try:
                if not self._push():
                    return
            except OSError as error:
                self.lose(error)
                return
            self.buffered -= self._extra
            self._extra = 0
        super()._flush()

    def write_last_eof(self) -> None:
        """A close that follows would send FIN, but not close_notify."""
        self.write_eof()

    def _shutdown(self) -> None:
        """Send close_notify, then FIN behind it. The peer may go on sending (RFC 8446, section 6.1)."""
        if not self._notified:
            self._notified = True
            with contextlib.suppress(ssl.SSLError):  # most often SSLWantReadError: the peer has not sent its own
                self.tls.unwrap()
            if self._outgoing.pending and not self._send_extra():
                return
        if not self._extra:
            super()._shutdown()

    # The end

    def lose(self, error: OSError) -> None:
        super().lose(broken_stream(error))

    def close(self, *, reset: bool = False) -> None:
        if self.closed:
            return
        self._on_end(self.tls)
        super().close(reset=reset)
        self._early = self._sealed = b""
        self._on_end = _nothing
