"""``bandwidth_limit`` for HTTP: a bound on the bytes of bodies per second, in each direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from l4proxy.config.types import Rate, Size
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.bandwidth_limit import DEFAULT_BURST, check_burst
from l4proxy.plugins.fair_bucket import FairBucket, Flow
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.stats import Stats, counter, gauge

if TYPE_CHECKING:
    from l4proxy.plugins.http.body import Body
    from l4proxy.server import Server

__all__ = ["HttpBandwidthLimit", "HttpBandwidthLimitConfig"]


@dataclass(frozen=True, slots=True)
class HttpBandwidthLimitConfig:
    upload: Rate | None = None
    """Of request bodies; not limited unless this is written."""
    download: Rate | None = None
    """Of response bodies; not limited unless this is written."""
    upload_burst: Size = Size(0)
    """Bytes that may pass at once after a quiet time; 0: what `upload` allows in a quarter of a second."""
    download_burst: Size = Size(0)
    """The same for `download`."""
    per: Literal["use", "connection", "request"] = "use"
    """Who shares the rates: all requests that pass this place in the configuration (at a route: all of that route),
    those of one connection, or nobody."""
    name: str = "http"
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if self.upload is None and self.download is None:
            raise ValueError("upload: write upload, download, or both")
        check_burst("upload", self.upload, self.upload_burst)
        check_burst("download", self.download, self.download_burst)


class HttpBandwidthLimitStats(Stats, subsystem="http_bandwidth_limit", labels=("name", "direction")):
    """One direction of one use."""

    passed_bytes_total = counter("Bytes that passed.")
    held_total = counter("Bodies of which not everything could pass at once.")
    held = gauge("Bodies now that have to wait.")


class _Limit:
    """One direction of one use."""

    def __init__(self, rate: int, burst: int, stats: HttpBandwidthLimitStats, server: Server) -> None:
        size = max(1.0, burst or rate * DEFAULT_BURST)
        self.make_bucket = partial(FairBucket, rate, size, server.timers, server.loop.time)
        self.bucket = self.make_bucket()
        """What all share, where they do."""
        self.stats = stats


class _BodyFlow(Flow):
    """One body at its pace."""

    __slots__ = ("_body", "_bucket", "_counted", "_held", "_stats")

    def __init__(self, body: Body, bucket: FairBucket, stats: HttpBandwidthLimitStats) -> None:
        super().__init__()
        self._body = body
        self._bucket = bucket
        self._stats = stats
        self._held = False
        self._counted = False
        body.pace(self)

    def take(self, size: int) -> int:
        passed = self._bucket.take(self, size)
        stats = self._stats
        stats.passed_bytes_total += passed
        if passed < size and not self._held:
            self._held = True
            stats.held += 1
            if not self._counted:
                self._counted = True
                stats.held_total += 1
        return passed

    def put_back(self, size: int) -> None:
        self._bucket.put_back(size)
        self._stats.passed_bytes_total -= size

    def more(self) -> None:
        self._held = False
        self._stats.held -= 1
        self._body.flow()  # takes what it can; nothing, when the exchange is over


class HttpBandwidthLimit(HttpFilter[HttpBandwidthLimitConfig]):
    """Let only so many bytes of bodies pass per second, in each direction.

    Ten megabytes per second for all downloads together, evenly shared by those that are under way:

        { use = "bandwidth_limit", download = "10MB/s" }

    Over time the rate is exact, from one tenth of a second to the next it is not. Memory stays bounded: who sends more
    than may pass is held back. Heads and tunnels pass as they come. Each worker has rates of its own.
    """

    name = "bandwidth_limit"
    shared: dict[str, _Limit]

    @classmethod
    def provision(cls, config: HttpBandwidthLimitConfig, server: Server) -> dict[str, _Limit]:
        def limit(direction: str, rate: int, burst: int) -> _Limit:
            stats = server.stats.group(HttpBandwidthLimitStats, name=config.name, direction=direction)
            return _Limit(rate, burst, stats, server)

        limits = {}
        if config.upload:
            limits["upload"] = limit("upload", config.upload, config.upload_burst)
        if config.download:
            limits["download"] = limit("download", config.download, config.download_burst)
        return limits

    def on_connect(self) -> None:
        per = self.config.per
        self._buckets: dict[str, FairBucket | None] = {
            direction: limit.bucket if per == "use" else limit.make_bucket() if per == "connection" else None
            for direction, limit in self.shared.items()
        }

    def on_request(self, request: HttpRequest) -> HttpRequest:
        if request.content_length != 0 and not request.upgrade and request.kind != "CONNECT":
            self._slow("upload", request)
        return request

    def on_response(self, response: HttpResponse) -> HttpResponse:
        if response.content_length != 0 and not response.tunnel:
            self._slow("download", response)
        return response

    def _slow(self, direction: str, message: HttpRequest | HttpResponse) -> None:
        limit = self.shared.get(direction)
        if limit is not None:
            _BodyFlow(message.body, self._buckets[direction] or limit.make_bucket(), limit.stats)


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(HttpBandwidthLimit)
