"""What all clients of one use of ``redis_proxy`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.message_filters import MessageFilters
from l4proxy.plugins.redis.config import RedisProxyConfig
from l4proxy.plugins.redis.identity import Identity
from l4proxy.plugins.redis.pool import Pool, Pools
from l4proxy.plugins.redis.routed import RoutedSession
from l4proxy.plugins.redis.router import Router
from l4proxy.plugins.redis.routes import make_routes
from l4proxy.plugins.redis.scripts import Scripts
from l4proxy.plugins.redis.session import Session
from l4proxy.plugins.redis.stats import RedisProxyStats
from l4proxy.plugins.redis.treatment import Treatment
from l4proxy.protocols.redis.commands import CommandTable, Head

if TYPE_CHECKING:
    from l4proxy.filter import Conn
    from l4proxy.plugins.redis.target import Target
    from l4proxy.server import Server

__all__ = ["Hub"]


class Hub:
    """Made when a configuration is loaded."""

    def __init__(self, config: RedisProxyConfig, server: Server) -> None:
        self.config = config
        self.clusters = server.clusters
        self.stats = server.stats.group(RedisProxyStats, name=config.name)
        self.table = CommandTable(custom.command() for custom in config.custom_commands)
        self.pools = Pools(config, self.stats, server)
        self.scripts = Scripts()
        self.server = server
        self.clock = server.loop.time
        self.timers = server.timers
        self.poller = server.poller
        self.identity = Identity(database=b"%d" % config.database)
        """Whoever has not logged in yet."""
        self.logs_in = any(one.password is not None for one in config.all_upstreams())
        """The proxy logs in itself, and clients cannot."""
        self.filters = MessageFilters("redis", config.filters, server) if config.filters else None
        self.asking, self.client, self.cluster, self.discard, self.info, self.multi, self.ping, self.script = map(
            self._own, (b"ASKING", b"CLIENT", b"CLUSTER", b"DISCARD", b"INFO", b"MULTI", b"PING", b"SCRIPT")
        )
        """For what the proxy sends of its own accord."""
        self.psubscribe = self.treatment(self.table.inline_head([b"PSUBSCRIBE", b"*"]))
        self.sentinel = self._own(b"SENTINEL")
        self.sentinel.name = "SENTINEL"
        self.sessions: dict[RoutedSession, None] = {}
        """Clients of several servers."""
        self._begun = False

    def _begin(self) -> None:
        """Not before the first client comes, the clusters are as the configuration has them."""
        self._begun = True
        self.router = Router(self.table, make_routes(self))
        only = self.router.only
        self.direct = only.target if only is not None and only.is_plain else None
        """The one cluster whose servers all have the same data; None: it matters where a command goes."""
        last = self.router.default
        self.poses_as_cluster = last is not None and last.target.redirects
        """Clients that ask for the nodes of a Redis Cluster are told of the proxy."""
        seen = frozenset() if self.filters is None else self.filters.seen
        self.limits = self.config.limits(None if self.direct is None else seen)
        """Of what clients send."""

    def session(self, conn: Conn) -> Session:
        """A client has connected."""
        if not self._begun:
            self._begin()
        return Session(self, conn) if self.direct is not None else RoutedSession(self, conn)

    def pool(self, identity: Identity) -> Pool:
        """Connections for what has no key, and any server will do for. Raises UpstreamError."""
        if self.direct is not None:
            return self.direct.pool(identity, None)
        return self.default.pool(identity, self.default.anyone())

    @property
    def default(self) -> Target:
        """Whose servers know who clients may be, where it matters which server a command goes to."""
        return (self.router.default or self.router.first).target

    def treatment(self, head: Head) -> Treatment:
        """What is known of a command; kept with its head."""
        treatment = Treatment(head)
        head.note = treatment
        return treatment

    def _own(self, name: bytes) -> Treatment:
        return self.treatment(self.table.inline_head([name]))

    def close(self) -> None:
        if self.filters is not None:
            self.filters.cleanup()
        for target in self.router.all_targets if self._begun else ():
            target.close()
        self.pools.close()
