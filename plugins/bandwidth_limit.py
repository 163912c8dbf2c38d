"""``bandwidth_limit``: a bound on the bytes per second, in each direction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from l4proxy import CloseReason, Conn, Filter, Register, Side, hookimpl
from l4proxy.config.types import Rate, Size
from l4proxy.config.units import format_size
from l4proxy.plugins.fair_bucket import FairBucket, Flow
from l4proxy.stats import Stats, counter, gauge

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["BandwidthLimit", "BandwidthLimitConfig", "check_burst"]

DEFAULT_BURST = 0.25
"""Seconds of the rate."""
LEAST_BURST = 0.2
"""Seconds of the rate. Tokens are dealt out about every tenth of a second; a smaller bucket would overflow."""


@dataclass(frozen=True, slots=True)
class BandwidthLimitConfig:
    upload: Rate | None = None
    """From the client to the upstream; not limited unless this is written."""
    download: Rate | None = None
    """From the upstream to the client; not limited unless this is written."""
    upload_burst: Size = Size(0)
    """Bytes that may pass at once after a quiet time; 0: what `upload` allows in a quarter of a second."""
    download_burst: Size = Size(0)
    """The same for `download`."""
    per: Literal["use", "connection"] = "use"
    """All connections through this place in the configuration share the rates, or each connection has them to
    itself."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if self.upload is None and self.download is None:
            raise ValueError("upload: write upload, download, or both")
        check_burst("upload", self.upload, self.upload_burst)
        check_burst("download", self.download, self.download_burst)


def check_burst(direction: str, rate: int | None, burst: int) -> None:
    """Raises ValueError for a rate, or a burst, that cannot be kept."""
    if rate == 0:
        raise ValueError(f"{direction}: must be more than 0")
    if burst and rate is None:
        raise ValueError(f"{direction}_burst: has no effect without {direction}")
    if burst and rate and burst < (least := math.ceil(rate * LEAST_BURST)):
        raise ValueError(f"{direction}_burst: must be at least {format_size(least)} for this rate")


class BandwidthLimitStats(Stats, subsystem="bandwidth_limit", labels=("name", "direction")):
    """One direction of one use."""

    passed_bytes_total = counter("Bytes that passed.")
    held_total = counter("Chunks of which not everything could pass at once.")
    held = gauge("Connections now that have to wait.")


class LimitedFlow(Flow):
    """One direction of one connection. It holds the part of one chunk that may not pass yet; what comes behind that
    waits with the core, and is bounded there."""

    __slots__ = ("_at", "_bucket", "_conn", "_rest", "_send", "_side", "_stats")

    def __init__(self, conn: Conn, side: Side, bucket: FairBucket, stats: BandwidthLimitStats) -> None:
        super().__init__()
        self._conn = conn
        self._side = side
        self._send: Callable[[bytes], None] = conn.send_upstream if side is Side.CLIENT else conn.send_client
        self._bucket = bucket
        self._stats = stats
        self._rest = b""
        self._at = 0

    def pass_on(self, data: bytes) -> bytes:
        """What of a chunk may pass now."""
        size = len(data)
        passed = self._bucket.take(self, size)
        self._stats.passed_bytes_total += passed
        if passed == size:
            return data
        self._rest, self._at = data, passed
        self._stats.held_total += 1
        self._stats.held += 1
        self._conn.pause(self._side)
        return data[:passed]

    def more(self) -> None:
        rest, at = self._rest, self._at
        passed = self._bucket.take(self, len(rest) - at)
        self._stats.passed_bytes_total += passed
        self._at = at + passed
        done = self._at == len(rest)
        if done:
            self._release()
        self._send(rest[at : at + passed])
        if done:
            self._conn.resume(self._side)

    def end(self) -> None:
        """The connection is closed."""
        self._bucket.leave(self)
        if self._rest:
            self._release()

    def _release(self) -> None:
        self._rest = b""
        self._stats.held -= 1


class Limit:
    """One direction of one use: makes the flows of its connections."""

    def __init__(self, rate: int, burst: int, shared: bool, stats: BandwidthLimitStats, server: Server) -> None:
        size = max(1.0, burst or rate * DEFAULT_BURST)
        self._make_bucket = partial(FairBucket, rate, size, server.timers, server.loop.time)
        self._bucket = self._make_bucket() if shared else None
        self._stats = stats

    def flow(self, conn: Conn, side: Side) -> LimitedFlow:
        bucket = self._make_bucket() if self._bucket is None else self._bucket
        return LimitedFlow(conn, side, bucket, self._stats)


class Limits(NamedTuple):
    """What all connections of one use share."""

    upload: Limit | None
    download: Limit | None


class BandwidthLimit(Filter[BandwidthLimitConfig]):
    """Let only so many bytes per second pass, in each direction.

    Ten megabytes per second for all downloads together, evenly shared by those that are under way:

        { use = "bandwidth_limit", download = "10MB/s" }

    Over time the rate is exact, from one tenth of a second to the next it is not. Memory stays bounded: who sends more
    than may pass is no longer read. Each worker has rates of its own.
    """

    name = "bandwidth_limit"
    shared: Limits

    def __init__(self) -> None:
        self._upload: LimitedFlow | None = None
        self._download: LimitedFlow | None = None

    @classmethod
    def provision(cls, config: BandwidthLimitConfig, server: Server) -> Limits:
        def limit(direction: str, rate: int | None, burst: int) -> Limit | None:
            stats = server.stats.group(BandwidthLimitStats, name=config.name, direction=direction)
            return Limit(rate, burst, config.per == "use", stats, server) if rate else None

        return Limits(
            limit("upload", config.upload, config.upload_burst),
            limit("download", config.download, config.download_burst),
        )

    def on_connect(self) -> None:
        upload, download = self.shared
        if upload is not None:
            self._upload = upload.flow(self.conn, Side.CLIENT)
        if download is not None:
            self._download = download.flow(self.conn, Side.UPSTREAM)

    def on_client_data(self, data: bytes) -> bytes:
        return data if self._upload is None else self._upload.pass_on(data)

    def on_upstream_data(self, data: bytes) -> bytes:
        return data if self._download is None else self._download.pass_on(data)

    def on_close(self, reason: CloseReason) -> None:
        for flow in (self._upload, self._download):
            if flow is not None:
                flow.end()


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(BandwidthLimit)
