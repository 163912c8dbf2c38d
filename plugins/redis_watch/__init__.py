"""Watching Redis: ``l4proxy sniff redis``, and the filter ``redis`` in front of any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.hookspecs import hookimpl

if TYPE_CHECKING:
    from l4proxy.hookspecs import Register

__all__: list[str] = []


@hookimpl
def register_filters(register: Register[Any]) -> None:
    from l4proxy.plugins.redis_watch.filter import RedisWatch

    register(RedisWatch)


@hookimpl
def register_inspectors(register: Register[Any]) -> None:
    from l4proxy.plugins.redis_watch.inspector import RedisInspector

    register(RedisInspector)
