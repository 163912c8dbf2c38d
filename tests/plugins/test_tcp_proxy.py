from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from clusters import refused, run
from l4proxy import ConfigError, Filter, NoConfig, PeekInfo
from l4proxy.cluster_manager import NoSuchCluster
from l4proxy.connect import ConnectRequest
from l4proxy.plugins.tcp_proxy import ClusterChoice, TcpProxy
from l4proxy.protocols.proxy_protocol import ProxyHeader, read_header
from l4proxy.testing import harness, use
from memory_cluster import MemoryCluster, memory_cluster
from proxying import HOST, exchange, proxy, server
from services.haproxy import HaproxyServer
from services.nginx import NginxServer

__all__ = ["memory_cluster"]

# Where it goes


def shares(**weights: int) -> Counter[str]:
    """Where ten thousand connections go."""
    weighted = [{"cluster": name, "weight": weight} for name, weight in weights.items()]
    config = use(TcpProxy, weighted_clusters=weighted)[1]
    choice = ClusterChoice(config, cast(Any, None))
    return Counter(choice.choose() for _ in range(10_000))


@pytest.mark.parametrize(
    "weights", [{"a": 1}, {"a": 1, "b": 1}, {"a": 90, "b": 9, "c": 1}, {"a": 0, "b": 3, "c": 0}, {"a": 7, "b": 0}]
)
def test_weighted_clusters_get_their_shares(weights: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", random.Random(1).random)
    found = shares(**weights)
    for name, weight in weights.items():
        expected = 10_000 * weight / sum(weights.values())
        assert abs(found[name] - expected) <= 4 * expected**0.5, "four standard deviations"


class Choose(Filter[NoConfig]):
    name = "choose"

    def on_connect(self) -> None:
        self.conn.choose_upstream("other")


def test_a_filter_before_it_may_choose_another_cluster(memory_cluster: MemoryCluster) -> None:
    h = memory_cluster.start(use(Choose), use(TcpProxy, cluster="c"))
    assert (h.connection.cluster, h.connection.endpoint) == ("other", "192.0.2.3:3")


def test_a_cluster_that_a_reload_has_removed(memory_cluster: MemoryCluster) -> None:
    def find(name: str) -> Any:
        raise NoSuchCluster("NC", "no_cluster", f"no cluster is called {name}")

    first = memory_cluster.start(use(TcpProxy, cluster="c"))
    first.clusters.find = find
    h = first.another()
    assert h.closed is not None
    assert (h.closed.detail, h.closed.flags, h.closed.message) == ("no_cluster", ("NC",), "no cluster is called c")


# Hash policies


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ConnectRequest]:
    """What clusters are asked for."""
    asked: list[ConnectRequest] = []
    monkeypatch.setattr(TcpProxy, "forward", lambda _self, _cluster, request, _preface: asked.append(request))
    return asked


def client(host: str = "198.51.100.1", port: int = 40000, server_name: str = "", to: int = 80) -> PeekInfo:
    info = PeekInfo((host, port), ("192.0.2.1", to))
    info.server_name = server_name
    return info


@pytest.mark.parametrize(
    ("policy", "same", "different"),
    [
        (["source_ip"], client(port=40001, server_name="a", to=81), client("198.51.100.2")),
        (["server_name"], client("198.51.100.2", 2, to=81), client(server_name="a.test")),
        (["port"], client("198.51.100.2", 2, "a.test"), client(to=81)),
        (["source_ip", "port"], client(port=2, server_name="a.test"), client(to=81)),
        (["source_ip", "port"], client(port=2, server_name="a.test"), client("198.51.100.2")),
    ],
)
def test_a_hash_policy_looks_at_what_it_names_alone(
    policy: list[str], same: PeekInfo, different: PeekInfo, memory_cluster: MemoryCluster, requests: list[Any]
) -> None:
    h = memory_cluster.start(use(TcpProxy, cluster="c", hash_policy=policy), info=client())
    h.another(info=same)
    h.another(info=different)
    keys = [request.hash_key for request in requests]
    assert keys[0] == keys[1] != keys[2]


def test_hash_keys_are_the_same_in_every_version(memory_cluster: MemoryCluster, requests: list[Any]) -> None:
    """A proxy that is upgraded beside others must not send their clients elsewhere."""
    policy = ["source_ip", "server_name", "port"]
    memory_cluster.start(use(TcpProxy, cluster="c", hash_policy=policy), info=client(server_name="a.test"))
    assert requests[0].hash_key == 15051196840977318974


