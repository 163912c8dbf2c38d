"""Where commands go: one cluster of the configuration, seen as *shards*, each with a part of the keys.

What a cluster is made of, its own configuration says: servers that all have the same data (one shard, and any of them
will do), servers among which keys are divided by a balancer that hashes, a Redis Cluster, or a primary with its
replicas. The last two can change at any time, and have to be watched (``watched``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from l4proxy.errors import UpstreamError
from l4proxy.protocols.redis.slots import SLOTS, in_slots, slot_of

if TYPE_CHECKING:
    from l4proxy.balancer import LoadBalancer
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.config import Upstream
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.plugins.redis.identity import Identity
    from l4proxy.plugins.redis.pool import Pool

__all__ = ["Advice", "HashTarget", "Servers", "Shard", "Target", "choose_node", "unserved"]

log = logging.getLogger("l4proxy.redis")

LOOK_AGAIN = 0.1
"""Seconds between two looks at whether a cluster's endpoints are known by now."""


class Shard:
    """The servers that have one part of the keys."""

    __slots__ = ("name", "primary", "replicas")

    def __init__(self, name: str, primary: Endpoint | None, replicas: Iterable[Endpoint] = ()) -> None:
        self.name = name
        self.primary = primary
        """None: any endpoint of the cluster."""
        self.replicas = list(replicas)

    def __repr__(self) -> str:
        return f"<Shard {self.name}>"


class Advice(NamedTuple):
    """What to do with a command that a server has not done."""

    endpoint: Endpoint | None = None
    """Send it there; None: find out where it belongs, after a pause."""
    asking: bool = False
    """With ``ASKING`` before it."""


