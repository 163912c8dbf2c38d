"""``redis_nodes``: between clients of a Redis Cluster and each of its nodes, so that nobody connects to one past it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l4proxy import Register, UpstreamError, hookimpl
from l4proxy.address import Address
from l4proxy.config.types import ClusterName, Duration
from l4proxy.connect import ConnectRequest
from l4proxy.endpoint import EndpointSpec
from l4proxy.logging_setup import once_per
from l4proxy.plugins.forwarder import Forwarder
from l4proxy.plugins.host_files import is_ip
from l4proxy.plugins.requested_hosts import HostRequest, sibling_cluster
from l4proxy.protocols.redis.readdress import Readdresser
from l4proxy.resolver import ResolveError, SystemResolver

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.filter import Conn
    from l4proxy.server import Server
    from l4proxy.stream import Stream

__all__ = ["RedisNodes", "RedisNodesConfig"]

log = logging.getLogger("l4proxy.redis")

LOG_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class RedisNodesConfig:
    cluster: ClusterName
    """Some of the nodes, or a server that is none: whom clients get that connect to the first port."""
    idle_timeout: Duration = Duration(3600.0)
    """A connection on which nothing moves for this long, or up to a quarter longer, is closed; 0: never."""
    max_connection_duration: Duration = Duration(0.0)
    """Close every connection that is this old; 0: never."""


class Nodes:
    """Which node is at which port of a listener: the first that is named is at the second port, and so on. Shared by
    all connections of one use."""

    def __init__(self, config: RedisNodesConfig, server: Server) -> None:
        self.server = server
        self.cluster = config.cluster
        self.resolver = SystemResolver()
        self._numbers: dict[tuple[str, int], int] = {}
        self._addresses: list[tuple[str, int]] = []

    def find(self, conn: Conn, host: str, port: int) -> tuple[str, int] | None:
        """Where clients find a node that come like this one; None: there is no port left for it."""
        number = self._numbers.get((host, port))
        if number is None:
            if len(self._addresses) + 1 >= len(conn.listener_ports):
                self._unplaced(host, port)
                return None
            number = self._numbers[host, port] = len(self._addresses)
            self._addresses.append((host, port))
        return conn.client.local_host, conn.listener_ports[number + 1]

    def meant(self, conn: Conn) -> tuple[str, int] | None:
        """The node that a connection is for; None: any."""
        here = conn.client.local_port
        number = conn.listener_ports.index(here) - 1 if here in conn.listener_ports else -1
        return self._addresses[number] if 0 <= number < len(self._addresses) else None

    def _unplaced(self, host: str, port: int) -> None:
        if times := once_per(LOG_PAUSE, f"{self.cluster} {host}:{port} not placed"):
            text = "cluster %s: there is no port left for the node %s:%d, clients go there past the proxy (%d times)"
            log.warning(text, self.cluster, host, port, times)


class RedisNodes(Forwarder[RedisNodesConfig]):
    """Stand in front of each node of a Redis Cluster, and let clients see it as it is.

        [[listeners]]
        address = "127.0.0.1:16379-16479"
        filters = [{ use = "redis_nodes", cluster = "nodes" }]

    Clients begin at the first port. Wherever a node's address stands in what they are told (`CLUSTER SLOTS`, `SHARDS`,
    `NODES`, `REPLICAS`, `MOVED`, `ASK`), they are told a port of the listener instead, and who connects there is
    connected to that node. All else passes as the very bytes. This is what `l4proxy sniff redis` stands on; to make one
    server of a cluster, use `redis_proxy`. Ports are given out as nodes are named, so it is for a single worker.
    """

    name = "redis_nodes"
    shared: Nodes

    @classmethod
    def provision(cls, config: RedisNodesConfig, server: Server) -> Nodes:
        return Nodes(config, server)

    def __init__(self) -> None:
        super().__init__()
        self._host = ""
        """That of the node."""
        self._readdresser = Readdresser(self._place)

    def _place(self, host: str, port: int) -> tuple[str, int] | None:
        return self.shared.find(self.conn, host or self._host, port)

    def on_connect(self) -> Awaitable[None] | None:
        try:
            cluster = self.shared.server.clusters.find(self.shared.cluster)
        except UpstreamError as error:
            self._failed(error)
            return None
        meant = self.shared.meant(self.conn)
        if meant is None:
            self.forward(cluster, ConnectRequest())
            return None
        if not is_ip(meant[0]):
            return self._look_up(*meant)
        self._go_to(EndpointSpec.of_address(Address(*meant)))
        return None

    async def _look_up(self, host: str, port: int) -> None:
        """A node may go by its name (`cluster-preferred-endpoint-type`)."""
        try:
            found = await self.shared.resolver.addresses(host)
        except ResolveError as error:
            self._failed(UpstreamError("DF", f"dns_{error.code}", f"node {host}:{port}: {error}"))
        else:
            self._go_to(EndpointSpec.of_address(Address(found.hosts[0], port), hostname=host))

    def _go_to(self, node: EndpointSpec) -> None:
        server = self.shared.server
        self.forward(
            sibling_cluster(server.clusters.find(self.shared.cluster), "nodes", server), HostRequest(host=node)
        )

    def _connected(self, stream: Stream, endpoint: Endpoint) -> None:
        self._host = endpoint.hostname or endpoint.spec.addresses[0].host
        super()._connected(stream, endpoint)

    def on_client_data(self, data: bytes) -> bytes:
        self._readdresser.client_data(data)
        return data

    def on_upstream_data(self, data: bytes) -> bytes | None:
        return self._readdresser.server_data(data) or None


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(RedisNodes)
