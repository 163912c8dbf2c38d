"""Addresses of servers that others know by a name only: Sentinel with ``announce-hostnames``, and servers of a cluster
that do not tell an address beside the name, as those of Redis 7 do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.name_cache import KnownName, NameCache
from l4proxy.resolver import Resolver

__all__ = ["ServerNames"]

MAX_NAMES = 1000
"""The most nodes that a Redis Cluster should have, by its specification."""
AT_ONCE = 32
LOOK_UP_TIMEOUT = 3.0
TTL = 30.0
"""Seconds that an answer holds at the most."""


class ServerNames:
    """Of one cluster. An address goes on being used while its name cannot be looked up."""

    def __init__(self, clock: Callable[[], float], resolver: Resolver | None = None) -> None:
        self._cache = NameCache(
            resolver or DnsResolver(), clock, max_names=MAX_NAMES, timeout=LOOK_UP_TIMEOUT,
            min_ttl=1.0, max_ttl=TTL, refresh=TTL, absolute=False,
        )  # fmt: skip
        self._known: dict[str, KnownName] = {}
        """Of the names that were asked for last."""
        self._looking_up: asyncio.Task[None] | None = None

    def addresses(self, name: str) -> tuple[str, ...]:
        """Empty: none is known."""
        return self._known[name].hosts if name in self._known else ()

    def problem(self, name: str) -> str:
        """Why none is known."""
        known = self._known.get(name)
        return str(known.error) if known is not None else "too many names"

    def find(self, names: Iterable[str], found: Callable[[], None]) -> None:
        """Look them up, and call ``found`` when all is known that can be known: at once, where nothing is new. Ends
        the search before it."""
        wanted = sorted(set(names))[:MAX_NAMES]
        self._known = {name: self._known[name] for name in wanted if name in self._known}
        if self._looking_up is not None:
            self._looking_up.cancel()
            self._looking_up = None
        unknown = [name for name in wanted if not self._take(name, self._cache.known(name))]
        if unknown:
            self._looking_up = asyncio.create_task(self._look_up(unknown, found))
        else:
            found()

    def _take(self, name: str, answer: KnownName | None) -> bool:
        """Whether that is an answer to go by."""
        if answer is not None and (answer.hosts or not self.addresses(name)):
            self._known[name] = answer
        return answer is not None and bool(answer.hosts)

    async def _look_up(self, names: list[str], found: Callable[[], None]) -> None:
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            for name, answer in zip(some, await asyncio.gather(*map(self._cache.look_up, some)), strict=True):
                self._take(name, answer)
        self._looking_up = None
        found()

    def close(self) -> None:
        if self._looking_up is not None:
            self._looking_up.cancel()
        self._cache.close()
