"""The copies that ``mirror`` makes: connections of their own, each in step with a client's and never in its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy import UpstreamError
from l4proxy.connect import Attempt, ConnectRequest
from l4proxy.dial import lost_detail
from l4proxy.stats import Stats, counter, gauge, labelled_counter

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.server import Server
    from l4proxy.stream import Stream
    from l4proxy.timers import Timer

__all__ = ["Copies", "Copy", "MirrorStats"]

LINGER = 5.0
"""Seconds that a copy has to be delivered and answered after its client has gone."""


class MirrorStats(Stats, subsystem="mirror", labels=("cluster",)):
    """Copies for one cluster."""

    copies_total = counter("Connections of which a copy was begun.")
    copies_active = gauge("Copies under way now.")
    given_up_total = labelled_counter("Copies that are not whole, by reason.", label="reason")


class Copies:
    """What all connections of one use share: where the copies go, and those under way."""

    def __init__(self, cluster: str, limit: int, server: Server) -> None:
        self.clusters = server.clusters
        self.timers = server.timers
        self.stats = server.stats.group(MirrorStats, cluster=cluster)
        self.limit = limit
        """Bytes of one copy that may wait."""
        self.active: set[Copy] = set()


class Copy:
    """The copy of one connection. It may outlive that, by the time to connect and ``LINGER``.

    ``on_given_up`` is called, at most once, when the rest of the connection is of no use to it any more.
    """

    __slots__ = ("_attempt", "_copies", "_ended", "_finished", "_held", "_on_given_up", "_size", "_stream", "_timer")

    def __init__(self, copies: Copies, on_given_up: Callable[[], object]) -> None:
        self._copies = copies
        self._on_given_up = on_given_up
        self._attempt: Attempt | None = None
        self._stream: Stream | None = None
        self._timer: Timer | None = None
        self._held: list[bytes] = []
        """Waits until it is connected; ``_size`` bytes."""
        self._size = 0
        self._ended = False
        self._finished = False
        copies.active.add(self)
        copies.stats.copies_total += 1
        copies.stats.copies_active += 1

    def start(self, cluster: Cluster, request: ConnectRequest) -> None:
        self._attempt = Attempt(cluster, request, self._connected, self._failed)
        self._attempt.start()

    def send(self, data: bytes) -> None:
        stream = self._stream
        waiting = self._size if stream is None else stream.buffered
        if waiting + len(data) > self._copies.limit:
            self._give_up("overflow")
        elif stream is None:
            self._held.append(data)
            self._size += len(data)
        else:
            stream.write(data)

    def end(self) -> None:
        """The client will send no more."""
        self._ended = True
        if self._stream is not None:
            self._stream.write_eof()

    def finish(self, *, reset: bool) -> None:
        """The client's connection is over. A client's reset is copied, too."""
        self._finished = True
        if reset:
            self.close(reset=True)
        else:
            self.end()
            self._linger()

    def close(self, *, reset: bool = False) -> None:
        """Release everything. Harmless when that is done."""
        if self not in self._copies.active:
            return
        self._copies.active.remove(self)
        self._copies.stats.copies_active -= 1
        if self._attempt is not None:
            self._attempt.cancel()
        if self._stream is not None:
            self._stream.close(reset=reset)
        if self._timer is not None:
            self._timer.cancel()
        self._attempt = self._stream = self._timer = None
        self._held.clear()

    def _give_up(self, reason: str) -> None:
        if self in self._copies.active:
            self._copies.stats.given_up_total.add(reason)
            self.close(reset=True)
            if not self._finished:
                self._on_given_up()

    def _connected(self, stream: Stream, _endpoint: Endpoint) -> None:
        self._attempt = None
        self._stream = stream
        stream.on_lost = self._lost
        stream.on_eof = self._answered
        stream.start()
        if self._held:
            stream.write(b"".join(self._held))
            self._held.clear()
        if self._ended:
            stream.write_eof()
        if self._finished:
            self._linger()

    def _failed(self, error: UpstreamError) -> None:
        self._attempt = None
        self._give_up(error.detail)

    def _lost(self, error: OSError) -> None:
        self._give_up(lost_detail(error))

    def _answered(self) -> None:
        """The other side has ended. What it said was dropped."""
        if self._ended:
            self.close()

    def _linger(self) -> None:
        """Give what is under way a little time."""
        stream = self._stream
        if stream is not None and stream.eof_received:
            self.close()
        elif stream is not None:
            self._timer = self._copies.timers.call_later(LINGER, self._overdue)

    def _overdue(self) -> None:
        if self._stream is not None and self._stream.buffered:
            self._give_up("timeout")
        else:
            self.close()
