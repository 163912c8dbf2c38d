"""``local_ratelimit`` for Redis: a bound on how many commands come in a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy.config.types import Duration, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.local_ratelimit import LocalRatelimitStats, TokenBuckets
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.commands import check_names

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["RedisLocalRatelimit", "RedisLocalRatelimitConfig"]


@dataclass(frozen=True, slots=True)
class RedisLocalRatelimitConfig:
    max_tokens: Annotated[int, Range(1)]
    """Commands that may come at once after a quiet time: how many tokens the bucket holds."""
    tokens_per_fill: Annotated[int, Range(1)] = 1
    """Tokens that are added per `fill_interval`, evenly over that time."""
    fill_interval: Annotated[Duration, Range(0.001)] = Duration(1.0)
    """With `tokens_per_fill`, how many commands may come in the long run."""
    per: Literal["use", "source", "user", "command", "key_prefix"] = "use"
    """One bucket for all commands, or one for each client's address, user, command, or prefix of the first key; then
    those without keys do not count."""
    commands: tuple[str, ...] = ()
    """Only these commands count; all, where none are given."""
    prefix: str = ""
    """Only commands whose first key begins so."""
    delimiter: str = ":"
    """With `per = "key_prefix"`: the prefix of a key ends behind the first of these."""
    ipv4_prefix: Annotated[int, Range(0, 32)] = 32
    """IPv4 addresses that have so many bits in common are one source."""
    ipv6_prefix: Annotated[int, Range(0, 128)] = 64
    """The same for IPv6."""
    max_sources: Annotated[int, Range(1, 10_000_000)] = 10_000
    """Buckets that are remembered; beyond that, those used longest ago are forgotten."""
    name: str = "redis"
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if self.per == "key_prefix" and not self.delimiter:
            raise ValueError("delimiter: a prefix has to end somewhere")
        check_names("commands", self.commands)


class RedisLocalRatelimit(RedisFilter[RedisLocalRatelimitConfig]):
    """Answer commands with an error that are more than a token bucket has tokens for.

        { use = "local_ratelimit", max_tokens = 100, tokens_per_fill = 50, per = "user", commands = ["KEYS", "SCAN"] }

    Each worker has buckets of its own. A client that is over its limit stays connected.
    """

    name = "local_ratelimit"
    shared: TokenBuckets

    @classmethod
    def provision(cls, config: RedisLocalRatelimitConfig, server: Server) -> TokenBuckets:
        return TokenBuckets(config, server.stats.group(LocalRatelimitStats, name=config.name), time.monotonic)

    @classmethod
    def wanted(cls, config: RedisLocalRatelimitConfig) -> frozenset[str] | None:
        return frozenset(name.upper() for name in config.commands) if config.commands else None

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        key = b""
        if self.config.prefix or self.config.per == "key_prefix":
            key = next(iter(request.keys), b"")
            if not key or not key.startswith(self.config.prefix.encode()):
                return request
        if self.shared.take(self._bucket(request, key)):
            return request
        self.reply(request, RedisResponse.error("ERR rate limit exceeded"))
        return None

    def _bucket(self, request: RedisRequest, key: bytes) -> bytes:
        match self.config.per:
            case "source":
                return self.shared.key_of(self.conn.client.host)
            case "user":
                return str(self.conn.state.get("redis:user", "")).encode()[:128]
            case "command":
                return request.name.encode("latin-1", "replace")[:128]
            case "key_prefix":
                return key.partition(self.config.delimiter.encode())[0][:128]
        return b""


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RedisLocalRatelimit)
