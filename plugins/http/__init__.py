"""The ``http`` filter: requests of any version of HTTP, routed to clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.hookspecs import hookimpl

if TYPE_CHECKING:
    from l4proxy.hookspecs import Register

__all__: list[str] = []


@hookimpl
def register_filters(register: Register[Any]) -> None:
    from l4proxy.plugins.http.filter import Http

    register(Http)
