"""TCP streams from captured segments (RFC 9293): in order, each byte once, and what is missing said.

A capture is not a receiver. It sees both directions, from somewhere in the middle; it may begin when a connection is
long under way, it loses packets that the connection did not, it gets them twice, out of order, or cut off behind their
headers, and it cannot ask for anything again. So the rules differ from those of a stack:

- A segment that is next in its direction is delivered at once. That is the hot path.
- One that lies further on waits, for the hole in front of it may be filled. The hole is given up, and said to be
  ``lost``, as soon as it cannot be filled any more: the other side has acknowledged what is in it, so that it was sent
  and we did not see it; or more waits behind it than the limits allow; or nothing came of it for seconds; or the
  connection is over.
- What was delivered before is a retransmission and is dropped. Of overlapping segments the first one counts.
- A packet of which the capture kept only the beginning is delivered as far as it goes; the rest is a hole known to be
  lost.
- Who is the client is told by the handshake or, where that was not seen, by the ports.

Positions in a stream are counted without end, in the fields called ``next``; on the wire are their lower 32 bits. A
segment more than half of a window (2^30) away from what is expected belongs to another connection, between the same
ports, of which the beginning was not seen.

Memory is bounded: per direction and in all for what waits, and in the number of connections, of which those that were
idle for longest are forgotten. All of it is counted.
"""

from __future__ import annotations

import struct
from bisect import insort
from collections import deque
from collections.abc import Callable
from itertools import count

from l4proxy.protocols.capture.packet import endpoints, reversed_key
from l4proxy.protocols.capture.tcp_state import Connection, Endpoint, Half, Receiver, TcpCounts, TcpLimits, Waiting
from l4proxy.protocols.ip import ip_text

__all__ = ["TcpReassembler"]

_HEADER = struct.Struct("!4xIIBBH")
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_SPECIAL = _FIN | _SYN | _RST
_SHORTEST = 5 << 4
_MASK = 0xFFFFFFFF
_SIGN = 0x80000000
_WINDOW = 1 << 30
"""The largest window (RFC 7323 section 2.3): a segment that is further away belongs to no stream that we know."""

SECONDS_ACKNOWLEDGED = 0.01
"""For how long a hole stays open that the other side says it has received: packets may be captured out of order."""
SECONDS_OPEN = 5.0
"""For how long any other one does."""
CLOSED_KEPT = 10_000
"""Connections that are over and still known, so that what comes late is not taken for a new one."""
SECONDS_LATE = 2.0
"""What comes so long after the end of a connection belongs to another one, whose beginning was not seen."""
SECONDS_BETWEEN_SWEEPS = 60.0
SIZE_OF_WAITING = 200
"""Bytes of memory that a segment takes beside its own."""