def test_without_a_hash_policy_there_is_no_key(memory_cluster: MemoryCluster, requests: list[Any]) -> None:
    memory_cluster.start(use(TcpProxy, cluster="c"), info=client(server_name="a.test"))
    (request,) = requests
    assert (request.hash_key, request.server_name, request.original_destination) == (
        None, "a.test", ("192.0.2.1", 80),
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
def test_a_source_stays_with_its_endpoint_in_every_process(policy: str) -> None:
    async def name(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("sockname")[1]).encode())

    async def ask(port: int, source: str) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, port, local_addr=(source, 0))
        answer = await reader.read()
        writer.close()
        return answer

    async def main() -> None:
        tcp_proxy = {"use": "tcp_proxy", "cluster": "up", "hash_policy": ["source_ip"]}
        sources = [f"127.0.0.{n}" for n in range(2, 22)]
        async with contextlib.AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(server(name)) for _ in range(4)]
            seen = []
            for _ in range(2):
                async with proxy(tcp_proxy, upstreams=ports, cluster={"load_balancer": policy}) as running:
                    seen += [[await ask(running.port, source) for source in sources] for _ in range(2)]
            assert seen.count(seen[0]) == 4
            assert len(set(seen[0])) > 1

    run(main)


# The PROXY protocol towards the upstream


def header_for(where: MemoryCluster, version: str, info: PeekInfo) -> ProxyHeader:
    h = where.start(use(TcpProxy, cluster="c", proxy_protocol=version), info=info)
    h.client.send(b"hello")
    (upstream,) = where.ends
    header = read_header(upstream.received)
    assert header is not None
    assert upstream.received[header.size :] == b"hello"
    assert f"v{header.version}" == version
    return header


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("source", "destination", "told"),
    [
        ("203.0.113.7", "192.0.2.1", ("203.0.113.7", "192.0.2.1")),
        ("2001:db8::7", "2001:db8::1", ("2001:db8::7", "2001:db8::1")),
        ("::ffff:203.0.113.7", "::ffff:192.0.2.1", ("203.0.113.7", "192.0.2.1")),
        ("::ffff:203.0.113.7", "192.0.2.1", ("203.0.113.7", "192.0.2.1")),
        ("2001:db8::7", "192.0.2.1", ("2001:db8::7", "::ffff:192.0.2.1")),
        ("203.0.113.7", "2001:db8::1", ("::ffff:203.0.113.7", "2001:db8::1")),
        ("fe80::7%eth0", "fe80::1%eth0", ("fe80::7", "fe80::1")),
    ],
)
def test_the_upstream_is_told_who_the_client_is(
    version: str, source: str, destination: str, told: tuple[str, str], memory_cluster: MemoryCluster
) -> None:
    header = header_for(memory_cluster, version, PeekInfo((source, 40000), (destination, 443)))
    assert (header.source, header.destination) == ((told[0], 40000), (told[1], 443))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_client_of_a_unix_socket_is_unknown(version: str, memory_cluster: MemoryCluster) -> None:
    header = header_for(memory_cluster, version, PeekInfo(("", 0), ("", 0)))
    assert (header.source, header.destination) == (None, None)


def test_what_a_proxy_header_told_us_is_told_on(memory_cluster: MemoryCluster) -> None:
    info = PeekInfo(("10.0.0.9", 1), ("10.0.0.1", 2))
    info.source, info.destination = ("203.0.113.7", 40000), ("192.0.2.1", 443)
    assert header_for(memory_cluster, "v2", info).source == ("203.0.113.7", 40000)


class Greet(Filter[NoConfig]):
    """Sends something before anything is connected."""

    name = "greet"

    def on_connect(self) -> None:
        self.conn.send_upstream(b"hello ")


