"""The state of a server as plain data, and the few things that can be changed while it runs.

It is what the admin interface shows and does. A worker answers its supervisor with the same functions, so arguments and
results are JSON-able. A function may be async; none keeps the event loop busy for long, however many connections there
are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from l4proxy.describe.certs import certs
from l4proxy.describe.changes import close_connection, drain_listeners, reopen_logs, set_health, set_log_level
from l4proxy.describe.connections import closed_connections, connection, connections
from l4proxy.describe.memory import memory
from l4proxy.describe.process import config_dump, logging, plugins, server_info
from l4proxy.describe.routing import clusters, listeners
from l4proxy.describe.tables import tables

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["CHANGES", "DESCRIPTIONS", "change", "describe"]

DESCRIPTIONS: dict[str, Callable[..., Any]] = {
    "certs": certs,
    "closed_connections": closed_connections,
    "clusters": clusters,
    "config_dump": config_dump,
    "connection": connection,
    "connections": connections,
    "listeners": listeners,
    "logging": logging,
    "memory": memory,
    "plugins": plugins,
    "server_info": server_info,
    "tables": tables,
}
"""What can be asked: functions of a server and, some of them, of further arguments."""

CHANGES: dict[str, Callable[..., Any]] = {
    "close_connection": close_connection,
    "drain_listeners": drain_listeners,
    "reopen_logs": reopen_logs,
    "set_health": set_health,
    "set_log_level": set_log_level,
}
"""What can be changed, in the same way."""


async def describe(server: Server, what: str, **arguments: Any) -> Any:
    """Answer one of ``DESCRIPTIONS``."""
    return await _call(DESCRIPTIONS[what], server, arguments)


async def change(server: Server, what: str, **arguments: Any) -> Any:
    """Do one of ``CHANGES``."""
    return await _call(CHANGES[what], server, arguments)


async def _call(function: Callable[..., Any], server: Server, arguments: dict[str, Any]) -> Any:
    answer = function(server, **arguments)
    return await answer if isinstance(answer, Awaitable) else answer
