"""What a service manager wants to hear: sd_notify(3). Nothing happens unless it says that it listens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator

__all__ = ["feed_watchdog", "notify", "reloading", "silence", "watchdog_interval"]


def notify(*states: str) -> None:
    """Send states such as ``READY=1``, ``RELOADING=1``, ``STOPPING=1``, ``WATCHDOG=1``, ``STATUS=text``,
    ``MAINPID=1``."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(states).encode(), address)
    except OSError:
        pass  # a manager that does not listen is no reason to stop


def watchdog_interval() -> float:
    """Seconds between two ``WATCHDOG=1``: half of what the manager allows; 0 when it watches nothing, or another
    process."""
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0") or 0) / 2_000_000


def silence() -> None:
    """Say nothing from now on: another process speaks for the service."""
    os.environ.pop("NOTIFY_SOCKET", None)


@contextlib.contextmanager
def reloading() -> Iterator[None]:
    """Say that a reload is under way, and that it is over (``Type=notify-reload``, systemd.service(5))."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        yield
    finally:
        notify("READY=1")


async def feed_watchdog() -> None:
    """Say ``WATCHDOG=1`` again and again, for as long as the event loop turns; nothing where nobody watches."""
    while interval := watchdog_interval():
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)
