"""Watching HTTP: ``l4proxy sniff http``, and the filter ``http_watch`` in front of any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.hookspecs import hookimpl

if TYPE_CHECKING:
    from l4proxy.hookspecs import Register

__all__: list[str] = []


@hookimpl
def register_filters(register: Register[Any]) -> None:
    from l4proxy.plugins.http_watch.filter import HttpWatch

    register(HttpWatch)


@hookimpl
def register_inspectors(register: Register[Any]) -> None:
    from l4proxy.plugins.http_watch.inspector import HttpInspector

    register(HttpInspector)
