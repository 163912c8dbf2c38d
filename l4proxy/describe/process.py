"""The process: what runs, for how long, with which configuration, plugins and log levels."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from l4proxy import __version__
from l4proxy.describe.times import utc
from l4proxy.logging_setup import current_levels

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["config_dump", "logging", "plugins", "server_info"]


def server_info(server: Server) -> dict[str, Any]:
    uptime = time.monotonic() - server.started
    loop = type(server.loop)
    return {
        "version": __version__,
        "python": sys.version.split()[0],
        "state": server.state,
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
        "started": utc(time.time() - uptime),
        "uptime_seconds": int(uptime),
        "connections": server.active,
        "max_connections": server.max_connections,
        "earlier_configurations": len(server.generations) - 1,
        "event_loop": f"{loop.__module__}.{loop.__qualname__}",
    }


def config_dump(server: Server) -> dict[str, Any]:
    """The configuration at work, defaults included. Secrets are ``****``."""
    from l4proxy.config.dump import dump

    return dump(server.config)


def plugins(server: Server) -> list[dict[str, Any]]:
    return [
        {**asdict(one), "hooks": list(one.hooks), "registered": list(one.registered)}
        for one in server.plugins.plugins()
    ]


def logging(server: Server) -> dict[str, str]:
    """The level in force of every logger of ours, and of the root as ``root``."""
    levels = current_levels()
    ours = {name: level for name, level in levels.items() if f"{name}.".startswith("l4proxy.")}
    return {"root": levels[""], **ours}
