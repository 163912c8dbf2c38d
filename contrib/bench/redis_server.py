"""Redis servers as the upstream, started when a case first needs them."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import Bench
from errors import BenchError
from peers.peer import find_program

from proxy_process import free_port

__all__ = ["RedisServer", "redis_cluster", "redis_server", "redis_servers"]

PATIENCE = 10.0
SHARDS = 3


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server, which keeps nothing on disk. Clients come from several loopback addresses."""

    pid: int
    port: int


_SERVERS: dict[tuple[int, str], tuple[RedisServer, ...]] = {}


def redis_server(bench: Bench) -> RedisServer:
    """The server that all cases of this bench share. Raises BenchError where it cannot be had."""
    return _shared(bench, "one", 1)[0]


def redis_servers(bench: Bench) -> tuple[RedisServer, ...]:
    """Three that know nothing of each other."""
    return _shared(bench, "several", SHARDS)


def redis_cluster(bench: Bench) -> tuple[RedisServer, ...]:
    """The nodes of a Redis Cluster, each with a part of the slots."""
    if (id(bench), "cluster") not in _SERVERS:
        nodes = _shared(bench, "cluster", SHARDS, cluster=True)
        _join(nodes)
    return _SERVERS[id(bench), "cluster"]


def _shared(bench: Bench, name: str, count: int, *, cluster: bool = False) -> tuple[RedisServer, ...]:
    key = (id(bench), name)
    if key not in _SERVERS:
        start = bench.servers.enter_context
        _SERVERS[key] = tuple(start(_running(bench.directory, cluster=cluster)) for _ in range(count))
    return _SERVERS[key]


def _join(nodes: Sequence[RedisServer]) -> None:
    """Make a cluster of servers, and wait until it serves all slots."""
    program = find_program("redis-cli")
    if not program:
        raise BenchError("no redis-cli is installed")
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    made = subprocess.run([program, "--cluster", "create", *addresses, "--cluster-yes"], capture_output=True, text=True)
    if made.returncode:
        raise BenchError(f"no Redis Cluster could be made: {made.stdout.strip()}")
    deadline = time.monotonic() + PATIENCE
    for node in nodes:
        while "cluster_state:ok" not in _ask(program, node.port, "CLUSTER", "INFO"):
            if time.monotonic() > deadline:
                raise BenchError("the Redis Cluster does not serve")
            time.sleep(0.05)


def _ask(program: str, port: int, *words: str) -> str:
    return subprocess.run([program, "-p", str(port), *words], capture_output=True, text=True).stdout


@contextmanager
def _running(directory: Path, *, cluster: bool = False) -> Iterator[RedisServer]:
    program = find_program("redis-server")
    if not program:
        raise BenchError("no redis-server is installed")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--protected-mode", "no", "--save", "", "--maxclients", "20000"]
    if cluster:
        files = ["--dir", str(directory), "--cluster-config-file", f"nodes-{port}.conf"]
        options += ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), *files]
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