class Target:
    """One cluster. Subclasses say which shards there are, and which one a key is in."""

    routed: ClassVar[bool] = True
    """Whether it matters where a command goes."""
    redirects: ClassVar[bool] = False
    """Whether servers say where a key is, when they are asked for one that they have not."""
    may_move: ClassVar[bool] = False
    """Whether keys can be found on another server later."""
    reads_from_primary = True
    """Whether only primaries are read from, by the read policy."""
    readonly_handshake: ClassVar[bool] = False
    """Whether replicas have to be told (``READONLY``) that a connection wants to read from them."""

    def __init__(self, hub: Hub, config: Upstream) -> None:
        self.hub = hub
        self.config = config
        self.name = config.cluster
        self._waiting: list[Callable[[], None]] = []
        self.given_up = False
        """It took too long to find out where keys are: commands are answered with an error until it is known."""

    @property
    def cluster(self) -> Cluster:
        """Raises UpstreamError where the configuration has it no more."""
        return self.hub.clusters.find(self.name)

    def identity(self, client: Identity) -> Identity:
        """Who a client is to these servers."""
        config = self.config
        if config.password is None:
            return client
        return client._replace(username=config.username.encode(), password=config.password.reveal().encode())

    def pool(self, client: Identity, endpoint: Endpoint | None, *, replica: bool = False) -> Pool:
        """Connections to one endpoint; None: to any of those configured. Raises UpstreamError."""
        identity = self.identity(client)
        if replica and self.readonly_handshake:
            identity = identity._replace(readonly=True)
        cluster = self.cluster if endpoint is None else self.servers
        return self.hub.pools.get(cluster, identity, endpoint, self.name)

    @property
    def servers(self) -> Cluster:
        """Whose endpoints the shards have. Raises UpstreamError."""
        return self.cluster

    # What subclasses say

    @property
    def ready(self) -> bool:
        """Whether it is known where keys are."""
        return self.cluster.ready

    def shards(self) -> list[Shard]:
        """All of them, in an order that does not change by itself."""
        raise NotImplementedError

    def shard(self, key: bytes) -> Shard:
        """Where a key is. Raises UpstreamError where nobody has it."""
        raise NotImplementedError

    def shards_of(self, tags: Sequence[bytes]) -> list[Shard]:
        """Where keys with these hash tags are. The hot path of pipelines. Raises UpstreamError."""
        return list(map(self.shard, tags))

    def default_shard(self) -> Shard:
        """Where what has no key goes. Raises UpstreamError."""
        shards = self.shards()
        if not shards:
            raise self.cluster.no_endpoint()
        return shards[0]

    def anyone(self) -> Endpoint | None:
        """A server that is there, as far as is known; which, does not matter. Raises UpstreamError."""
        return self.default_shard().primary

    def place(self, key: bytes) -> Hashable:
        """Keys of the same place may stand in the same command."""
        return self.shard(key)

    def node(self, shard: Shard, client: int) -> tuple[Endpoint | None, bool]:
        """Which server of a shard a command goes to that only reads, and whether that is a replica. The same client (by
        its number) stays with the same one for as long as it can. Raises UpstreamError."""
        return shard.primary, False

    # Waiting

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call when it is known where keys are, or when that takes too long."""
        self._waiting.append(call)
        if len(self._waiting) == 1:
            self._look(self.cluster.config.connect_timeout)

    def _look(self, left: float) -> None:
        if self.ready or left <= 0:
            self.given_up = not self.ready
            self._go_on()
        else:
            self.hub.timers.call_later(LOOK_AGAIN, lambda: self._look(left - LOOK_AGAIN))

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    # Changes

    def advice(self, error: bytes, by: Endpoint | None) -> Advice | None:
        """Where a command goes that was answered with ``error`` by a server; None: that is the answer."""
        return None

    def retry_after(self, pause: float, call: Callable[[], None]) -> None:
        """Call when a server that could not do a command just now may be asked again."""
        self.hub.timers.call_later(pause, call)

    def lost(self, endpoint: Endpoint) -> None:
        """A connection to an endpoint was lost, or could not be made."""

    def close(self) -> None:
        """There will be no more."""


class Servers(Target):
    """Servers that all have the same data: a single one, or several proxies. A client stays with one of them."""

    routed = False

    def __init__(self, hub: Hub, config: Upstream) -> None:
        super().__init__(hub, config)
        self._all = Shard(self.name, None)
        with contextlib.suppress(UpstreamError):
            if (count := len(self.cluster.endpoints.current)) > 1:
                text = 'cluster %s: its %d servers are taken to be alike; load_balancer = "ring_hash" divides keys'
                log.info(text, self.name, count)

    def shards(self) -> list[Shard]:
        return [self._all]

    def shard(self, key: bytes) -> Shard:
        return self._all


class HashTarget(Target):
    """Servers that know nothing of each other. The balancer (``ring_hash``, ``maglev``) divides the slots of keys among
    them, which are those of a Redis Cluster (hash tags count)."""

    def __init__(self, hub: Hub, config: Upstream) -> None:
        super().__init__(hub, config)
        self._shards: dict[Endpoint, Shard] = {}
        self._balancer: LoadBalancer[Any] | None = None
        self._slots: list[Shard | None] = []
        """As ``_balancer`` has divided them: it is asked once, as it never changes its mind."""

    def shards(self) -> list[Shard]:
        endpoints = sorted(self.cluster.endpoints.choosable(), key=lambda endpoint: endpoint.name)
        return [self._of(endpoint) for endpoint in endpoints]

    def shard(self, key: bytes) -> Shard:
        cluster = self.hub.clusters.find(self.name)
        if cluster.balancer is not self._balancer:
            self._divide(cluster.balancer)
        shard = self._slots[slot_of(key)]
        if shard is None:
            raise cluster.no_endpoint()
        return shard

    def shards_of(self, tags: Sequence[bytes]) -> list[Shard]:
        cluster = self.hub.clusters.find(self.name)
        if cluster.balancer is not self._balancer:
            self._divide(cluster.balancer)
        shards = in_slots(self._slots, tags)
        if None in shards:
            raise cluster.no_endpoint()
        return cast("list[Shard]", shards)

    def _divide(self, balancer: LoadBalancer[Any]) -> None:
        self._balancer = balancer
        endpoints = balancer.choose_all(range(0, 1 << 64, (1 << 64) // SLOTS))
        shards = {one: self._of(one) for one in set(endpoints) if one is not None}
        self._slots = [None if one is None else shards[one] for one in endpoints]

    def _of(self, endpoint: Endpoint) -> Shard:
        shard = self._shards.get(endpoint)
        if shard is None:
            self._shards = {one: known for one, known in self._shards.items() if not one.draining}
            shard = self._shards[endpoint] = Shard(endpoint.name, endpoint)
        return shard


def unserved(what: str) -> UpstreamError:
    """Nobody has a part of the keys."""
    return UpstreamError("UH", "no_healthy_upstream", what)


def choose_node(
    shard: Shard,
    usable: list[Endpoint],
    policy: str,
    latency: Callable[[Endpoint], float],
    client: int,
    present: bool,
) -> tuple[Endpoint | None, bool]:
    """Which server of a shard to read from, by the read policy, and whether that is a replica. ``usable`` are the
    replicas that may answer; ``present`` says whether the primary is there. Raises UpstreamError where only a replica
    may, and there is none."""
    primary = shard.primary
    if policy == "primary" or (not usable and policy != "replica"):
        return primary, False
    if policy in ("replica", "prefer_replica"):
        if not usable:
            raise unserved(f"shard {shard.name} has no replica that may be read from")
        return usable[client % len(usable)], True
    everybody = [*([primary] if primary is not None and present else []), *usable]
    chosen = min(everybody, key=latency) if policy == "nearest" else everybody[client % len(everybody)]
    return chosen, chosen is not primary
