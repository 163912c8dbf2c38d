"""SIGUSR2: start the program anew, hand it the listening sockets, and leave when it serves.

The successor is started with our own command line, so it is whatever is installed by now: a new version, new plugins.
When it is ready it says so through a pipe; if it ends without a word, nothing has happened and we go on. No connection
is moved: those that we have stay with us until we have drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
from collections.abc import Mapping

from l4proxy.handoff import SOCKETS, sockets_for_child
from l4proxy.systemd import notify

__all__ = ["announce_ready", "start_successor"]

log = logging.getLogger("l4proxy.successor")

READY_PIPE = "L4PROXY_READY_PIPE"
"""In a successor's environment: the descriptor to write to when it serves."""
START_TIMEOUT = 60.0
"""Seconds that a successor has to become ready."""


def announce_ready() -> None:
    """Tell whoever started us (a predecessor, a service manager) that we serve."""
    pipe = os.environ.pop(READY_PIPE, "")
    if pipe:
        with contextlib.suppress(OSError), open(int(pipe), "wb", buffering=0) as predecessor:
            predecessor.write(b"1")
    notify("READY=1", f"MAINPID={os.getpid()}")


async def start_successor(sockets: Mapping[str, list[socket.socket]]) -> bool:
    """Start a successor on ``sockets``. True when it serves, and we shall drain; False when it failed, with the reason
    in the log."""
    from l4proxy.process import own_command

    text, numbers = sockets_for_child(sockets)
    reading, writing = os.pipe()
    environment = {**os.environ, SOCKETS: text, READY_PIPE: str(writing)}
    environment.pop("WATCHDOG_PID", None)  # it will be the one to feed it
    try:
        child = subprocess.Popen(own_command(), env=environment, pass_fds=(*numbers, writing))
    except OSError as error:
        log.error("no successor could be started: %s", error)
        os.close(reading)
        return False
    finally:
        os.close(writing)
    log.info("process %d was started to take over", child.pid)
    try:
        ready = await asyncio.wait_for(_read_byte(reading), START_TIMEOUT)
    except TimeoutError:
        ready = False
    finally:
        os.close(reading)
    if ready:
        log.info("process %d serves; this one drains", child.pid)
    else:
        child.terminate()
        await asyncio.to_thread(child.wait)
        log.error("process %d did not become ready; this one goes on", child.pid)
    return ready


async def _read_byte(fd: int) -> bool:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)
    return bool(os.read(fd, 1))
