"""Redis: the proxy, its message filters, its command."""

from __future__ import annotations

from typing import Any

from l4proxy import Register, hookimpl

__all__ = ["register_commands", "register_filters"]


@hookimpl
def register_filters(register: Register[Any]) -> None:
    from l4proxy.plugins.redis.proxy import RedisProxy

    register(RedisProxy)


@hookimpl
def register_commands(register: Register[Any]) -> None:
    from l4proxy.plugins.redis.quick import Redis

    register(Redis)
