"""Clients that break off, read nothing, dribble, or say nothing: bounded, named, and nobody else's trouble."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusters import black_hole, listening
from e2e.proxies import between
from l4proxy import Filter, NoConfig
from l4proxy.connection import Connection
from l4proxy.splice import PIPE_SIZE
from l4proxy.stream import READ_SIZE_MAX
from l4proxy.testing import Proxy, SocketEnd, Upstream
from proxy_process import echo_server, wait_until
from services.process import HOST

MIB = 1 << 20


@pytest.fixture
def echo_port() -> Iterator[int]:
    with echo_server() as port:
        yield port


def endless(end: SocketEnd) -> None:
    while True:
        end.send(bytes(MIB))


def connections(proxy: Proxy) -> list[Connection]:
    return list(proxy.server.listeners[0].connections.values())


def test_a_client_that_resets_in_the_middle() -> None:
    with Proxy(upstream=endless) as proxy:
        client = proxy.connect()
        client.receive(4 * MIB)
        client.reset()
        (reason,) = proxy.wait_closed()
        assert str(reason) == "client:reset phase=relay errno=ECONNRESET"
        assert proxy.stat("l4proxy_server_connections_active") == 0
        assert proxy.failures == []


def test_a_client_that_resets_while_its_upload_is_stuck() -> None:
    with listening() as server, Proxy(upstream="{}:{}".format(*server.getsockname())) as proxy:
        client = proxy.connect()
        client.sock.setblocking(False)
        settled(lambda: fill(client.sock))
        client.reset()
        (reason,) = proxy.wait_closed()
        assert str(reason) == "client:reset phase=relay errno=ECONNRESET"
        assert proxy.failures == []


def fill(sock: socket.socket) -> int:
    """How many bytes a socket still takes."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(bytes(MIB))
    return sent


class Look(Filter[NoConfig]):
    """Reads everything, so that it is copied, and not moved by the kernel."""

    name = "look"

    def on_upstream_data(self, data: bytes) -> bytes:
        return data


@pytest.mark.parametrize(("filters", "chunk"), [((), PIPE_SIZE), ((Look,), READ_SIZE_MAX)], ids=["spliced", "copied"])
def test_clients_that_read_nothing_cost_little_and_lose_nothing(filters: tuple[type[Look], ...], chunk: int) -> None:
    data = bytes(range(256)) * (64 << 12)
    limit = 64 * 1024
    with Proxy(*filters, upstream=lambda end: end.send(data), buffer_limit=limit) as proxy:
        clients = [proxy.connect() for _ in range(4)]
        assert 0 < settled(lambda: held(proxy)) <= len(clients) * (limit + chunk)
        for client in clients:
            assert hashlib.sha256(client.receive_all()).digest() == hashlib.sha256(data).digest()
            client.close()
        assert {str(reason) for reason in proxy.wait_closed(4)} == {"upstream:eof phase=relay"}


def held(proxy: Proxy) -> int:
    """Bytes that the proxy holds for its clients."""
    return proxy.call(lambda: sum(connection.client.buffered for connection in connections(proxy)))


def settled(measure: Callable[[], int]) -> int:
    """A value, once it no longer changes."""
    last = [measure()]

    def is_still() -> bool:
        last.append(measure())
        return len(last) > 20 and len(set(last[-10:])) == 1

    wait_until(is_still, "it no longer changes")
    return last[-1]


def test_a_client_that_sends_one_byte_at_a_time() -> None:
    with Proxy() as proxy, proxy.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(1000):
            client.send(bytes([at % 256]))
            assert client.receive(1) == bytes([at % 256])


def test_a_client_that_says_nothing_where_it_has_to(echo_port: int, tmp_path: Path) -> None:
    chain = {"match": {"http1": True}, "filters": [{"use": "tcp_proxy", "cluster": "up"}]}
    listener = {"filters": [], "filter_chains": [chain], "peek_timeout": "200ms"}
    with between(tmp_path, echo_port, listener=listener) as proxy:
        for says in (b"", b"GET"):
            with socket.create_connection((HOST, proxy.port), timeout=30) as client:
                client.sendall(says)
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
        proxy.ended("proxy:peek_timeout", "phase=peek", times=2)


def test_a_client_that_says_nothing_where_it_may(echo_port: int, tmp_path: Path) -> None:
    with between(tmp_path, echo_port, idle_timeout="300ms") as proxy:
        with socket.create_connection((HOST, proxy.port), timeout=30) as client:
            assert client.recv(1) == b""
        proxy.ended("proxy:idle_timeout", "phase=relay")


def test_a_client_that_leaves_at_once_while_the_upstream_is_being_connected(tmp_path: Path) -> None:
    with black_hole() as upstream, between(tmp_path, upstream, cluster={"connect_timeout": "10s"}) as proxy:
        client = SocketEnd(socket.create_connection((HOST, proxy.port)))
        client.reset()
        proxy.ended("client:reset", "phase=connecting")


def test_a_connection_lasts_no_longer_than_it_may_and_does_not_look_complete(tmp_path: Path) -> None:
    with (
        contextlib.closing(Upstream(endless)) as upstream,
        between(tmp_path, upstream.address[1], max_connection_duration="300ms") as proxy,
    ):
        with socket.create_connection((HOST, proxy.port), timeout=30) as client, pytest.raises(ConnectionResetError):
            SocketEnd(client).receive_all()
        proxy.ended("proxy:max_connection_duration", "flags=DT")
