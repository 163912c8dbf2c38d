"""``kafka_proxy``: in front of a whole cluster of Kafka brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from l4proxy import CloseReason, UpstreamError
from l4proxy.codec import RemoteProtocolError
from l4proxy.connect import ConnectRequest
from l4proxy.filter import Side
from l4proxy.plugins.forwarder import Forwarder
from l4proxy.plugins.kafka_proxy.brokers import Brokers
from l4proxy.plugins.kafka_proxy.config import KafkaProxyConfig
from l4proxy.plugins.kafka_proxy.session import CROWDED, ProxySession
from l4proxy.plugins.kafka_proxy.shared import Shared
from l4proxy.plugins.requested_hosts import HostRequest

if TYPE_CHECKING:
    from l4proxy.address import Address
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.kafka_proxy.places import Places
    from l4proxy.server import Server
    from l4proxy.stream import Stream

__all__ = ["KafkaProxy"]

MAX_IN_FLIGHT = 1000
"""Requests of a connection that may wait for their answers before the client is not read."""


class KafkaProxy(Forwarder[KafkaProxyConfig]):
    """Stand in front of a whole cluster of Kafka brokers, so that no client connects to one past the proxy.

        [[listeners]]
        address = ":9092-9192"
        filters = [{ use = "kafka_proxy", cluster = "kafka" }]

    Clients bootstrap at the first port. Wherever a broker's address stands in what they are told, they are told a port
    of the listener instead (or a name, with `broker_names`), and who connects there is connected to that broker.
    Brokers that come later are found in the same way. All else passes as the very bytes, record batches in the chunks
    in which they come, and clients authenticate with the brokers themselves.
    """

    name = "kafka_proxy"
    shared: Shared

    @classmethod
    def provision(cls, config: KafkaProxyConfig, server: Server) -> Shared:
        return Shared(config, server)

    @classmethod
    def cleanup(cls, shared: Shared) -> None:
        shared.close()

    def __init__(self) -> None:
        super().__init__()
        self._session: ProxySession | None = None
        self._node: int | None = None
        """The broker that is connected to by its number."""
        self._brokers: Brokers | None = None
        """Those of its cluster."""
        self._crowded = False
        self._draining = False

    def on_connect(self) -> Awaitable[None] | None:
        shared, conn = self.shared, self.conn
        try:
            fleet = shared.fleet()
        except UpstreamError as error:
            conn.connect_failed(error)
            return None
        places = shared.places(conn, fleet)
        number = places.node(conn)
        if number is None:
            self._begin(places, 0)
            return None
        index, node = fleet.split(number)
        address = fleet.brokers[index].address(node)
        return self._find(places) if address is None else self._connect_to(index, node, address, places)

    async def _find(self, places: Places) -> None:
        """Find out where the broker is that the client means."""
        fleet = places.fleet
        asked = map(Brokers.ask, fleet.brokers, fleet.clusters)
        told = await asyncio.gather(*asked)
        number = places.node(self.conn)
        index, node = (0, -1) if number is None else fleet.split(number)
        address = fleet.brokers[index].address(node)
        if address is not None:
            connecting = self._connect_to(index, node, address, places)
            if connecting is not None:
                await connecting
        elif told[index]:
            self.conn.close(CloseReason("proxy", "connecting", "unknown_broker"))
        else:
            self.shared.stats.misdirected_total += 1
            self.conn.pause(Side.CLIENT)  # until it is known where it is
            self._begin(places, index, elsewhere=True)

    def _begin(self, places: Places, index: int, *, elsewhere: bool = False) -> None:
        """Connect to any broker of a cluster."""
        self._session = ProxySession(self.shared, self.conn, places, index, elsewhere=elsewhere)
        self.forward(places.fleet.clusters[index], ConnectRequest(attempts=self.config.max_connect_attempts))

    def _connect_to(self, index: int, node: int, address: Address, places: Places) -> Awaitable[None] | None:
        """Connect to a broker, and no other."""
        self._node = node
        brokers = self._brokers = places.fleet.brokers[index]
        cluster = places.fleet.clusters[index]
        self._session = ProxySession(self.shared, self.conn, places, index, elsewhere=False)
        try:
            spec = brokers.endpoint(address)
        except UpstreamError as error:
            self._failed(error)
            return None
        if spec is None:
            return self._look_up(address, brokers, cluster)
        self.forward(brokers.cluster(cluster), HostRequest(host=spec))
        return None

    async def _look_up(self, address: Address, brokers: Brokers, cluster: Cluster) -> None:
        try:
            spec = await brokers.look_up(address)
        except UpstreamError as error:
            self._failed(error)
            return
        self.forward(brokers.cluster(cluster), HostRequest(host=spec))

    def _connected(self, stream: Stream, endpoint: Endpoint) -> None:
        assert self._session is not None
        elsewhere = self._session.elsewhere
        self._session.endpoint = endpoint.spec
        super()._connected(stream, endpoint)
        if elsewhere:
            self.conn.resume(Side.CLIENT)

    def _failed(self, error: UpstreamError) -> None:
        if self._node is not None and self._brokers is not None:
            self._brokers.doubt(self._node)
        super()._failed(error)

    # Bytes

    def on_client_data(self, data: bytes) -> bytes | None:
        session = self._session
        assert session is not None
        try:
            passed = session.client_data(data)
        except RemoteProtocolError as error:
            session.broken("client", error)
            return None
        if session.in_flight > MAX_IN_FLIGHT:
            self._crowded = True
            session.pause(CROWDED)
        if session.ending is not None:
            self.conn.close(session.ending)
        return passed

    def on_upstream_data(self, data: bytes) -> bytes | None:
        session = self._session
        assert session is not None
        try:
            passed = session.server_data(data)
        except RemoteProtocolError as error:
            session.broken("upstream", error)
            return None
        if self._crowded and session.in_flight <= MAX_IN_FLIGHT // 2:
            self._crowded = False
            session.resume(CROWDED)
        if self._draining and session.between and session.ending is None:
            session.ending = CloseReason("proxy", "relay", "drain")
        if session.ending is not None:
            if passed:
                self.conn.send_client(passed)
            self.conn.close(session.ending)
            return None
        return passed

    # The end

    def on_drain(self) -> None:
        self._draining = True
        if self._session is None or self._session.between:
            self.conn.close(CloseReason("proxy", "relay", "drain"))

    def on_close(self, reason: CloseReason) -> None:
        super().on_close(reason)
        if self._session is not None:
            self._session.closed(reason)
