"""A Redis server as the upstream, started when a case first needs it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from bench import Bench
from errors import BenchError
from peers.peer import find_program

from proxy_process import free_port

__all__ = ["RedisServer", "redis_server"]

PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server, which keeps nothing on disk. Clients come from several loopback addresses."""

    pid: int
    port: int


_SERVERS: dict[int, RedisServer] = {}


def redis_server(bench: Bench) -> RedisServer:
    """The server that all cases of this bench share. Raises BenchError where it cannot be had."""
    if id(bench) not in _SERVERS:
        _SERVERS[id(bench)] = bench.servers.enter_context(_running())
    return _SERVERS[id(bench)]


@contextmanager
def _running() -> Iterator[RedisServer]:
    program = find_program("redis-server")
    if not program:
        raise BenchError("no redis-server is installed")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--protected-mode", "no", "--save", "", "--maxclients", "20000"]
    process = subprocess.Popen([program, "--port", str(port), *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("redis-server does not start")
            time.sleep(0.05)
        yield RedisServer(process.pid, port)
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
        return True
    return False
