"""``local_ratelimit`` for requests: a bound on how many come in a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy.config.types import Duration, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.plugins.local_ratelimit import LocalRatelimitStats, TokenBuckets

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["HttpLocalRatelimit", "HttpLocalRatelimitConfig"]


@dataclass(frozen=True, slots=True)
class HttpLocalRatelimitConfig:
    max_tokens: Annotated[int, Range(1)]
    """Requests that may come at once after a quiet time: how many tokens the bucket holds."""
    tokens_per_fill: Annotated[int, Range(1)] = 1
    """Tokens that are added per `fill_interval`, evenly over that time."""
    fill_interval: Annotated[Duration, Range(0.001)] = Duration(1.0)
    """With `tokens_per_fill`, how many requests may come in the long run."""
    per: Literal["use", "source", "header"] = "use"
    """One bucket for all requests, one for each client's address, or one for each value of `header`."""
    header: str = ""
    """With `per = "header"`: a field such as `x-api-key`; requests without it share a bucket."""
    status: Annotated[int, Range(400, 599)] = 429
    """What is answered to requests that are too many."""
    ipv4_prefix: Annotated[int, Range(0, 32)] = 32
    """IPv4 addresses that have so many bits in common are one source."""
    ipv6_prefix: Annotated[int, Range(0, 128)] = 64
    """The same for IPv6."""
    max_sources: Annotated[int, Range(1, 10_000_000)] = 10_000
    """Sources, or values of the header, that are remembered; beyond that, those seen longest ago are forgotten."""
    name: str = "http"
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if (self.per == "header") != bool(self.header):
            raise ValueError('header: goes with per = "header"')


class HttpLocalRatelimit(HttpFilter[HttpLocalRatelimitConfig]):
    """Answer 429 to requests that are more than a token bucket has tokens for.

        { use = "local_ratelimit", max_tokens = 20, tokens_per_fill = 10, per = "source" }

    Each worker has buckets of its own.
    """

    name = "local_ratelimit"
    shared: TokenBuckets

    @classmethod
    def provision(cls, config: HttpLocalRatelimitConfig, server: Server) -> TokenBuckets:
        return TokenBuckets(config, server.stats.group(LocalRatelimitStats, name=config.name), time.monotonic)

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        config, buckets = self.config, self.shared
        if config.per == "source":
            key = buckets.key_of(request.client)
        elif config.per == "header":
            key = (request.field(config.header.lower()) or "").encode("latin-1")[:128]
        else:
            key = b""
        if buckets.take(key):
            return request
        wait = max(1, round(config.fill_interval / config.tokens_per_fill))
        headers = {"Retry-After": str(wait)}
        text = "too many requests\n"
        self.reply(request, HttpResponse(config.status, text, headers, details="local_ratelimit", flags=("RL",)))
        return None


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(HttpLocalRatelimit)
