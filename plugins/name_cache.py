"""Addresses of names that clients ask for: looked up once for all who ask at the same time, and kept for a while.

Names come from clients, so everything is bounded: how many are kept, how long a look-up may take, how long an answer
holds, whatever it says itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from l4proxy.resolver import ResolveError, Resolver

__all__ = ["KnownName", "NameCache"]


class KnownName(NamedTuple):
    """What a look-up brought: addresses, or an error; and until when it holds."""

    hosts: tuple[str, ...]
    error: ResolveError | None
    until: float


class NameCache:
    """Keeps up to ``max_names`` answers, those asked for last."""

    def __init__(
        self,
        resolver: Resolver,
        clock: Callable[[], float],
        *,
        max_names: int,
        timeout: float,
        min_ttl: float,
        max_ttl: float,
        refresh: float,
        absolute: bool = True,
    ) -> None:
        """``refresh`` is how long an answer holds that does not say, and a failure. All times are seconds.
        ``absolute``: names are whole as they are, and no search list is gone through for them."""
        self._resolver = resolver
        self._clock = clock
        self._max_names = max_names
        self._timeout = timeout
        self._min_ttl, self._max_ttl, self._refresh = min_ttl, max_ttl, refresh
        self._end = "." if absolute else ""
        self._known: OrderedDict[str, KnownName] = OrderedDict()
        self._look_ups: dict[str, asyncio.Task[KnownName]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def known(self, name: str) -> KnownName | None:
        """What is known of a name without waiting."""
        found = self._known.get(name)
        if found is None or found.until <= self._clock():
            return None
        self._known.move_to_end(name)
        return found

    async def look_up(self, name: str) -> KnownName:
        """Wait for the answer. A look-up goes on for others, and for later, when who waits is cancelled."""
        task = self._look_ups.get(name)
        if task is None:
            task = self._look_ups[name] = asyncio.create_task(self._look_up(name))
            task.add_done_callback(lambda _: self._look_ups.pop(name))
        return await asyncio.shield(task)

    async def _look_up(self, name: str) -> KnownName:
        found = self._known[name] = await self._ask(name)
        self._known.move_to_end(name)
        if len(self._known) > self._max_names:
            self._known.popitem(last=False)
        return found

    async def _ask(self, name: str) -> KnownName:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._resolver.addresses(name + self._end)
        except TimeoutError:
            error = ResolveError("timeout", f"the look-up of {name} took longer than {self._timeout:g} s")
            return KnownName((), error, self._clock() + self._refresh)
        except ResolveError as error:
            return KnownName((), error, self._clock() + self._refresh)
        ttl = self._refresh if answer.ttl is None else min(max(answer.ttl, self._min_ttl), self._max_ttl)
        return KnownName(answer.hosts, None, self._clock() + ttl)

    def close(self) -> None:
        """Stop the look-ups that are under way."""
        for task in self._look_ups.values():
            task.cancel()
