"""The Redis inspector: what ``l4proxy sniff redis`` and the ``redis`` filter look with."""

from __future__ import annotations

from collections.abc import Sequence

from l4proxy.exchange import Selector
from l4proxy.filter import Side
from l4proxy.inspector import Framer, Inspector, Link
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.conversation import RedisConversation
from l4proxy.plugins.redis_watch.frames import cut_frames
from l4proxy.plugins.redis_watch.tables import tables
from l4proxy.plugins.redis_watch.view import view_of
from l4proxy.stats_registry import StatsRegistry
from l4proxy.table import Table

__all__ = ["RedisInspector"]


class RedisInspector(Inspector[RedisWatchConfig]):
    """Watch clients talk to Redis: commands, errors, latency; hot and big keys, prefixes, clients, slow commands."""

    name = "redis"
    ports = (6379,)
    terminal = "redis_nodes"
    more_ports = 100
    kind_word = "command"
    selectors = (
        Selector("key", "KEY", "commands about keys that fit", lambda exchange: exchange.keys()),
        Selector("client", "CLIENT", "clients whose name or address fits", lambda exchange: exchange.callers()),
        Selector("user", "USER", "clients that have logged in so", lambda exchange: (exchange.user,)),
        Selector("database", "DB", "clients in this database", lambda exchange: (str(exchange.database),)),
    )

    def __init__(self, config: RedisWatchConfig, stats: StatsRegistry) -> None:
        super().__init__(config, stats)
        self.view = view_of(stats, config)

    def conversation(self, link: Link) -> RedisConversation:
        return RedisConversation(self, link)

    def tables(self) -> Sequence[Table]:
        return tables(self.view)

    def framer(self, side: Side) -> Framer | None:
        return cut_frames()
