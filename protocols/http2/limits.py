"""What one peer may ask of us, and how often it may be odd.

Every limit is a number of a connection. What cannot be a plain bound, because all of it is legal in small amounts (a
PING, a reset, an empty frame), has an **allowance**: so many at once. It grows again with time, a tenth of it each
second, and with work: each stream that ends well and each DATA frame with content gives one back. So what no busy peer
ever reaches stays low enough that an idle one cannot keep us busy. Whoever exceeds an allowance gets GOAWAY with
ENHANCE_YOUR_CALM, and ``l4proxy_http2_floods_total`` says which.

Most of these are also oddities of one peer that may add up: each is a **glitch**, and ``glitches`` limits their sum.

A **reset** by a client is no oddity: browsers cancel what their user has left, gRPC clients what is too late, and a
proxy in front of us does so for all of its clients. What makes a flood of resets is that each costs us more than the
peer, because it comes at once. So only those of young streams count, as in Envoy and Varnish (nghttp2 counts all), and
each DATA frame of a response gives one back: who reads the first message of each call and cancels the rest stays far
from the limit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from l4proxy.protocols.http2.hpack_decoder import DEFAULT_TABLE_SIZE

__all__ = ["ALLOWANCES", "Allowances", "FloodError", "Guard", "Limits"]


@dataclass(frozen=True, slots=True)
class Allowances:
    """How many of each at once."""

    pings: int = 200
    """PING frames that we are to answer (CVE-2019-9512)."""
    settings: int = 50
    """SETTINGS frames, each to be acknowledged (CVE-2019-9515)."""
    resets: int = 200
    """Streams that a client gives up as soon as it has opened them (rapid reset, CVE-2023-44487)."""
    provoked_resets: int = 100
    """Streams that we have to reset because of an error of the peer (MadeYouReset, CVE-2025-8671)."""
    refused_streams: int = 1000
    """Streams above ``max_concurrent_streams``. The first SETTINGS take a round trip to arrive."""
    empty_frames: int = 20
    """DATA, HEADERS and CONTINUATION without content that end nothing (CVE-2019-9518)."""
    priorities: int = 500
    """PRIORITY and PRIORITY_UPDATE (CVE-2019-9513)."""
    window_updates: int = 1000
    """WINDOW_UPDATE frames (CVE-2019-9511, 9517). Each DATA frame that we send gives back ten of them."""
    informational: int = 100
    """1xx responses of an endpoint."""
    late_frames: int = 10_000
    """Frames for streams that are over: as many as may have been on their way when it ended."""
    unknown_frames: int = 100
    """Frames of types that we do not know, and repeated GOAWAY."""
    glitches: int = 1000
    """All oddities together."""


ALLOWANCES = tuple(field.name for field in fields(Allowances))
_WORK_GIVES_BACK = {"window_updates": 10}


@dataclass(frozen=True, slots=True)
class Limits:
    max_concurrent_streams: int = 100
    """Streams of the peer that may be open at once; the next one is refused."""
    max_header_size: int = 60 * 1024
    """Bytes of one header section, counted as RFC 9113 section 6.5.2 does (cookies by their crumbs)."""
    max_header_count: int = 100
    """Fields of one header section, pseudo-headers and each cookie crumb among them."""
    max_continuations: int = 16
    """CONTINUATION frames of one header section (CVE-2024-27919 and its kin). Their bytes count as compressed against
    ``max_header_size``."""
    max_frame_size: int = 16 * 1024
    """Bytes of a frame that we take."""
    header_table_size: int = DEFAULT_TABLE_SIZE
    """Bytes of the peer's dynamic table that we keep."""
    stream_window: int = 64 * 1024
    """Bytes of a body that a peer may send ahead."""
    max_stream_window: int = 1024 * 1024
    """What that grows to while its reader keeps up."""
    connection_window: int = 1024 * 1024
    """The same for all bodies of a connection together: what slow readers can make us hold."""
    settings_timeout: float = 10.0
    """Seconds in which our SETTINGS are to be acknowledged."""
    shutdown_timeout: float = 1.0
    """Seconds that the peer has to show that it has seen that the connection ends, before the last stream is named."""
    stall_timeout: float = 300.0
    """Seconds for which nothing of a body may leave that waits for the peer's windows (CVE-2020-12604), or for it to
    read."""
    head_timeout: float = 30.0
    """Seconds in which a header section, or any frame, has to be complete once it has begun."""
    allowances: Allowances = Allowances()


class FloodError(Exception):
    """An allowance is used up; ``kind`` is its name."""

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(f"more than {limit} {kind.replace('_', ' ')}")
        self.kind = kind


class Guard:
    """The accounts of one connection. Nothing here runs for an ordinary frame."""

    __slots__ = ("_allowances", "_spent", "_time", "glitches_total", "work")

    def __init__(self, allowances: Allowances) -> None:
        self._allowances = allowances
        self._spent: dict[str, float] = {}
        self._time = 0.0
        self.work = 0
        """Streams that ended well and DATA frames with content since the accounts were last settled."""
        self.glitches_total = 0

    @property
    def glitches(self) -> float:
        """The present score."""
        return self._spent.get("glitches", 0.0)

    def spend(self, kind: str, *, glitch: bool = True) -> None:
        """Raises FloodError."""
        spent = self._spent.get(kind, 0.0) + 1
        self._spent[kind] = spent
        if spent > getattr(self._allowances, kind):
            self._settle(0.0)
            if self._spent.get(kind, 0.0) > getattr(self._allowances, kind):
                raise FloodError(kind, getattr(self._allowances, kind))
        if glitch:
            self.glitches_total += 1
            self.spend("glitches", glitch=False)

    def at(self, now: float) -> None:
        """What time it is: now and then, and before what has been waiting is read."""
        elapsed = now - self._time
        if elapsed >= 1.0:
            self._time = now
            self._settle(elapsed)

    def _settle(self, elapsed: float) -> None:
        """Give back what time and work are worth."""
        for kind, spent in list(self._spent.items()):
            back = elapsed * getattr(self._allowances, kind) / 10 + self.work * _WORK_GIVES_BACK.get(kind, 1)
            if back >= spent:
                del self._spent[kind]
            else:
                self._spent[kind] = spent - back
        self.work = 0
