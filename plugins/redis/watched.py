"""Clusters that have to be asked which servers they have, and again whenever something speaks for it that this has
changed: a redirection, a lost connection, a server that is not what it was.

A subclass asks in its own way (``_inquire``). When that brings nothing, another server is asked after a short pause;
what was known goes on being used."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from l4proxy.address import Address
from l4proxy.endpoint import EndpointSpec
from l4proxy.errors import UpstreamError
from l4proxy.logging_setup import once_per
from l4proxy.plugins.host_files import is_ip
from l4proxy.plugins.names import one_endpoint
from l4proxy.plugins.redis.replicas import ReplicaWatch
from l4proxy.plugins.redis.replies import LATER, first_word
from l4proxy.plugins.redis.server_names import ServerNames
from l4proxy.plugins.redis.target import Advice, Shard, Target, choose_node, unserved
from l4proxy.plugins.requested_hosts import sibling_cluster

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.config import Upstream
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.protocols.redis.topology import Node
    from l4proxy.timers import Timer

__all__ = ["WatchedTarget", "host_of_endpoint"]

log = logging.getLogger("l4proxy.redis")

MIN_PAUSE = 0.1
"""Seconds between two questions, whatever speaks for another."""
LOG_PAUSE = 10.0


class WatchedTarget(Target):
    """Base of `ClusterTarget`, `SentinelTarget` and `ReplicationTarget`."""

    may_move = True
    own_servers: ClassVar[bool] = True
    """Its servers are others than those that the configuration has."""
    longest_refresh: ClassVar[float] = float("inf")
    """Seconds after which servers are asked at the latest, whatever is configured."""

    def __init__(self, hub: Hub, config: Upstream) -> None:
        super().__init__(hub, config)
        self._shards: list[Shard] = []
        self._settled = False
        """Something is known."""
        self._companion: tuple[Cluster, object] | None = None
        self._names = ServerNames(hub.clock)
        self._announced: dict[tuple[str, int], Endpoint] = {}
        """Servers by the addresses and names, with their ports, by which others know them."""
        self._asked: object | None = None
        """Of the question under way, until it is answered."""
        self._again = False
        self._failures = 0
        """Questions in a row without an answer."""
        self._last = 0.0
        self._timer: Timer | None = None
        self._limit: Timer | None = None
        self._closed = False
        self._problem = ""
        self._lost: set[Endpoint] = set()
        """Endpoints to which connections were lost since it was last heard which there are."""
        self.watch = ReplicaWatch(self) if config.read_policy != "primary" else None
        self.reads_from_primary = self.watch is None
        self._ask()

    # Asking

    def _inquire(self, found: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Ask, and take over what is answered; call one of the two then. Raises UpstreamError."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Ask soon which servers there are: it may have changed."""
        if self._asked is not None:
            self._again = True
        elif not self._failures:
            self._ask_soon()

    def _ask_soon(self) -> None:
        """Also where another question is under way: that counts no more then, and is not waited for."""
        self._again = True
        self._later(max(0.0, self._last + MIN_PAUSE - self.hub.clock()))

    def _later(self, pause: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.hub.timers.call_later(pause, self._ask) if not self._closed else None

    def _ask(self) -> None:
        self._last = self.hub.clock()
        self._again = False
        asked = self._asked = object()
        if self._limit is not None:
            self._limit.cancel()
        try:
            self._limit = self.hub.timers.call_later(
                self.cluster.config.connect_timeout, partial(self._failed, asked, "no answer in time")
            )
            self._inquire(partial(self._found, asked), partial(self._failed, asked))
        except UpstreamError as error:
            self._failed(asked, str(error))

    def _over(self, asked: object) -> bool:
        if self._asked is not asked or self._closed:
            return False
        self._asked = None
        if self._limit is not None:
            self._limit.cancel()
        return True

    def _found(self, asked: object) -> None:
        if not self._over(asked):
            return
        if self._problem:
            log.info("cluster %s: its servers are known again", self.name)
        self._failures, self._problem, self._settled, self.given_up = 0, "", True, False
        self.settled()
        self._later(MIN_PAUSE if self._again else self._refresh * random.uniform(0.9, 1.1))

    def _failed(self, asked: object, problem: str) -> None:
        if not self._over(asked):
            return
        self._problem = problem
        if times := once_per(LOG_PAUSE, f"{self.name} topology"):
            log.warning("cluster %s: it is not known which servers it has: %s (%d times)", self.name, problem, times)
        self._later(min(MIN_PAUSE * 2**self._failures, self._refresh))
        self._failures = min(self._failures + 1, 10)

    @property
    def _refresh(self) -> float:
        return min(self.hub.config.topology_refresh, self.longest_refresh)

    def settled(self) -> None:
        """Whoever waits may go on, if all is known by now."""
        if self.ready:
            self._go_on()

    def is_asked(self, asked: object) -> bool:
        """Whether that question is still the one under way."""
        return self._asked is asked

    # Servers

    @property
    def servers(self) -> Cluster:
        """Endpoints at the addresses that were named; their cluster has the options of the configured one."""
        configured = self.cluster
        if not self.own_servers:
            return configured
        basis = (configured.config, configured.tls)
        if self._companion is None or self._companion[1] != basis:
            self._companion = (sibling_cluster(configured, "servers", self.hub.server), basis)
        return self._companion[0]

    def _with_addresses(self, nodes: Iterable[Node], go_on: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Go on when the names of these servers are looked up, unless something else is asked by then."""
        asked = self._asked
        hosts = [self.hub.config.real_address(node.host, node.port)[0] for node in nodes]
        names = [host for host in hosts if host and not is_ip(host)]

        def found() -> None:
            if not self.is_asked(asked):
                return
            if len(names) == len(hosts) and not any(map(self._names.addresses, names)):
                failed(self._names.problem(names[0]))
            else:
                go_on()

        self._names.find(names, found)

    def _endpoints(self, nodes: Iterable[Node], by: Endpoint | None) -> dict[Node, Endpoint]:
        """From now on these are the servers. ``by`` has named them."""
        servers, specs = self.servers, {}
        for node in nodes:
            spec = self._spec(node.host or host_of_endpoint(by), node.port, node.hostname)
            if spec is not None:
                specs[node] = spec
            elif times := once_per(LOG_PAUSE, f"{self.name} {node.host}"):
                why = self._names.problem(node.host)
                log.warning(
                    "cluster %s: its server %s:%d is left out: %s (%d times)", self.name, *node[1:3], why, times
                )
        servers.endpoints.update(specs.values())
        self._lost.clear()
        endpoints = {node: servers.endpoints.current[spec.name] for node, spec in specs.items()}
        self._announced = {
            (host, node.port): endpoint
            for node, endpoint in endpoints.items()
            for host in (node.host or host_of_endpoint(by), node.hostname)
            if host
        }
        return endpoints

    def _give_up(self, nodes: Iterable[Node], by: Endpoint | None) -> None:
        """Whoever waits for a server that ``by`` takes for dead, waits no longer: it may only be stuck, and then its
        connections are still there."""
        for node in nodes:
            spec = self._spec(node.host or host_of_endpoint(by), node.port, node.hostname) if node.dead else None
            if spec is not None:
                self.hub.pools.give_up(self.servers, spec.name)

    def _spec(self, host: str, port: int, hostname: str) -> EndpointSpec | None:
        """None: no address is known."""
        host, port = self.hub.config.real_address(host, port)
        if not 0 < port < 65536:
            return None
        if is_ip(host):
            return EndpointSpec.of_address(Address(host, port), hostname=hostname)
        found = one_endpoint(host, port, 1, self._names.addresses(host), "auto")
        return replace(found[0], hostname=hostname or host) if found else None

    def changed(self) -> None:
        """Some keys are on another server than before."""
        for session in self.hub.sessions:
            session.servers_changed()

    def lost(self, endpoint: Endpoint) -> None:
        self._lost.add(endpoint)
        self.refresh()

    def advice(self, error: bytes, by: Endpoint | None) -> Advice | None:
        if first_word(error) not in LATER:
            return None
        self.refresh()
        return Advice()

    # Shards

    @property
    def ready(self) -> bool:
        return self._settled and (self.watch is None or self.watch.begun)

    def shards(self) -> list[Shard]:
        return self._shards

    def default_shard(self) -> Shard:
        """One whose primary is there, as far as is known."""
        for shard in self._shards:
            if shard.primary is not None and shard.primary not in self._lost:
                return shard
        if self._shards:
            return self._shards[0]
        raise self.unknown()

    def anyone(self) -> Endpoint | None:
        for shard in self._shards:
            for endpoint in (shard.primary, *shard.replicas):
                if endpoint is not None and endpoint not in self._lost:
                    return endpoint
        return super().anyone()

    def unknown(self) -> UpstreamError:
        return unserved(
            f"cluster {self.name}: it is not known which servers it has: {self._problem or 'no answer yet'}"
        )

    def node(self, shard: Shard, client: int) -> tuple[Endpoint | None, bool]:
        if self.watch is None:
            return shard.primary, False
        primary, watch = shard.primary, self.watch
        present = primary is not None and primary not in self._lost and watch.answers(primary)
        usable = [one for one in watch.usable(shard) if one.available and one not in self._lost]
        return choose_node(shard, usable, self.config.read_policy, watch.latency, client, present)

    def close(self) -> None:
        self._closed = True
        for timer in (self._timer, self._limit):
            if timer is not None:
                timer.cancel()
        self._names.close()
        if self.watch is not None:
            self.watch.close()


def host_of_endpoint(endpoint: Endpoint | None) -> str:
    return endpoint.spec.addresses[0].host if endpoint is not None else ""
