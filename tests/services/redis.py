"""A Redis server, empty, that stores nothing on disk; also on a unix socket."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from l4proxy.protocols.redis.reply import ReplyScanner
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import decode
from services.needs import program
from services.process import HOST, accepts, free_port, running

__all__ = ["ORDERED", "RedisConnection", "RedisServer", "redis", "redis_server", "redis_three", "redis_twins"]

ORDERED = ("--hash-max-listpack-value", "100000", "--zset-max-listpack-value", "100000")
"""Options of servers that answer the same commands with the same bytes: no order in them is by chance."""


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
        with RedisConnection(port or self.port) as connection:
            connection.send(data)
            return connection.rest() if until_closed else connection.reply()

    def connect(self, port: int | None = None) -> RedisConnection:
        """A connection to it, or through the proxy that listens on ``port``."""
        return RedisConnection(port or self.port)


class RedisConnection:
    """A connection to a server, or to a proxy, as blocking calls."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((HOST, port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._scanner = ReplyScanner()
        self._received = bytearray()

    def send(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.sock.sendall(chunk)

    def ask(self, *words: bytes | str) -> Any:
        """Send a command and return what it is answered."""
        self.send(encode_command(*(word.encode() if isinstance(word, str) else word for word in words)))
        return decode(self.reply())[0]

    def reply(self) -> bytes:
        """Wait for the next reply, or message. Raises EOFError."""
        while not self._received or (end := self._scanner.end(self._received, 0)) < 0:
            self._receive()
        reply = bytes(self._received[:end])
        del self._received[:end]
        return reply

    def rest(self) -> bytes:
        """Wait for the end, and return all that comes before it."""
        with contextlib.suppress(EOFError):
            while True:
                self._receive()
        return bytes(self._received)

    def _receive(self) -> None:
        more = self.sock.recv(1 << 18)
        if not more:
            raise EOFError
        self._received += more

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> RedisConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def redis_server(directory: Path, *options: str, port: int = 0, make: str = "redis-server") -> Iterator[RedisServer]:
    """A running server of its own. ``options`` are as on its command line."""
    server = RedisServer(HOST, port or free_port(), directory / "redis.sock")
    argv = [program(make), "--bind", HOST, "--port", str(server.port), "--unixsocket", str(server.path)]
    argv += ["--dir", str(directory), "--save", "", "--appendonly", "no", *options]
    with running(argv, log=directory / "log", ready=lambda: accepts(server.port)):
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running ``RedisServer``."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two servers that answer the same commands with the same bytes."""
    with (
        redis_server(tmp_path_factory.mktemp("redis"), *ORDERED) as one,
        redis_server(tmp_path_factory.mktemp("redis"), *ORDERED) as other,
    ):
        yield one, other


@pytest.fixture(scope="session")
def redis_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three servers that know nothing of each other. Who uses them empties them first."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(redis_server(tmp_path_factory.mktemp("redis"), *ORDERED)) for _ in range(3)]
