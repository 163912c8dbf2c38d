"""The brokers of a cluster, as its own responses name them: learnt in passing, and connected to.

A configured cluster has the brokers that are asked first. All others belong to a cluster of our own, which has the same
options, and whose endpoints are the brokers' own addresses (``NAME/brokers`` in statistics).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from l4proxy import UpstreamError
from l4proxy.address import Address
from l4proxy.endpoint import EndpointSpec
from l4proxy.logging_setup import once_per
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.host_files import is_ip
from l4proxy.plugins.kafka_proxy.question import ask_for_brokers
from l4proxy.plugins.name_cache import KnownName, NameCache
from l4proxy.plugins.names import one_endpoint
from l4proxy.plugins.requested_hosts import sibling_cluster

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.protocols.kafka.addresses import Broker
    from l4proxy.server import Server

__all__ = ["Brokers", "brokers_of"]

log = logging.getLogger("l4proxy.kafka_proxy")

KNOWN_LIMIT = 10_000
"""Brokers whose addresses are remembered."""
NAMES = 1024
LOOK_UP_TIMEOUT = 5.0
MIN_TTL = 1.0
MAX_TTL = 300.0
REFRESH = 5.0
LOG_PAUSE = 10.0
ASK_PAUSE = 10.0
"""Seconds in which brokers that do not say which they are, are not asked again."""


class Brokers:
    """Which brokers there are, and where. One for each cluster, for as long as that exists."""

    def __init__(self, cluster: Cluster, server: Server) -> None:
        self.alive: frozenset[int] = frozenset()
        """Those that the last list of all of them had, and who was named since."""
        self.cluster_id = b""
        """That which the cluster has given itself; empty while nobody has asked."""
        self.revision = 0
        """Grows when ``alive`` changes."""
        self._server = server
        self._addresses: dict[int, Address] = {}
        self._names = NameCache(
            DnsResolver(), server.loop.time, max_names=NAMES, timeout=LOOK_UP_TIMEOUT,
            min_ttl=MIN_TTL, max_ttl=MAX_TTL, refresh=REFRESH, absolute=False,
        )  # fmt: skip
        self._basis = (cluster.config, cluster.tls)
        """What the brokers' cluster was made from; a reload gives the configured one other parts."""
        self._cluster = sibling_cluster(cluster, "brokers", server)
        self._question: asyncio.Task[bool] | None = None
        self._ask_after = 0.0

    def learn(self, brokers: Sequence[Broker], *, all: bool) -> None:
        """Brokers were named, with their own addresses. ``all``: there are no others."""
        for node, host, port in brokers:
            if node >= 0 and 0 < port < 65536 and host:
                address = Address(host.decode(errors="replace"), port)
                if self._addresses.get(node) != address:
                    self._addresses[node] = address
                    log.info("cluster %s: broker %d is at %s", self._basis[0].name, node, address)
        named = frozenset(node for node, _, _ in brokers if node in self._addresses)
        alive = named if all else self.alive | named
        if alive != self.alive:
            self.alive = alive
            self.revision += 1
            if len(self._addresses) > KNOWN_LIMIT:
                self._addresses = {node: self._addresses[node] for node in alive}

    def address(self, node: int) -> Address | None:
        """Where a broker is; None while that is not known."""
        return self._addresses.get(node)

    async def ask(self, configured: Cluster) -> bool:
        """Ask which brokers there are. Return False where they do not say: they want to know who asks. One question is
        for all who ask at the same time."""
        if self._question is None:
            if self._server.loop.time() < self._ask_after:
                return False
            self._question = asyncio.create_task(self._ask(configured))
            self._question.add_done_callback(self._asked)
        return await asyncio.shield(self._question)

    async def _ask(self, configured: Cluster) -> bool:
        try:
            self.learn(await ask_for_brokers(configured), all=True)
        except UpstreamError as error:
            self._ask_after = self._server.loop.time() + ASK_PAUSE
            log.info("cluster %s: %s", configured.name, error)
            return False
        return True

    def _asked(self, _question: asyncio.Task[bool]) -> None:
        self._question = None

    def doubt(self, node: int) -> None:
        """It was not there: perhaps it is somewhere else by now, and has to be asked for."""
        self._addresses.pop(node, None)

    def cluster(self, configured: Cluster) -> Cluster:
        """The cluster that the brokers are endpoints of, with the options that the configured one has now."""
        if self._basis != (configured.config, configured.tls):
            self._basis = (configured.config, configured.tls)
            self._cluster = sibling_cluster(configured, "brokers", self._server)
        return self._cluster

    def endpoint(self, address: Address) -> EndpointSpec | None:
        """The endpoint at an address; None: its name has to be looked up. Raises UpstreamError."""
        if is_ip(address.host):
            return EndpointSpec.of_address(address)
        known = self._names.known(address.host)
        return None if known is None else _endpoint(address, known)

    def is_at(self, endpoint: EndpointSpec, node: int) -> bool:
        """Whether an endpoint is, as far as can be told, where a broker is."""
        address = self._addresses.get(node)
        if address is None:
            return False
        known = self._names.known(address.host)
        hosts = (address.host, *(known.hosts if known is not None else ()))
        return any(one.port == address.port and (endpoint.hostname == address.host or one.host in hosts)
                   for one in endpoint.addresses)  # fmt: skip

    async def look_up(self, address: Address) -> EndpointSpec:
        """The same, where the name has to be looked up. Raises UpstreamError."""
        return _endpoint(address, await self._names.look_up(address.host))

    def not_placed(self, node: int) -> None:
        """A broker has no address that clients could be told."""
        name = self._basis[0].name
        if times := once_per(LOG_PAUSE, f"{name} {node} not placed"):
            log.warning(
                "cluster %s: broker %d has no port or name of its own here, clients are not told of it (%d times)",
                name, node, times,
            )  # fmt: skip


def _endpoint(address: Address, known: KnownName) -> EndpointSpec:
    if known.error is not None:
        raise UpstreamError("DF", f"dns_{known.error.code}", f"broker {address}: {known.error}")
    (spec,) = one_endpoint(address.host, address.port, 1, known.hosts, "all")
    return spec


def brokers_of(cluster: Cluster, server: Server) -> Brokers:
    """What is known of the brokers of a configured cluster."""
    brokers = cluster.kept.get(Brokers)
    if brokers is None:
        brokers = cluster.kept[Brokers] = Brokers(cluster, server)
    assert isinstance(brokers, Brokers)
    return brokers
