"""What all clients of one use of ``redis_proxy`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.message_filters import MessageFilters
from l4proxy.plugins.redis.config import RedisProxyConfig
from l4proxy.plugins.redis.identity import Identity
from l4proxy.plugins.redis.pool import Pool, Pools
from l4proxy.plugins.redis.scripts import Scripts
from l4proxy.plugins.redis.stats import RedisProxyStats
from l4proxy.plugins.redis.treatment import Treatment
from l4proxy.protocols.redis.commands import CommandTable, Head

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["Hub"]


class Hub:
    """Made when a configuration is loaded."""

    def __init__(self, config: RedisProxyConfig, server: Server) -> None:
        self.config = config
        self.clusters = server.clusters
        self.stats = server.stats.group(RedisProxyStats, name=config.name)
        self.table = CommandTable(custom.command() for custom in config.custom_commands)
        self.limits = config.limits
        """Of what clients send."""
        self.pools = Pools(config, self.stats, server)
        self.scripts = Scripts()
        self.identity = Identity(
            username=config.username.encode(),
            password=config.password.reveal().encode() if config.password else None,
            database=b"%d" % config.database,
        )
        """Whoever has not logged in yet."""
        self.logs_in = config.password is not None
        """The proxy logs in itself, and clients cannot."""
        self.filters = MessageFilters("redis", config.filters, server) if config.filters else None
        self.discard = self.table.inline_head([b"DISCARD"])
        self.client, self.info, self.ping, self.script = map(self._own, (b"CLIENT", b"INFO", b"PING", b"SCRIPT"))
        """For what the proxy sends of its own accord."""

    def pool(self, identity: Identity) -> Pool:
        """Raises UpstreamError where the cluster is gone."""
        return self.pools.get(self.clusters.find(self.config.cluster), identity)

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
        self.pools.close()
