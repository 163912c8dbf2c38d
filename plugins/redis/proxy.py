"""``redis_proxy``: clients of Redis share a few connections to its servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from l4proxy.config.types import Use
from l4proxy.filter import Filter, Side
from l4proxy.plugins.redis.config import RedisProxyConfig
from l4proxy.plugins.redis.hub import Hub

if TYPE_CHECKING:
    from l4proxy.config.schema import Listener
    from l4proxy.plugins.redis.session import Session
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server

__all__ = ["RedisProxy"]


class RedisProxy(Filter[RedisProxyConfig]):
    """Answer clients of Redis (or Valkey) from the servers of a cluster, over a few connections that they share.

        { use = "redis_proxy", cluster = "cache" }

    Thousands of clients are served over one connection to a server, and each gets its replies in order. What cannot
    share a connection (transactions, commands that block, subscriptions, `MONITOR`) gets one to itself for as long as
    it needs it. Clients speak RESP2 or RESP3, log in and choose databases as they do with a server.
    """

    name = "redis_proxy"
    terminal = True
    shared: Hub
    _session: Session

    @classmethod
    def placed(cls, config: RedisProxyConfig, listener: Listener, remark: Callable[[str], object]) -> RedisProxyConfig:
        if not (listener.exposed and config.block_dangerous) or any(use.name == "block" for use in config.filters):
            return config
        from l4proxy.plugins.redis_block import RedisBlock, RedisBlockConfig

        remark(
            f"clients of {listener.name} can come from other machines: FLUSHALL, CONFIG, DEBUG, KEYS and the like are "
            "blocked (l4proxy explain block)"
        )
        block = Use(RedisBlock.name, RedisBlockConfig(), cls=RedisBlock)
        return replace(config, filters=(block, *config.filters))

    @classmethod
    def provision(cls, config: RedisProxyConfig, server: Server) -> Hub:
        return Hub(config, server)

    @classmethod
    def cleanup(cls, shared: Hub) -> None:
        shared.close()

    def on_connect(self) -> None:
        self._session = self.shared.session(self.conn)
        self.shared.stats.clients_active += 1

    def on_client_data(self, data: bytes) -> None:
        self._session.receive(data)

    def on_client_eof(self) -> None:
        self._session.ended()

    def on_writable(self, side: Side, writable: bool) -> None:
        if side is Side.CLIENT:
            self._session.client_writable(writable)

    def on_drain(self) -> None:
        self._session.drain()

    def on_close(self, reason: CloseReason) -> None:
        self.shared.stats.clients_active -= 1
        self._session.closed(reason)
