"""``local_ratelimit``: a bound on how many connections begin in a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from l4proxy import CloseReason, Filter, Register, hookimpl
from l4proxy.config.types import Duration, Range
from l4proxy.plugins.admission import source_key
from l4proxy.stats import Stats, counter, gauge

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["BucketOptions", "LocalRatelimit", "LocalRatelimitConfig", "LocalRatelimitStats", "TokenBuckets"]


@dataclass(frozen=True, slots=True)
class LocalRatelimitConfig:
    max_tokens: Annotated[int, Range(1)]
    """Connections that may come at once after a quiet time: how many tokens the bucket holds."""
    tokens_per_fill: Annotated[int, Range(1)] = 1
    """Tokens that are added per `fill_interval`, evenly over that time."""
    fill_interval: Annotated[Duration, Range(0.001)] = Duration(1.0)
    """With `tokens_per_fill`, how many connections may come in the long run."""
    per: Literal["use", "source"] = "use"
    """One bucket for all connections, or one for each source."""
    ipv4_prefix: Annotated[int, Range(0, 32)] = 32
    """IPv4 addresses that have so many bits in common are one source: 24 is a whole `/24`."""
    ipv6_prefix: Annotated[int, Range(0, 128)] = 64
    """The same for IPv6. A single host often has a whole `/64`."""
    max_sources: Annotated[int, Range(1, 10_000_000)] = 10_000
    """Sources that are remembered, at about 150 bytes each; beyond that, those seen longest ago are forgotten."""
    name: str = ""
    """Tells the statistics of several uses apart."""


class LocalRatelimitStats(Stats, subsystem="local_ratelimit", labels=("name",)):
    """Connections through one use."""

    ok_total = counter("Connections that were let through.")
    rate_limited_total = counter("Connections refused.")
    sources = gauge("Sources that are remembered now.")
    sources_forgotten_total = counter("Sources whose bucket was forgotten before it was full again (max_sources).")


class BucketOptions(Protocol):
    """The options of whatever has token buckets, as `LocalRatelimitConfig` documents them."""

    @property
    def max_tokens(self) -> int: ...
    @property
    def tokens_per_fill(self) -> int: ...
    @property
    def fill_interval(self) -> float: ...
    @property
    def ipv4_prefix(self) -> int: ...
    @property
    def ipv6_prefix(self) -> int: ...
    @property
    def max_sources(self) -> int: ...


class TokenBuckets:
    """A token bucket for each source.

    A bucket is one number: the time at which it will be full again. To take a token is to put that off by the time that
    a token needs; it is too empty for that if it would then not be full within the time that all its tokens need. A
    bucket that is full is no different from one that was never used, so it need not be remembered.
    """

    def __init__(self, config: BucketOptions, stats: LocalRatelimitStats, clock: Callable[[], float]) -> None:
        self.stats = stats
        self.key_of = source_key(config.ipv4_prefix, config.ipv6_prefix)
        self._clock = clock
        self._seconds_per_token = config.fill_interval / config.tokens_per_fill
        self._seconds_to_fill = self._seconds_per_token * (config.max_tokens + 1e-6)
        self._max_sources = config.max_sources
        self._full_at: OrderedDict[bytes, float] = OrderedDict()
        """Those used last are at the end."""

    def take(self, source: bytes) -> bool:
        """Take a token from a source's bucket, if there is one."""
        now = self._clock()
        full_at = max(now, self._full_at.get(source, now)) + self._seconds_per_token
        if full_at - now > self._seconds_to_fill:
            self.stats.rate_limited_total += 1
            return False
        self.stats.ok_total += 1
        self._full_at[source] = full_at
        self._full_at.move_to_end(source)
        self._forget(now)
        return True

    def _forget(self, now: float) -> None:
        """Forget the oldest ones that are full, at most two: that is faster than they come. And one if it must be."""
        for _ in range(2):
            source, full_at = next(iter(self._full_at.items()))
            if full_at > now:
                break
            del self._full_at[source]
        if len(self._full_at) > self._max_sources:
            self._full_at.popitem(last=False)
            self.stats.sources_forgotten_total += 1
        self.stats.sources = len(self._full_at)


class LocalRatelimit(Filter[LocalRatelimitConfig]):
    """Refuse connections that come faster than a token bucket allows.

    Ten a second in the long run, and thirty at once after a quiet time:

        { use = "local_ratelimit", max_tokens = 30, tokens_per_fill = 10, fill_interval = "1s" }

    A refused connection is closed at once as `rate_limited`, and costs no token. Each worker has buckets of its own,
    and after a reload they are full.
    """

    name = "local_ratelimit"
    shared: TokenBuckets

    @classmethod
    def provision(cls, config: LocalRatelimitConfig, server: Server) -> TokenBuckets:
        return TokenBuckets(config, server.stats.group(LocalRatelimitStats, name=config.name), server.loop.time)

    def on_connect(self) -> None:
        source = self.shared.key_of(self.conn.client.host) if self.config.per == "source" else b""
        if not self.shared.take(source):
            self.conn.close(CloseReason("filter", "on_connect", "rate_limited", self.name, flags=("RL",)), flush=False)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(LocalRatelimit)
