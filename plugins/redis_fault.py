"""``fault`` for Redis: delays and errors on purpose."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import Duration, Percent, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.delays import Delays
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.commands import check_names
from l4proxy.stats import Stats, counter, gauge

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["RedisFault", "RedisFaultConfig"]


@dataclass(frozen=True, slots=True)
class RedisFaultConfig:
    delay: Duration = Duration(0.0)
    """How long a command is held, and what comes behind it waits."""
    delay_percent: Percent = Percent(100.0)
    """So many of them."""
    error: str = ""
    """An error that is answered instead of asking the server: `"ERR fault injected"`, `"LOADING ..."`."""
    error_percent: Percent = Percent(100.0)
    """So many of them."""
    commands: tuple[str, ...] = ()
    """Only these commands; all, where none are given."""
    max_active: Annotated[int, Range(1)] = 1000
    """Commands that are held at a time; more pass without a delay."""

    def __post_init__(self) -> None:
        if not self.delay and not self.error:
            raise ValueError("delay: write delay, or error, or both")
        if "\r" in self.error or "\n" in self.error:
            raise ValueError("error: is one line")
        check_names("commands", self.commands)


class RedisFaultStats(Stats, subsystem="redis_fault"):
    """Faults that were made."""

    delays_total = counter("Commands held.")
    errors_total = counter("Commands answered with an error.")
    active = gauge("Commands held now.")


class RedisFault(RedisFilter[RedisFaultConfig]):
    """Delay commands, or answer them with an error, to see what becomes of it.

        { use = "fault", delay = "200ms", delay_percent = 10, error = "LOADING on purpose", error_percent = 1 }

    A command may be both delayed and refused. Times may be up to a tenth of a second longer.
    """

    name = "fault"
    shared: RedisFaultStats

    @classmethod
    def provision(cls, config: RedisFaultConfig, server: Server) -> RedisFaultStats:
        return server.stats.group(RedisFaultStats)

    @classmethod
    def wanted(cls, config: RedisFaultConfig) -> frozenset[str] | None:
        return frozenset(name.upper() for name in config.commands) if config.commands else None

    def on_connect(self) -> None:
        self._delays: Delays[RedisRequest] = Delays(self.config, self.shared)

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        return self._delays.hold(self, request, self._pass)

    def _pass(self, request: RedisRequest) -> RedisRequest | None:
        config = self.config
        if not config.error or random.random() * 100 >= config.error_percent:
            return request
        self.shared.errors_total += 1
        self.reply(request, RedisResponse.error(config.error))
        return None

    def on_close(self, reason: object) -> None:
        self._delays.close()


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RedisFault)
