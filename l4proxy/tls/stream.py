"""A stream whose bytes are encrypted on the wire: an ``SSLSocket`` that the poller tells when to read and write.

There are two ways to drive OpenSSL from an event loop. An ``SSLSocket`` reads and writes the socket itself; an
``SSLObject`` between two ``MemoryBIO`` is given the ciphertext that was read, and returns what is to be sent. Both were
built on `Stream` and measured with a plain upstream behind (TLS 1.3, AES-256-GCM, OpenSSL 3.0, CPython 3.11; the least
of several interleaved runs), the second also with one pair of BIOs for all streams, since OpenSSL needs them only
between two callbacks:

=====================================  =========  =========  =================  ======
CPU, or memory per connection          SSLSocket  MemoryBIO  MemoryBIO, shared  Envoy
=====================================  =========  =========  =================  ======
seconds per GB received                0.78       1.00       1.00               0.60
seconds per GB sent                    0.79       0.85       0.84               0.60
microseconds per message of 128 bytes  73         71         71                 66
microseconds per short connection      690        640        590                380
idle                                   15.3 KiB   17.6 KiB   15.1 KiB           22 KiB
idle, after moving a megabyte          15.3 KiB   540 KiB    15.2 KiB
=====================================  =========  =========  =================  ======

A BIO costs two more copies of every byte and clears the memory first; an ``SSLSocket`` costs a system call more per
record. Whoever moves many bytes pays more for copies, and those are the connections whose cost is seen.

Nothing else that was tried makes sending cheaper: not to cork the socket (``TCP_CORK``) while the records of a chunk
are sent, which the kernel joins in its queue anyway, nor chunks of other sizes. What is left between this and Envoy is
AES-GCM itself, a third of all that is spent on a byte: BoringSSL has code for wider registers (VAES), OpenSSL 3.0 has
not. Python is a thirtieth.

kTLS (``OP_ENABLE_KTLS``, Python 3.12) would let the kernel encrypt, and even splice. It needs an OpenSSL built for it
and the kernel's ``tls`` module, and ``ssl`` does not say whether it took effect, so nothing here counts on it.

Of the memory of an idle connection all but two KiB are OpenSSL's own, its buffers not among them: Python has it release
those between records (``SSL_MODE_RELEASE_BUFFERS``). Fewer session tickets change nothing, nor do other options.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from errno import EPIPE
from typing import TYPE_CHECKING

from l4proxy.poller import PEER_ENDED, WRITE
from l4proxy.stream import READ_SIZE_MAX, SOMETHING_TO_READ, Stream
from l4proxy.tls.failures import broken_stream, is_end, what_broke

if TYPE_CHECKING:
    from l4proxy.poller import Poller
    from l4proxy.tls.stats import TlsStats

__all__ = ["TlsStream"]

RECORD = 16 * 1024
"""The most plaintext that one record carries (RFC 8446, section 5.1). A read asks for no less, so that OpenSSL never
keeps bytes of a record back, which no poller would tell of."""

# glibc returns free memory at the end of its heap to the system, and takes it again for the next chunk, which can cost
# more than decrypting it. Once it has freed a block of this size, it keeps up to twice as much.
bytes(1 << 20)


def _nothing(_sock: ssl.SSLSocket) -> None:
    pass


def _ended(_data: bytes | memoryview) -> int:
    raise BrokenPipeError(EPIPE, "written behind the end of the stream")


class TlsStream(Stream):
    """Made with a socket whose handshake is done. ``on_end`` is called with it while its session can still be had."""

    __slots__ = ("_encrypt", "_farewell", "_on_end", "_read_events", "_stats", "_write_events")

    spliceable = False
    sock: ssl.SSLSocket

    def __init__(
        self,
        sock: ssl.SSLSocket,
        poller: Poller,
        high: int,
        stats: TlsStats,
        on_end: Callable[[ssl.SSLSocket], object] = _nothing,
    ) -> None:
        super().__init__(sock, poller, high)
        self._read_size = READ_SIZE_MAX
        self._stats = stats
        self._on_end = on_end
        self._encrypt = sock.send
        self._send = self._send_records
        self._read_events = SOMETHING_TO_READ
        """Events that let reading go on. Not always what it seems: OpenSSL may have to send before it can read."""
        self._write_events = WRITE
        self._farewell = b""
        """What of close_notify has not left."""

    @property
    def alpn(self) -> str:
        """The application protocol that was agreed on; empty if none was."""
        return self.sock.selected_alpn_protocol() or ""

    # Reading

    def _on_event(self, mask: int) -> None:
        if self._read_events == WRITE and mask & WRITE:
            self._read_events = SOMETHING_TO_READ
            mask |= SOMETHING_TO_READ
        if self._write_events != WRITE and mask & self._write_events:
            self._write_events = WRITE
            mask |= WRITE
        super()._on_event(mask)

    def read(self, mask: int) -> None:
        """Read the records that have come, and hand them on in one piece."""
        records: list[bytes] = []
        ended = False
        failure: OSError | None = None
        try:
            ended = self._collect(records, mask & PEER_ENDED)
        except OSError as error:
            failure = error
        if records:
            data = records[0] if len(records) == 1 else b"".join(records)
            self.received += len(data)
            if len(data) < self._read_size:
                self._pass_on(data)
            else:
                self._hand_on(data)
        if self.closed:
            return
        if failure is not None:
            self.lose(failure)
        elif ended:
            self.end()

    def _collect(self, records: list[bytes], fin: int) -> bool:
        """Append the records that have come. True: the last one is among them. ``fin``: FIN stands behind them."""
        size = 0
        try:
            while size < self._read_size:
                if fin and not self.has_input():  # OpenSSL must not see FIN: nothing could be sent any more
                    return self._truncated()
                record = self._recv(RECORD)
                if not record:
                    return True
                records.append(record)
                size += len(record)
                if len(record) < RECORD and not fin and not self.has_input():  # asking joins small records, too
                    return False
            self.rearm()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._read_events = WRITE
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError as error:
            if not is_end(error):
                raise
            return self._truncated()
        return False

    def _truncated(self) -> bool:
        """There is no close_notify. That is an end like others, unless the socket is broken."""
        broken = what_broke(self.sock)
        if broken is not None:
            raise broken
        self._stats.truncated_total += 1
        return True

    # Writing

    def _send_records(self, data: bytes | memoryview) -> int:
        """Stands in for ``socket.send``, which for an ``SSLSocket`` sends one record. Returns how many bytes have left.

        A record that has not left whole is not counted, and must come again at the front of the next ``data``; that is
        how the queue of a stream works.
        """
        sent, size = 0, len(data)
        encrypt = self._encrypt
        try:
            sent = encrypt(data)
            if sent < size:
                view = memoryview(data)
                while sent < size:
                    sent += encrypt(view[sent:])
        except ssl.SSLWantWriteError:
            pass
        except ssl.SSLWantReadError:
            self._write_events = SOMETHING_TO_READ
        return sent

    def write_failed(self, error: OSError) -> None:
        super().write_failed(broken_stream(error))

    def _flush(self) -> None:
        if not self._farewell:
            super()._flush()
            return
        self._shutdown()
        if not self.buffered:
            self.on_flushed()

    def write_last_eof(self) -> None:
        """A close that follows would send FIN, but not close_notify."""
        self.write_eof()

    def _shutdown(self) -> None:
        """Send close_notify, and FIN behind it. The peer may go on sending (RFC 8446, section 6.1)."""
        try:
            if self._send is not _ended:
                self._send = _ended
                self._farewell = self._close_notify()
            with contextlib.suppress(BlockingIOError):
                self._farewell = self._farewell[os.write(self.fd, self._farewell) :]
            self.buffered = len(self._farewell)
            if not self.buffered:
                socket.socket.shutdown(self.sock, socket.SHUT_WR)  # SSLSocket's own would end its reading too
        except OSError as error:
            self.write_failed(error)

    def _close_notify(self) -> bytes:
        """The encrypted alert.

        ``unwrap`` sends it and then reads. When that read meets data, OpenSSL takes it for an error that ends the
        connection (``application data after close notify``), and what a peer goes on to send would be lost. So the
        descriptor leads, for the length of this call, to a socket that has nothing to be read.
        """
        self._end_session()
        ours, other = socket.socketpair()
        with ours, other:
            ours.setblocking(False)
            other.setblocking(False)
            wire = os.dup(self.fd)
            try:
                os.dup2(ours.fileno(), self.fd, inheritable=False)
                with contextlib.suppress(ssl.SSLError):  # SSLWantReadError, unless the peer has sent its own
                    self.sock.unwrap()
            finally:
                os.dup2(wire, self.fd, inheritable=False)
                os.close(wire)
            with contextlib.suppress(BlockingIOError):  # nothing, where the handshake or a record has failed
                return other.recv(RECORD)
            return b""

    # The end

    def _end_session(self) -> None:
        on_end, self._on_end = self._on_end, _nothing
        on_end(self.sock)

    def lose(self, error: OSError) -> None:
        super().lose(broken_stream(error))

    def close(self, *, reset: bool = False) -> None:
        if not self.closed:
            self._end_session()
        super().close(reset=reset)
