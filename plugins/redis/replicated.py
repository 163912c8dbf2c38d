"""A primary with replicas, which all have the same keys: found among servers that are configured, or by Sentinel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.host_files import is_ip
from l4proxy.plugins.name_cache import NameCache
from l4proxy.plugins.redis.identity import Identity
from l4proxy.plugins.redis.inquiry import inquire
from l4proxy.plugins.redis.replicas import INFO_REPLICATION
from l4proxy.plugins.redis.target import Shard, unserved
from l4proxy.plugins.redis.watched import WatchedTarget
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.topology import Node, Replication, read_replication, read_sentinel
from l4proxy.protocols.redis.values import Failure, Value
from l4proxy.resolver import ResolveError

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.config import Upstream
    from l4proxy.plugins.redis.hub import Hub

__all__ = ["ReplicationTarget", "SentinelTarget"]

GRACE = 1.0
"""Seconds that a server has to say what it is, when another has said that it is the primary."""
NAMES = 64
LOOK_UP_TIMEOUT = 3.0
NAME_TTL = 30.0


class _OneShard(WatchedTarget):
    """All keys are in one shard."""

    def __init__(self, hub: Hub, config: Upstream) -> None:
        self._only = Shard(config.cluster, None)
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

    def _take_over(self, primary: Endpoint | None, replicas: Iterable[Endpoint]) -> None:
        if self._only.primary is not primary:
            self._only.primary = primary
            self.changed()
        self._only.replicas = list(replicas)
        self._shards = [self._only]


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

    One is asked every second. After a failover that was asked for, the old primary goes on for some 10 seconds until
    Sentinel makes it a replica, and what is written there is lost then."""

    longest_refresh = 1.0

    def __init__(self, hub: Hub, config: Upstream) -> None:
        self._epoch = -1
        self._turn = 0
        name = config.primary_name.encode()
        self._questions = [encode_command(b"SENTINEL", word, name) for word in (b"MASTER", b"REPLICAS")]
        self._names = NameCache(
            DnsResolver(), hub.clock, max_names=NAMES, timeout=LOOK_UP_TIMEOUT,
            min_ttl=1.0, max_ttl=NAME_TTL, refresh=NAME_TTL, absolute=False,
        )  # fmt: skip
        self._looking_up: asyncio.Task[None] | None = None
        super().__init__(hub, config)

    @property
    def _login(self) -> Identity:
        """Sentinels have a password of their own."""
        password = self.config.sentinel_password
        if password is None:
            return Identity()
        return Identity(username=self.config.sentinel_username.encode(), password=password.reveal().encode())

    def _inquire(self, found: Callable[[], None], failed: Callable[[str], None]) -> None:
        sentinels = self.cluster.endpoints.choosable()
        if not sentinels:
            raise self.cluster.no_endpoint()
        self._turn += bool(self._failures)
        endpoint = sentinels[self._turn % len(sentinels)]
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
                primary, replicas, epoch = read_sentinel(told[0], told[1])
            except ValueError as error:
                failed(str(error))
                return
            if epoch < self._epoch:
                failed(f"Sentinel {endpoint.name} has not heard of the last failover yet")
                return
            self._epoch = epoch
            self._settle(primary, replicas, by, found, failed)

        for question in self._questions:
            inquire(pool, self.hub.sentinel, question, answered)

    def _settle(
        self,
        primary: Node,
        replicas: list[Node],
        by: Endpoint | None,
        found: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        def settle(hosts: dict[str, str]) -> None:
            nodes = [_at(node, hosts) for node in replicas]
            self._give_up(nodes, by)
            named = [_at(primary, hosts), *(node for node in nodes if node.usable)]
            endpoints = self._endpoints(named, by)
            self._take_over(endpoints.get(named[0]), [endpoints[node] for node in named[1:] if node in endpoints])
            found()

        names = {node.host for node in (primary, *replicas) if not is_ip(node.host)}
        if names:
            self._looking_up = asyncio.create_task(self._look_up(names, self._asked, settle, failed))
        else:
            settle({})

    async def _look_up(
        self,
        names: set[str],
        asked: object,
        settle: Callable[[dict[str, str]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Servers that Sentinel knows by name (``announce-hostnames``)."""
        hosts: dict[str, str] = {}
        problem: ResolveError | None = None
        for name in sorted(names):
            known = await self._names.look_up(name)
            if known.hosts:
                hosts[name] = known.hosts[0]
            problem = problem or known.error
        if not self.is_asked(asked):
            return
        if hosts:
            settle(hosts)
        else:
            failed(str(problem))

    def close(self) -> None:
        super().close()
        if self._looking_up is not None:
            self._looking_up.cancel()


def _at(node: Node, hosts: dict[str, str]) -> Node:
    """The node, by its address."""
    host = hosts.get(node.host)
    return node if host is None else node._replace(host=host, hostname=node.host)
