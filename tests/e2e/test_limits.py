"""More than there is room for: refused or left waiting, counted, said, and over as soon as there is room again."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from e2e.proxies import Proxy, between
from proxy_process import echo_server, wait_until
from services.process import HOST


@pytest.fixture
def upstream() -> Iterator[int]:
    with echo_server() as port:
        yield port


def descriptors(number: int) -> Sequence[str]:
    return ["prlimit", f"--nofile={number}:{number}"]


@contextlib.contextmanager
def clients(port: int, number: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        connect = socket.create_connection
        yield [stack.enter_context(connect((HOST, port), timeout=30)) for _ in range(number)]


def is_served(client: socket.socket) -> bool:
    try:
        client.sendall(b"hello")
        return client.recv(5) == b"hello"
    except ConnectionError:
        return False


def serves_again(proxy: Proxy, descriptors_before: int) -> None:
    wait_until(lambda: proxy.descriptors() == descriptors_before, "all is closed")
    with clients(proxy.port, 10) as later:
        assert all(map(is_served, later))


@pytest.mark.parametrize(
    ("options", "prefix", "limit"),
    [
        ({"listener": {"max_connections": 10}}, [], "listener_limit"),
        ({"top": {"max_connections": 10}}, [], "server_limit"),
        ({}, descriptors(64), "server_limit"),
    ],
    ids=["of the listener", "of the server", "of the system"],
)
def test_connections_over_the_limit(
    upstream: int, tmp_path: Path, options: dict[str, Any], prefix: Sequence[str], limit: str
) -> None:
    with between(tmp_path, upstream, prefix=prefix, **options) as proxy:
        before = proxy.descriptors()
        with clients(proxy.port, 100) as all_of_them:
            served = sum(map(is_served, all_of_them))
        assert served == (16 if prefix else 10)
        proxy.ended(f"proxy:{limit}", "phase=accept", times=100 - served)
        assert len(re.findall(r"refused a connection from .*: .* has its 1[06] connections", proxy.log)) == 1
        serves_again(proxy, before)


def test_no_file_descriptors(upstream: int, tmp_path: Path) -> None:
    top = {"max_connections": 1000}
    with between(tmp_path, upstream, prefix=descriptors(64), top=top) as proxy:
        before = proxy.descriptors()
        with clients(proxy.port, 100) as all_of_them:
            assert all(map(is_served, all_of_them[:20]))
            proxy.wait_for_log("accepts nothing for 0.5 s: [Errno 24] Too many open files (1 times)")
            proxy.ended("flags=UO", "upstream:no_file_descriptors", "errno=EMFILE")
            busy = proxy.cpu_seconds()
            proxy.ended("flags=UO", times=3)  # one is taken a second: the last descriptor changes hands
            assert proxy.cpu_seconds() - busy < 0.5
            assert is_served(all_of_them[0])
        serves_again(proxy, before)


def test_two_thousand_at_once(upstream: int, tmp_path: Path) -> None:
    async def exchange(port: int, gate: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        await gate.wait()
        for _ in range(3):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
        writer.close()

    async def everybody(port: int) -> None:
        gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(2000):
                group.create_task(exchange(port, gate))
            gate.set()

    with between(tmp_path, upstream) as proxy:
        before = proxy.descriptors()
        asyncio.run(everybody(proxy.port))
        proxy.ended("client:eof", "received=15", "sent=15", times=2000)
        serves_again(proxy, before)
