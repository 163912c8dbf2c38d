"""A Redis server, empty, that stores nothing on disk; also on a unix socket."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from l4proxy.protocols.redis.reply import ReplyScanner
from services.needs import program
from services.process import HOST, accepts, free_port, running

__all__ = ["RedisServer", "redis"]


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where it listens. One server serves all tests of a worker process: use keys of your own."""

    host: str
    port: int
    path: Path

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def command(self, *words: str, port: int | None = None) -> str:
        """What ``redis-cli`` prints for a command, sent straight or through the proxy that listens on ``port``."""
        argv = [program("redis-cli"), "-h", self.host, "-p", str(port or self.port), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.removesuffix("\n")

    def exchange(self, data: bytes, *, until_closed: bool = False, port: int | None = None) -> bytes:
        """Send bytes on a connection of its own; return the one reply, or all that comes until the server closes."""
        with socket.create_connection((self.host, port or self.port), timeout=30) as connection:
            connection.sendall(data)
            scanner, received = ReplyScanner(), bytearray()
            while until_closed or scanner.end(received, 0) < 0:
                more = connection.recv(1 << 16)
                if not more:
                    break
                received += more
        return bytes(received)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running ``RedisServer``."""
    directory = tmp_path_factory.mktemp("redis")
    server = RedisServer(HOST, free_port(), directory / "redis.sock")
    argv = [program("redis-server"), "--bind", HOST, "--port", str(server.port), "--unixsocket", str(server.path)]
    argv += ["--dir", str(directory), "--save", "", "--appendonly", "no"]
    with running(argv, log=directory / "log", ready=lambda: accepts(server.port)):
        yield server
