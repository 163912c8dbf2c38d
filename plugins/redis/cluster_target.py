"""A Redis Cluster: 16384 slots of keys, and which servers have them, as any of these servers says.

The map is asked for at the beginning, now and then, and whenever a server says ``MOVED`` (it has a slot no more) or is
lost. ``MOVED`` itself is taken over at once; ``ASK`` (the slot is just being moved, and this key is there already) is
for the one command only."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from l4proxy.plugins.redis.inquiry import inquire
from l4proxy.plugins.redis.replies import RefusedCommand
from l4proxy.plugins.redis.target import Advice, Shard
from l4proxy.plugins.redis.watched import WatchedTarget, host_of_endpoint
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.slots import SLOTS, in_slots, slot_of
from l4proxy.protocols.redis.topology import Node, ShardMap, read_shards, read_slots, redirection
from l4proxy.protocols.redis.values import Failure, Value

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.config import Upstream
    from l4proxy.plugins.redis.hub import Hub

__all__ = ["ClusterTarget"]

CLUSTER_SHARDS = encode_command(b"CLUSTER", b"SHARDS")
CLUSTER_SLOTS = encode_command(b"CLUSTER", b"SLOTS")
NOT_SERVED = b"-CLUSTERDOWN Hash slot not served\r\n"
"""What a server says itself."""


class ClusterTarget(WatchedTarget):
    redirects = True
    readonly_handshake = True

    def __init__(self, hub: Hub, config: Upstream) -> None:
        self._slots: list[Shard | None] = [None] * SLOTS
        self._by_name: dict[str, Shard] = {}
        self._best: Endpoint | None = None
        """Who is likely to know: the server that another one has pointed at."""
        self._knows_shards = True
        super().__init__(hub, config)

    # Where keys are

    def place(self, key: bytes) -> Hashable:
        return slot_of(key)

    def shard(self, key: bytes) -> Shard:
        shard = self._slots[slot_of(key)]
        if shard is not None and shard.primary is not None:
            return shard
        if not self._settled:
            raise self.unknown()
        self.refresh()
        raise RefusedCommand(NOT_SERVED)

    def shards_of(self, tags: Sequence[bytes]) -> list[Shard]:
        shards = in_slots(self._slots, tags)
        for shard in set(shards):
            if shard is None or shard.primary is None:
                return super().shards_of(tags)
        return cast("list[Shard]", shards)

    # The map

    def _inquire(self, found: Callable[[], None], failed: Callable[[str], None]) -> None:
        endpoint = self._whom_to_ask()
        command, read = (
            (CLUSTER_SHARDS, partial(read_shards, tls=self.cluster.tls is not None))
            if self._knows_shards
            else (CLUSTER_SLOTS, read_slots)
        )
        asked = self._asked

        def answered(value: Value, by: Endpoint | None) -> None:
            if not self.is_asked(asked):
                return
            if isinstance(value, Failure):
                if self._knows_shards and value.find(b"nknown") >= 0:
                    self._knows_shards = False
                    self._inquire(found, failed)
                else:
                    failed(value.decode("latin-1"))
                return
            try:
                shards = read(value)
            except ValueError as error:
                failed(str(error))
            else:
                self._with_addresses(_nodes_of(shards), partial(self._settle, shards, by, found, failed), failed)

        inquire(self.pool(self.hub.identity, endpoint), self.hub.cluster, command, answered)

    def _whom_to_ask(self) -> Endpoint | None:
        """One that is likely to know; then any server that is known; then those of the configuration."""
        best, self._best = self._best, None
        if best is not None and not best.draining:
            return best
        known = [shard.primary for shard in self._shards if shard.primary and shard.primary not in self._lost]
        return random.choice(known) if known and self._failures % 2 == 0 else None

    def _settle(
        self, shards: list[ShardMap], by: Endpoint | None, found: Callable[[], None], failed: Callable[[str], None]
    ) -> None:
        try:
            self._take_over(shards, by)
        except ValueError as error:
            failed(str(error))
        else:
            found()

    def _take_over(self, shards: list[ShardMap], by: Endpoint | None) -> None:
        if not any(told.slots for told in shards):
            raise ValueError("no slots are served yet")
        nodes = _nodes_of(shards)
        endpoints = self._endpoints(nodes, by)
        slots: list[Shard | None] = [None] * SLOTS
        by_name: dict[str, Shard] = {}
        primaries = [(shard, shard.primary) for shard in self._shards]
        for told in shards:
            if not told.slots:
                continue  # it has just joined, or is about to leave
            shard = self._of(told, endpoints)
            by_name[shard.name] = shard
            for first, last in told.slots:
                slots[first : last + 1] = [shard] * (last + 1 - first)
        if slots != self._slots or any(shard.primary is not primary for shard, primary in primaries):
            self.changed()
        self._slots, self._by_name = slots, by_name
        self._shards = [by_name[name] for name in sorted(by_name)]
        self._give_up(nodes, by)

    def _of(self, told: ShardMap, endpoints: dict[Node, Endpoint]) -> Shard:
        """A shard stays the same one, and in its place among the others, when its primary changes: it is called by the
        first of its servers' names."""
        nodes = [*([told.primary] if told.primary else []), *told.replicas]
        name = min(node.id for node in nodes)
        shard = self._by_name.get(name) or Shard(name, None)
        shard.primary = endpoints.get(told.primary) if told.primary is not None else None
        shard.replicas = [endpoints[node] for node in told.replicas if node in endpoints and node.usable]
        return shard

    # Changes

    def advice(self, error: bytes, by: Endpoint | None) -> Advice | None:
        told = redirection(error)
        if told is None:
            return super().advice(error, by)
        endpoint = self._endpoint(told.host, told.port, by)
        if endpoint is None:
            self._best = by  # who knows it
            self.refresh()
        elif not told.asking:
            self._moved(told.slot, endpoint)
            self._best = endpoint
            self.refresh()
        return Advice(endpoint, told.asking and endpoint is not None)

    def _endpoint(self, host: str, port: int, by: Endpoint | None) -> Endpoint | None:
        """The server at an address or name, also one that is new. None: the map has to be asked for. It has the address
        that belongs to a name, so that none has to be looked up, and the name that a certificate is for."""
        host = host or host_of_endpoint(by)
        endpoint = self._announced.get((host, port))
        if endpoint is not None or (self.cluster.tls is not None and self._knows_shards):
            return endpoint
        spec = self._spec(host, port, "")
        if spec is None:
            return None
        servers = self.servers.endpoints
        if spec.name not in servers.current:
            servers.update([*(one.spec for one in servers.current.values()), spec])
        endpoint = self._announced[host, port] = servers.current[spec.name]
        return endpoint

    def _moved(self, slot: int, endpoint: Endpoint) -> None:
        shard = next((one for one in self._shards if one.primary is endpoint), None)
        if shard is None:
            # It was made a primary, or is new: until the map is there, that is all that is known of it.
            shard = Shard(endpoint.name, endpoint)
            self._shards = [*self._shards, shard]
        if self._slots[slot] is not shard:
            self._slots[slot] = shard
            self.changed()


def _nodes_of(shards: list[ShardMap]) -> list[Node]:
    return [node for told in shards for node in (told.primary, *told.replicas) if node is not None]