class TcpReassembler:
    """Takes segments, gives streams.

    ``begin(client, server, midway, at)`` is called for every connection and returns its receiver. ``is_server(port)``
    tells who is the server where the handshake was not seen; where it says the same of both ends, the lower port is.
    """

    def __init__(
        self,
        begin: Callable[[Endpoint, Endpoint, bool, float], Receiver],
        is_server: Callable[[int], bool] = lambda port: False,
        limits: TcpLimits | None = None,
    ) -> None:
        self.counts = TcpCounts()
        self.limits = limits or TcpLimits()
        self.waiting_bytes = 0
        """Memory of all that waits behind holes."""
        self._begin = begin
        self._is_server = is_server
        self._halves: dict[bytes, Half] = {}
        self._closed: deque[Connection] = deque()
        self._numbers = count()
        self._next_sweep = 0.0

    @property
    def connections(self) -> int:
        """How many are known, those included that are over."""
        return len(self._halves) // 2

    def segment(self, key: bytes, data: bytes, tcp: int, end: int, whole: int, at: float) -> None:
        """Take a segment, as ``packet.TcpFinder`` found it, captured at ``at`` (seconds since the epoch)."""
        seq, ack, offset, flags, window = _HEADER.unpack_from(data, tcp)
        start = tcp + (offset >> 4) * 4
        half = self._halves.get(key)
        if half is None or flags & _SPECIAL or start > whole or offset < _SHORTEST:
            self._special(key, half, seq, ack, offset, flags, data[start:end], whole - start, at)
            return
        connection = half.connection
        if at > connection.at:
            connection.at = at
        else:
            at = connection.at
        peer = half.peer
        peer.acked = ack
        if not window:
            self.counts.zero_windows += 1
        if start < whole:
            position = half.next
            if position is not None and seq == position & _MASK and end == whole and not half.waiting:
                half.next = position + whole - start
                receiver = connection.receiver
                try:
                    if half.from_client:
                        receiver.client_data(data[start:end], at)
                    else:
                        receiver.server_data(data[start:end], at)
                except Exception as error:
                    receiver.failed(error, at)
            else:
                self._unexpected(half, seq, data[start:end], whole - start, at)
        if peer.waiting:
            self._give_up_old_holes(peer, at)

    # Beginnings and ends

    def _special(
        self,
        key: bytes,
        half: Half | None,
        seq: int,
        ack: int,
        offset: int,
        flags: int,
        data: bytes,
        size: int,
        at: float,
    ) -> None:
        """SYN, FIN, RST, a connection that is not known, a header that is not in order."""
        if size < 0 or offset < _SHORTEST:
            self.counts.damaged += 1
            return
        if flags & _SYN:
            half = self._handshake(key, half, seq, ack, at, first=not flags & _ACK)
            seq = seq + 1 & _MASK
        elif half is None:
            if not size or flags & _RST:
                return
            half = self._open_midway(key, at)
        connection = half.connection
        at = connection.at = max(at, connection.at)
        half.peer.acked = ack if flags & _ACK else half.peer.acked
        if size:
            half = self._unexpected(half, seq, data, size, at)
        if flags & _FIN:
            self._unexpected(half, seq + size & _MASK, b"", 0, at, end=True)
        if half.peer.waiting:
            self._give_up_old_holes(half.peer, at)
        if flags & _RST and not connection.closed:
            self.counts.resets += 1
            self._close(connection, at)

    def _handshake(self, key: bytes, half: Half | None, seq: int, ack: int, at: float, *, first: bool) -> Half:
        """A SYN: the ``first`` of a connection, or the server's. Returns the half that sent it."""
        if half is not None and _is_of_another(half, seq, first=first):
            if not half.connection.closed:
                self.counts.reused += 1
                self._close(half.connection, at)
            half = None
        if half is None:
            connection = self._open(key if first else reversed_key(key), at, midway=False)
            half = connection.client if first else connection.server
        if half.isn is None:
            half.isn, half.next = seq, seq + 1
        if not first and half.peer.next is None:
            half.peer.next = ack
        return half

    def _open_midway(self, key: bytes, at: float) -> Half:
        """Bytes of a connection that is not known. Returns the half that sent them."""
        _, source, _, destination = endpoints(key)
        to, back = self._is_server(destination), self._is_server(source)
        if to if to != back else destination <= source:
            return self._open(key, at, midway=True).client
        return self._open(reversed_key(key), at, midway=True).server

    def _open(self, key: bytes, at: float, *, midway: bool) -> Connection:
        if at >= self._next_sweep:
            self._forget_idle(at)
        if self.connections >= self.limits.connections:
            self._forget_idlest()
        self.counts.connections += 1
        self.counts.midway += midway
        connection = Connection(key, at)
        self._halves[key] = connection.client
        self._halves[reversed_key(key)] = connection.server
        client, client_port, server, server_port = endpoints(key)
        connection.receiver = self._begin(
            Endpoint(ip_text(client), client_port), Endpoint(ip_text(server), server_port), midway, at
        )
        return connection

    def _close(self, connection: Connection, at: float) -> None:
        """The connection is over: deliver what waits, and know it for a while."""
        connection.closed = True
        connection.closed_at = at
        for half in (connection.client, connection.server):
            while half.waiting:
                self._give_up_hole(half, at)
            half.next = None
        connection.receiver.close(at)
        self._closed.append(connection)
        if len(self._closed) > CLOSED_KEPT:
            self._remove(self._closed.popleft())

    def finish(self, at: float) -> None:
        """The capture is over, and so are all connections."""
        for connection in self._all():
            if not connection.closed:
                self._close(connection, max(at, connection.at))
        self._halves.clear()
        self._closed.clear()

    # Forgetting

    def _all(self) -> list[Connection]:
        return [half.connection for half in self._halves.values() if half.from_client]

    def _forget_idle(self, at: float) -> None:
        """Called now and then."""
        self._next_sweep = at + SECONDS_BETWEEN_SWEEPS
        for connection in self._all():
            if connection.at < at - self.limits.idle_seconds:
                self._forget(connection, at)

    def _forget_idlest(self) -> None:
        """There are too many connections: a tenth of them has to go, at once, for sorting them takes a while."""
        known = sorted(self._all(), key=lambda connection: (not connection.closed, connection.at))
        for connection in known[: len(known) // 10 + 1]:
            self._forget(connection, connection.at)

    def _forget(self, connection: Connection, at: float) -> None:
        if not connection.closed:
            self.counts.forgotten += 1
            self._close(connection, at)
        self._remove(connection)

    def _remove(self, connection: Connection) -> None:
        for key in (connection.key, reversed_key(connection.key)):
            half = self._halves.get(key)
            if half is not None and half.connection is connection:
                del self._halves[key]

    # What is not simply the next segment

    def _unexpected(self, half: Half, seq: int, data: bytes, size: int, at: float, *, end: bool = False) -> Half:
        """``size`` bytes at ``seq``, of which ``data`` was captured; ``end``: a FIN. Returns the half that they belong
        to, another one where a new connection was found to have begun."""
        connection = half.connection
        if connection.closed:
            if not size or at - connection.closed_at < SECONDS_LATE:
                self.counts.late += 1
                return half
            half = self._open_midway(connection.key if half.from_client else reversed_key(connection.key), at)
        if half.eof:
            self.counts.late += 1
            return half
        if half.next is None:
            half.next = seq
        distance = (seq - half.next & _MASK ^ _SIGN) - _SIGN
        if abs(distance) > _WINDOW:
            self.counts.reused += 1
            self._close(connection, at)
            opened = self._open(connection.key, at, midway=True)
            half = opened.client if half.from_client else opened.server
            half.next, distance = seq, 0
        if len(data) < size:
            self.counts.cut_off += 1
        if distance < 0:
            if size <= -distance:
                if size == 1 and distance == -1:
                    self.counts.keep_alives += 1
                else:
                    self.counts.retransmitted += 1
                return half
            self.counts.overlapping += 1
            data, size, distance = data[-distance:], size + distance, 0
        assert half.next is not None
        if distance:
            self.counts.out_of_order += 1
            self._keep(half, Waiting(half.next + distance, next(self._numbers), data, size, end), at)
        else:
            self._take(half, data, size, at, end=end)
            self._take_waiting(half, at)
        return half

    def _take(self, half: Half, data: bytes, size: int, at: float, *, end: bool) -> None:
        """The next ``size`` bytes, of which ``data`` is there."""
        assert half.next is not None
        half.next += size
        receiver = half.connection.receiver
        if data:
            try:
                (receiver.client_data if half.from_client else receiver.server_data)(data, at)
            except Exception as error:
                receiver.failed(error, at)
        if len(data) < size:
            self.counts.gaps += 1
            self.counts.lost_bytes += size - len(data)
            (receiver.client_lost if half.from_client else receiver.server_lost)(size - len(data), at)
        if end:
            half.eof = True
            half.next = None
            self._drop_waiting(half)
            (receiver.client_eof if half.from_client else receiver.server_eof)(at)
            if half.peer.eof and not half.connection.closed:
                self._close(half.connection, at)

    def _keep(self, half: Half, waiting: Waiting, at: float) -> None:
        if not half.waiting:
            half.since = at
        insort(half.waiting, waiting)
        size = len(waiting.data) + SIZE_OF_WAITING
        half.waiting_bytes += size
        self.waiting_bytes += size
        limits = self.limits
        while half.waiting and (
            half.waiting_bytes > limits.waiting_bytes or self.waiting_bytes > limits.waiting_bytes_in_all
        ):
            self._give_up_hole(half, at)
        if half.waiting:
            self._give_up_old_holes(half, at)

    def _take_waiting(self, half: Half, at: float) -> None:
        """Deliver what has no hole in front of it any more."""
        while half.waiting and half.next is not None and half.waiting[0].position <= half.next:
            position, _, data, size, end = half.waiting.pop(0)
            half.waiting_bytes -= len(data) + SIZE_OF_WAITING
            self.waiting_bytes -= len(data) + SIZE_OF_WAITING
            half.since = at
            known = half.next - position
            if known < size or (end and known == size):
                self._take(half, data[known:], size - known, at, end=end)
            else:
                self.counts.retransmitted += 1

    def _drop_waiting(self, half: Half) -> None:
        """What lies behind an end is none of the stream."""
        self.waiting_bytes -= half.waiting_bytes
        half.waiting_bytes = 0
        half.waiting.clear()

    def _give_up_old_holes(self, half: Half, at: float) -> None:
        first = half.waiting[0].position
        acknowledged = half.acked is not None and half.acked - first & _MASK <= _WINDOW
        if at - half.since >= (SECONDS_ACKNOWLEDGED if acknowledged else SECONDS_OPEN):
            self._give_up_hole(half, at)

    def _give_up_hole(self, half: Half, at: float) -> None:
        """The first hole will not be filled any more."""
        assert half.next is not None
        hole = half.waiting[0].position - half.next
        if hole > 0:
            self._take(half, b"", hole, at, end=False)
        self._take_waiting(half, at)


def _is_of_another(half: Half, seq: int, *, first: bool) -> bool:
    """Whether a SYN belongs to another connection than the one that is known between these ports."""
    if half.connection.closed or half.from_client != first:
        return True
    return half.eof or half.next is not None if half.isn is None else half.isn != seq