def test_the_header_stands_before_what_filters_have_sent(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = memory_cluster.start(use(Greet), use(TcpProxy, cluster="c", proxy_protocol="v1"))
    h.client.send(b"world")
    memory_cluster.accept_all()
    assert memory_cluster.ends[0].received == b"PROXY TCP4 198.51.100.1 192.0.2.1 40000 80\r\nhello world"


def test_an_upstream_that_resets_before_the_header_is_written(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = memory_cluster.start(use(TcpProxy, cluster="c", proxy_protocol="v1"))
    h.client.send(b"hello")
    memory_cluster.ends[0].sock.error = ConnectionResetError(104, "Connection reset by peer")
    memory_cluster.accept_all()
    assert h.closed is not None
    assert (h.closed.who, h.closed.detail) == ("upstream", "reset")
    assert h.client.got_reset


def source_by_nginx(connection: http.client.HTTPConnection) -> str:
    with contextlib.closing(connection):
        connection.request("GET", "/source")
        return connection.getresponse().read().decode()


class UnixHttp(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_is_told_also_of_unknown_clients(version: str, nginx: NginxServer, tmp_path: Path) -> None:
    def ask(port: int) -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
        connection.connect()
        host, source_port = connection.sock.getsockname()
        assert source_by_nginx(connection) == f"{host}:{source_port}\n"
        assert source_by_nginx(UnixHttp(tmp_path / "s")) == ":\n"

    async def main() -> None:
        tcp_proxy = {"use": "tcp_proxy", "cluster": "up", "proxy_protocol": version}
        addresses = [f"{HOST}:0", f"unix:{tmp_path}/s"]
        async with proxy(tcp_proxy, upstreams=[nginx.proxy_protocol_port], listener={"address": addresses}) as running:
            await asyncio.to_thread(ask, running.port)

    run(main)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_understands_it(version: str, start_haproxy: Callable[..., HaproxyServer], tmp_path: Path) -> None:
    """HAProxy takes our header off, and tells the last server by one of its own what it has read."""
    headers: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers.append(await reader.readuntil(b"\r\n"))
        writer.write(await reader.read(5))

    async def main() -> None:
        async with server(keep) as last:
            haproxy = await asyncio.to_thread(start_haproxy, last, "send-proxy", "accept-proxy")
            tcp_proxy = {"use": "tcp_proxy", "cluster": "up", "proxy_protocol": version}
            addresses = [f"{HOST}:0", f"unix:{tmp_path}/s"]
            async with proxy(tcp_proxy, upstreams=[haproxy.port], listener={"address": addresses}) as running:
                reader, writer = await asyncio.open_connection(HOST, running.port)
                _, port = writer.get_extra_info("sockname")
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
                assert headers == [f"PROXY TCP4 {HOST} {HOST} {port} {running.port}\r\n".encode()]
                reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()

    run(main)


# With real sockets


def test_a_second_endpoint_is_tried() -> None:
    async def main() -> None:
        tcp_proxy = {"use": "tcp_proxy", "cluster": "up", "max_connect_attempts": 2}
        async with server() as port:
            cluster = {"endpoints": [refused(), f"{HOST}:{port}"]}
            async with proxy(tcp_proxy, upstreams=[port], cluster=cluster) as running:
                assert [await exchange(running.port, b"hello") for _ in range(4)] == [b"hello"] * 4
                assert running.value("l4proxy_cluster_retries_total", cluster="up") > 0

    run(main)


def test_large_transfers_both_ways() -> None:
    data = random.Random(1).randbytes(5_000_000)

    async def main() -> None:
        tcp_proxy = {"use": "tcp_proxy", "cluster": "up", "proxy_protocol": "off"}
        async with server() as port, proxy(tcp_proxy, upstreams=[port]) as running:
            assert await asyncio.gather(*[exchange(running.port, data) for _ in range(3)]) == [data] * 3

    run(main)


# Options


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "cluster: write cluster, or weighted_clusters"),
        ({"cluster": "c", "weighted_clusters": [{"cluster": "d"}]}, "not both"),
        ({"weighted_clusters": [{"cluster": "c", "weight": 0}]}, "at least one weight must be above 0"),
        ({"weighted_clusters": [{"cluster": "c", "weight": -1}]}, "weight: -1 is out of range"),
        ({"cluster": "c", "max_connect_attempts": 0}, "max_connect_attempts: 0 is out of range"),
        ({"cluster": "c", "hash_policy": ["source"]}, "did you mean 'source_ip'"),
        ({"cluster": "c", "proxy_protocol": "v3"}, "unknown value 'v3'"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(TcpProxy, **options)


def test_all_weighted_clusters_have_to_be_configured() -> None:
    async def main() -> None:
        weighted = [{"cluster": "up"}, {"cluster": "upp"}]
        with pytest.raises(ConfigError, match=r"weighted_clusters\[1\]\.cluster.*did you mean 'up'"):
            async with proxy({"use": "tcp_proxy", "weighted_clusters": weighted}, upstreams=[1]):
                pass

    run(main)
