"""What is known of a TCP connection that is captured, and how much of it is kept. `tcp` is what works on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["Connection", "Endpoint", "Half", "Receiver", "TcpCounts", "TcpLimits", "Waiting"]


class Receiver(Protocol):
    """Who gets the bytes of one connection: ``l4proxy.plugins.watch.Watched`` is one."""

    def client_data(self, data: bytes, at: float, /) -> object: ...
    def server_data(self, data: bytes, at: float, /) -> object: ...
    def client_eof(self, at: float, /) -> object: ...
    def server_eof(self, at: float, /) -> object: ...
    def client_lost(self, size: int, at: float, /) -> object: ...
    def server_lost(self, size: int, at: float, /) -> object: ...
    def failed(self, error: Exception, at: float, /) -> object:
        """What one of the two ``data`` raised; the others do not raise."""

    def close(self, at: float, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TcpLimits:
    """How much is kept."""

    waiting_bytes: int = 4 << 20
    """Behind holes, in one direction of one connection."""
    waiting_bytes_in_all: int = 64 << 20
    connections: int = 100_000
    idle_seconds: float = 3600.0
    """A connection of which nothing was seen for as long is forgotten."""


@dataclass(slots=True)
class TcpCounts:
    """What happened, in segments where nothing else is said."""

    connections: int = 0
    midway: int = 0
    """Connections of which the beginning was not seen."""
    reused: int = 0
    """Connections between the ports of one whose end was not seen."""
    forgotten: int = 0
    """Connections of which nothing was kept, because there were too many or they were idle for too long."""
    resets: int = 0
    retransmitted: int = 0
    overlapping: int = 0
    """Of which a part had come before."""
    out_of_order: int = 0
    keep_alives: int = 0
    zero_windows: int = 0
    late: int = 0
    """Of a connection that was over."""
    damaged: int = 0
    """Whose header is not in order."""
    cut_off: int = 0
    """Of which the capture kept only the beginning."""
    gaps: int = 0
    lost_bytes: int = 0


class Waiting(NamedTuple):
    """A segment behind a hole. ``data`` may be shorter than the ``size`` that it has in the stream; ``number`` keeps
    those apart that are at one position."""

    position: int
    number: int
    data: bytes
    size: int
    end: bool


class Half:
    """One direction of a connection."""

    __slots__ = (
        "acked",
        "connection",
        "eof",
        "from_client",
        "isn",
        "next",
        "peer",
        "since",
        "waiting",
        "waiting_bytes",
    )

    peer: Half

    def __init__(self, connection: Connection, *, from_client: bool) -> None:
        self.connection = connection
        self.from_client = from_client
        self.isn: int | None = None
        """The sequence number of its SYN, where that was seen."""
        self.next: int | None = None
        """Position of the first byte that is not dealt with; None while nothing is known, and behind the end."""
        self.acked: int | None = None
        """The last acknowledgement of the other side, as on the wire."""
        self.waiting: list[Waiting] = []
        self.waiting_bytes = 0
        self.since = 0.0
        """Since when the first hole is known."""
        self.eof = False


class Connection:
    """A TCP connection as it was seen. ``key`` is that of the client's segments, ``at`` the time of the last packet."""

    __slots__ = ("at", "client", "closed", "closed_at", "key", "receiver", "server")

    def __init__(self, key: bytes, at: float) -> None:
        self.key = key
        self.at = at
        self.closed = False
        self.closed_at = 0.0
        self.client = Half(self, from_client=True)
        self.server = Half(self, from_client=False)
        self.client.peer, self.server.peer = self.server, self.client
        self.receiver: Receiver
