"""What Sentinels publish of their own accord: whoever subscribes hears of a failover when it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from l4proxy.logging_setup import once_per
from l4proxy.plugins.redis.connection import log
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, decode

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.asked import Asked
    from l4proxy.plugins.redis.dedicated import DedicatedConnection
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.plugins.redis.pool import Pool
    from l4proxy.stream import Stream

__all__ = ["SentinelNews"]

PAUSE = 5.0
"""Seconds from one attempt to subscribe to the next, where a Sentinel is gone."""
LOG_PAUSE = 3600.0
_ALL = encode_command(b"PSUBSCRIBE", b"*")


class SentinelNews:
    """Subscriptions to the Sentinels of one cluster. ``heard`` is called with the one that has said something of the
    primary that goes by ``name``, or of its replicas: they seldom do. It matters for how soon something is noticed, and
    for nothing else; so a Sentinel that does not take subscriptions will do, too."""

    def __init__(self, hub: Hub, name: bytes, heard: Callable[[Endpoint], object]) -> None:
        self.hub = hub
        self._name = name
        self._heard = heard
        self._subscriptions: dict[Endpoint, _Subscription] = {}

    def follow(self, pools: Iterable[Pool]) -> None:
        """These are the Sentinels that there are. Called again and again: what was lost is made anew."""
        present = {pool.endpoint: pool for pool in pools if pool.endpoint is not None}
        for endpoint in [one for one in self._subscriptions if one not in present]:
            self._subscriptions.pop(endpoint).close()
        now = self.hub.clock()
        for endpoint, pool in present.items():
            known = self._subscriptions.get(endpoint)
            if known is None or (known.lost and now - known.since >= PAUSE):
                self._subscriptions[endpoint] = _Subscription(self, endpoint, pool.dedicated_connection(), now)

    def published(self, endpoint: Endpoint, text: bytes) -> None:
        """``slave 192.0.2.2:6379 192.0.2.2 6379 @ mymaster 192.0.2.1 6379``, for one"""
        if self._name in text.split():
            self._heard(endpoint)

    def close(self) -> None:
        for subscription in self._subscriptions.values():
            subscription.close()


class _Subscription:
    """To one Sentinel. The owner of its connection."""

    def __init__(self, news: SentinelNews, endpoint: Endpoint, link: DedicatedConnection, since: float) -> None:
        self._news = news
        self._endpoint = endpoint
        self._link = link
        self.since = since
        if not link.closed:
            link.owner = self
            link.send(news.hub.psubscribe, _ALL)

    @property
    def lost(self) -> bool:
        return self._link.closed

    def close(self) -> None:
        if not self._link.closed:
            self._link.close()

    def own_reply(self, asked: Asked, data: bytes) -> None:
        told = decode(data)[0]
        if isinstance(told, Failure) and (times := once_per(LOG_PAUSE, f"{self._endpoint.name} psubscribe")):
            text = "Sentinel %s is asked every second only, as it takes no subscription: %s (%d times)"
            log.info(text, self._endpoint.name, told.decode("latin-1"), times)

    def own_unasked(self, data: bytes) -> None:
        told = decode(data)[0]
        if isinstance(told, list) and len(told) == 4 and isinstance(told[3], bytes):
            self._news.published(self._endpoint, told[3])

    def own_part(self, asked: Asked | None, data: bytes) -> None:
        """What they say is short."""

    def move(self, stream: Stream, size: int) -> bool:
        return False

    def own_writable(self, writable: bool) -> None: ...

    def own_settled(self) -> None: ...

    def own_lost(self, error: bytes, missing: list[Asked]) -> None: ...
