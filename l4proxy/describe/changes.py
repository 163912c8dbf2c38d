"""What an operator can change while the proxy runs. All of it is forgotten when the process ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.logging_setup import set_all_levels, set_level

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["close_connection", "drain_listeners", "reopen_logs", "set_health", "set_log_level"]


def set_log_level(server: Server | None, level: str, logger: str = "") -> None:
    """Show messages of one logger, or of all, from ``level`` on."""
    if logger:
        set_level(logger, level)
    else:
        set_all_levels(level)


def set_health(server: Server, ready: bool) -> None:
    """What ``/ready`` says while the server is not draining. Nothing else changes."""
    server.withdrawn = not ready


def drain_listeners(server: Server) -> None:
    """Close the listeners and ask the open connections to end soon. The process stays; there is no way back."""
    server.begin_drain(close_listeners=True)


def close_connection(server: Server, id: int) -> bool:
    """End one connection at once. False: there is none with this number."""
    for generation in server.generations:
        for listener in generation.listeners:
            if (one := listener.connections.get(id)) is not None:
                one.cut_off("closed_by_admin")
                return True
    return False


def reopen_logs(server: Server) -> None:
    server.reopen_logs()
