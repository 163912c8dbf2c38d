"""``l4proxy redis``."""

from __future__ import annotations

from l4proxy.cli.quick import QuickCommand

__all__ = ["Redis"]


class Redis(QuickCommand):
    """Proxy Redis servers, without a configuration file.

    examples:
      l4proxy redis :6380 cache.example.com:6379
      l4proxy redis 127.0.0.1:6380 127.0.0.1:6379 --admin 127.0.0.1:9901
      l4proxy redis unix:/run/redis-proxy.sock unix:/run/redis.sock
    """

    name = "redis"
    terminal_filter = "redis_proxy"
