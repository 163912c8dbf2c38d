"""A primary with replicas, which all have the same keys: found among servers that are configured, or by Sentinel."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from l4proxy.plugins.redis.identity import Identity
from l4proxy.plugins.redis.inquiry import inquire
from l4proxy.plugins.redis.replicas import INFO_REPLICATION
from l4proxy.plugins.redis.sentinel_news import SentinelNews
from l4proxy.plugins.redis.target import Shard, unserved
from l4proxy.plugins.redis.watched import WatchedTarget
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.topology import Node, Replication, read_replication, read_sentinel
from l4proxy.protocols.redis.values import Failure, Value

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.config import Upstream
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.timers import Timer

__all__ = ["ReplicationTarget", "SentinelTarget"]

GRACE = 1.0
"""Seconds that a server has to say what it is, when another has said that it is the primary."""
FORGOTTEN = 30.0
"""Seconds after which it is believed that there was no such failover, where no Sentinel knows of the last one: all of
them are new."""


class _OneShard(WatchedTarget):
    """All keys are in one shard."""

    def __init__(self, hub: Hub, config: Upstream) -> None:
        self._only = Shard(config.cluster, None)
        self._paused: dict[Callable[[], None], Timer] = {}
        """What is to be tried again, and when at the latest."""
        super().__init__(hub, config)

    def shard(self, key: bytes) -> Shard:
        return self.default_shard()

    def place(self, key: bytes) -> Hashable:
        return self._only

    def default_shard(self) -> Shard:
        if not self._settled:
            raise self.unknown()
        if self._only.primary is None:
            self.refresh()
            raise unserved(f"cluster {self.name} has no primary now")
        return self._only

    def retry_after(self, pause: float, call: Callable[[], None]) -> None:
        """At once where there is another primary."""

        def go_on() -> None:
            del self._paused[go_on]
            call()

        self._paused[go_on] = self.hub.timers.call_later(pause, go_on)

    def _take_over(self, primary: Endpoint | None, replicas: Iterable[Endpoint]) -> None:
        former, self._only.primary = self._only.primary, primary
        self._only.replicas = list(replicas)
        self._shards = [self._only]
        if former is not primary:
            self.changed()
            for go_on, timer in list(self._paused.items()):
                timer.cancel()
                go_on()


class ReplicationTarget(_OneShard):
    """Every server is asked what it is."""

    own_servers = False

    def _inquire(self, found: Callable[[], None], failed: Callable[[str], None]) -> None:
        asked = self._asked
        told: dict[Endpoint, Replication | None] = {}
        servers = self.cluster.endpoints.choosable()
        if not servers:
            raise self.cluster.no_endpoint()

        def conclude() -> None:
            if self.is_asked(asked):
                self._conclude(told, found, failed)

        def answered(endpoint: Endpoint, value: Value, _by: object) -> None:
            is_text = isinstance(value, bytes) and not isinstance(value, Failure)
            told[endpoint] = read_replication(value) if is_text else None
            if len(told) == len(servers):
                conclude()
            elif any(one is not None and one.is_primary for one in told.values()):
                self.hub.timers.call_later(GRACE, conclude)

        for endpoint in servers:
            pool = self.pool(self.hub.identity, endpoint)
            inquire(pool, self.hub.info, INFO_REPLICATION, partial(answered, endpoint))

    def _conclude(
        self, told: dict[Endpoint, Replication | None], found: Callable[[], None], failed: Callable[[str], None]
    ) -> None:
        """Of several that say that they are the primary, it is the one with the most replicas; else the present one."""
        self._lost.clear()
        primaries = [(endpoint, one) for endpoint, one in told.items() if one is not None and one.is_primary]
        if not primaries:
            self._take_over(None, self._only.replicas)
            failed("none of them says that it is the primary")
            return
        best, _ = max(primaries, key=lambda pair: (len(pair[1].replicas), pair[0] is self._only.primary))
        self._take_over(best, [endpoint for endpoint, one in told.items() if one is not None and not one.is_primary])
        found()


class SentinelTarget(_OneShard):
    """Sentinels are asked, one after the other, until one knows. What it says holds unless another has known of a later
    change.

    One is asked every second, and the one that publishes something at once. After a failover that was asked for, the
    old primary goes on for some 10 seconds until Sentinel makes it a replica, and what is written there is lost then.
    """

    longest_refresh = 1.0

    def __init__(self, hub: Hub, config: Upstream) -> None:
        self._epoch = -1
        self._heard = 0.0
        """When a Sentinel was believed last."""
        self._turn = 0
        self._next: Endpoint | None = None
        """Who is asked next, whosever turn it is."""
        name = config.primary_name.encode()
        words = (b"MASTER", b"REPLICAS", b"GET-MASTER-ADDR-BY-NAME")
        self._questions = [encode_command(b"SENTINEL", word, name) for word in words]
        self._news = SentinelNews(hub, name, self._hear)
        super().__init__(hub, config)

    @property
    def _login(self) -> Identity:
        """Sentinels have a password of their own."""
        password = self.config.sentinel_password
        if password is None:
            return Identity()
        return Identity(username=self.config.sentinel_username.encode(), password=password.reveal().encode())

    def _hear(self, sentinel: Endpoint) -> None:
        """It has something to say: no other is waited for."""
        self._next = sentinel
        self._ask_soon()

    def _choose(self) -> Endpoint:
        """Who is asked."""
        sentinels = self.cluster.endpoints.choosable()
        if not sentinels:
            raise self.cluster.no_endpoint()
        self._news.follow(self.hub.pools.get(self.cluster, self._login, one) for one in sentinels)
        chosen, self._next = self._next, None
        if chosen in sentinels:
            return chosen
        self._turn += bool(self._failures)
        return sentinels[self._turn % len(sentinels)]

    def _inquire(self, found: Callable[[], None], failed: Callable[[str], None]) -> None:
        endpoint = self._choose()
        pool = self.hub.pools.get(self.cluster, self._login, endpoint)
        asked, told = self._asked, list[Value]()

        def answered(value: Value, by: Endpoint | None) -> None:
            told.append(value)
            if len(told) < len(self._questions) or not self.is_asked(asked):
                return
            failure = next((one for one in told if isinstance(one, Failure)), None)
            if failure is not None:
                failed(f"Sentinel {endpoint.name}: {failure.decode('latin-1')}")
                return
            try:
                primary, replicas, epoch = read_sentinel(*told)
            except ValueError as error:
                failed(str(error))
                return
            if epoch < self._epoch and self.hub.clock() - self._heard < FORGOTTEN:
                failed(f"Sentinel {endpoint.name} has not heard of the last failover yet")
                return
            self._epoch, self._heard = epoch, self.hub.clock()
            self._with_addresses([primary, *replicas], partial(self._settle, primary, replicas, by, found), failed)

        for question in self._questions:
            inquire(pool, self.hub.sentinel, question, answered)

    def _settle(
        self,
        primary: Node,
        replicas: list[Node],
        by: Endpoint | None,
        found: Callable[[], None],
    ) -> None:
        self._give_up(replicas, by)
        named = [primary, *(node for node in replicas if node.usable)]
        endpoints = self._endpoints(named, by)
        self._take_over(endpoints.get(primary), [endpoints[node] for node in named[1:] if node in endpoints])
        found()

    def close(self) -> None:
        super().close()
        self._news.close()
