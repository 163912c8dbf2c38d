"""What all connections of one use of ``kafka_proxy`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.config.types import Use
from l4proxy.message_filters import MessageFilters
from l4proxy.plugins.kafka_proxy.brokers import brokers_of
from l4proxy.plugins.kafka_proxy.fleet import Fleet
from l4proxy.plugins.kafka_proxy.pinned import Pinned, PinnedConfig
from l4proxy.plugins.kafka_proxy.places import Places, places_for
from l4proxy.plugins.kafka_proxy.routes import Routes
from l4proxy.plugins.kafka_proxy.routing import OFFERED, ROUTED
from l4proxy.plugins.kafka_proxy.stats import KafkaProxyStats
from l4proxy.protocols.bounded import remember
from l4proxy.protocols.kafka.apis import APIS, BY_NAME
from l4proxy.protocols.kafka.names import newest_by_name
from l4proxy.protocols.kafka.plan import Plans, Reading
from l4proxy.protocols.kafka.relay_plan import FOLLOWED, RelayPlan

if TYPE_CHECKING:
    from l4proxy.filter import Conn
    from l4proxy.plugins.kafka_proxy.config import KafkaProxyConfig
    from l4proxy.server import Server

__all__ = ["ANYWHERE", "Shared"]

PLACES_LIMIT = 1000
"""Addresses by which clients reach listeners, of which it is remembered what is told there."""
EVERY_VERSION = (0, 0x7FFF)
ANYWHERE = {BY_NAME[name].key for name in ("ApiVersions", "Metadata", "SaslHandshake", "SaslAuthenticate")}
"""APIs that every broker answers alike."""


class Shared:
    def __init__(self, config: KafkaProxyConfig, server: Server) -> None:
        self.config = config
        self.server = server
        self.stats = server.stats.group(KafkaProxyStats, cluster=config.cluster)
        self._denied = {BY_NAME[name].key for name in config.deny}
        self.routes = Routes(config.cluster, config.routes)
        uses = config.filters
        if config.routes:
            uses = (*uses, Use(Pinned.name, PinnedConfig(self.routes), cls=Pinned))
        self.filters = MessageFilters("kafka", uses, server) if uses else None
        self._by_names = False
        for use in uses:
            self._denied.update(BY_NAME[name].key for name in use.cls.hides)
            self._by_names |= use.cls.goes_by_names(use.config)
        self._fleet: Fleet | None = None
        self._places: dict[object, Places] = {}
        self.plans: Plans[RelayPlan] = Plans(self._plan, {})
        self.plans_elsewhere: Plans[RelayPlan] = Plans(self._plan_elsewhere, {})
        """For connections to another broker than the client has meant: what only that one can answer is wanted."""
        self._stop_collecting = server.stats.on_collect(self._collect)

    def close(self) -> None:
        self._stop_collecting()
        if self.filters is not None:
            self.filters.cleanup()

    def fleet(self) -> Fleet:
        """The brokers of the configured clusters. Raises UpstreamError."""
        find = self.server.clusters.find
        clusters = tuple(map(find, self.routes.clusters))
        if self._fleet is None or self._fleet.clusters != clusters:
            self._fleet = Fleet(clusters, [brokers_of(cluster, self.server) for cluster in clusters])
        return self._fleet

    def places(self, conn: Conn, fleet: Fleet) -> Places:
        key = (fleet, conn.listener_ports, conn.client.local_host, conn.client.local_port)
        places = self._places.get(key)
        if places is None:
            places = places_for(conn, self.config, fleet)
            remember(self._places, key, places, PLACES_LIMIT)
        return places

    def versions(self, key: int) -> tuple[int, int] | None:
        """What clients may use of an API."""
        api = APIS.get(key)
        if api is None:
            return EVERY_VERSION if self.config.unknown_apis == "forward" else None
        if key in self._denied or not api.is_declared:
            return None
        last = newest_by_name(api) if self._by_names else api.last
        first = api.first
        if self.config.routes:
            oldest, newest = OFFERED.get(api.name) or (first, newest_by_name(api))
            first, last = max(first, oldest), min(last, newest)
        return (first, last) if last >= 0 else None

    def shows(self, key: int) -> bool:
        """Whether message filters are to see requests for this API."""
        api = APIS.get(key)
        if self.filters is None or api is None or key in FOLLOWED:
            return False
        return self.filters.wants(api.name) or (bool(self.config.routes) and api.name in ROUTED)

    def _plan(self, key: int, version: int, _reading: Reading) -> RelayPlan:
        return RelayPlan(key, version, self.versions, wanted=self.shows(key))

    def _plan_elsewhere(self, key: int, version: int, _reading: Reading) -> RelayPlan:
        return RelayPlan(key, version, self.versions, wanted=key not in ANYWHERE or self.shows(key))

    def _collect(self) -> None:
        for plan in (*self.plans.values(), *self.plans_elsewhere.values()):
            if plan.rewritten:
                self.stats.rewritten_responses_total.add(plan.name, plan.rewritten)
                plan.rewritten = 0
        fleets = {places.fleet for places in self._places.values()}
        self.stats.brokers = max((len(one.alive) for one in fleets), default=0)
        self.stats.unplaced_brokers = max(
            (sum(places.find(node) is None for node in places.fleet.alive) for places in self._places.values()),
            default=0,
        )
