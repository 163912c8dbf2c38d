"""The README: its filter has nine lines, its ten configurations do their jobs, its program serves."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import shutil
import ssl
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from clusters import refused
from docs.pages import blocks
from http_peers import Client, ok, upstream
from kafka_broker import Client as KafkaClient
from kafka_broker import cluster as brokers
from l4proxy.cli.main import main
from l4proxy.plugin_manager import load_plugins
from l4proxy.protocols.proxy_protocol import encode_v1, read_header
from l4proxy.server import Server, serve
from services.certs import Authority, Certs
from services.postgres import PostgresServer
from services.process import accepts, free_port, neighbouring_ports, running
from services.redis import RedisServer
from source_tree import ROOT

SHOUT, PROGRAM = (block.text for block in blocks("README.md", "python"))
JOBS = {block.heading: block.text for block in blocks("README.md", "toml")}
TRIED: set[str] = set()

Config = dict[str, Any]


def of_job(heading: str) -> pytest.MarkDecorator:
    """Give a test the configuration under a heading, as ``config``."""
    TRIED.add(heading)
    return pytest.mark.parametrize("config", [heading], indirect=True, ids=[""])


@pytest.fixture
def config(request: pytest.FixtureRequest) -> Config:
    parsed = tomllib.loads(JOBS[request.param])
    (listener,) = parsed["listeners"]
    listener.update(name="l", address="127.0.0.1:0")
    return parsed


# The page


def test_the_filter_has_nine_lines_and_is_the_installed_example() -> None:
    assert len([line for line in SHOUT.splitlines() if line]) == 9
    assert (ROOT / "contrib/l4proxy-shout/l4proxy_shout.py").read_text().endswith(SHOUT)


def test_the_filter_works_from_a_directory(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(SHOUT)
    plugins = load_plugins(plugin_dirs=[tmp_path], environ={"L4PROXY_LOAD_PLUGINS": ""})

    async def conversation() -> None:
        listener = {"name": "l", "address": "127.0.0.1:0", "filters": ["shout", "echo"]}
        async with serve({"listeners": [listener]}, plugins=plugins) as server:
            assert await ask(server, until=b"HELLO") == b"HELLO"

    asyncio.run(conversation())


def test_the_program_serves() -> None:
    module: dict[str, Any] = {"__name__": "readme"}
    exec(PROGRAM, module)

    async def conversation() -> None:
        async with serve(module["CONFIG"]) as server:
            assert server.addresses["web"][0].port

    asyncio.run(conversation())


def test_the_first_minute(postgres: PostgresServer, tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "l4proxy", "tcp", f"127.0.0.1:{port}", postgres.address, "--access-log", "-"]
    log = tmp_path / "log"
    with running(argv, log=log, ready=lambda: accepts(port)):
        assert postgres.query("select 6 * 7", port=port) == "42"
    assert f"> upstream {postgres.address}" in log.read_text()


@pytest.mark.parametrize("heading", JOBS)
def test_a_job_is_right(heading: str, certs: Certs, tmp_path: Path) -> None:
    shutil.copy(certs.server.cert, tmp_path / "cert.pem")
    shutil.copy(certs.server.key, tmp_path / "key.pem")
    file = tmp_path / "l4proxy.toml"
    file.write_text(JOBS[heading])
    assert main(["check", str(file)]) == 0


def test_there_are_ten_jobs_and_each_is_tried() -> None:
    assert len(JOBS) == 10
    assert set(JOBS) == TRIED


# Servers and clients for the jobs


class StandIn:
    """A server that says its name and a colon, and then sends back what it is sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients = 0
        self.received = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        with contextlib.suppress(ConnectionError):
            writer.write(f"{self.name}:".encode())
            while data := await reader.read(65536):
                self.received += data
                writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def proxy(
    config: Config, *, gone: Collection[str] = (), tls: Mapping[str, ssl.SSLContext] | None = None
) -> AsyncIterator[tuple[Server, dict[str, StandIn]]]:
    """The configuration at work, and what stands in for its endpoints, by the address that the page says.

    Nobody listens at the endpoints that are ``gone``; the clusters in ``tls`` speak TLS.
    """
    stand_ins: dict[str, StandIn] = {}
    async with contextlib.AsyncExitStack() as stack:
        for cluster in config["clusters"]:
            for at, address in enumerate(cluster["endpoints"]):
                stand_in = stand_ins[address] = StandIn(cluster["name"])
                context = (tls or {}).get(cluster["name"])
                listening = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0, ssl=context)
                cluster["endpoints"][at] = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
                if address in gone:
                    listening.close()
                stack.callback(listening.close)
        yield await stack.enter_async_context(serve(config)), stand_ins


async def connect(server: Server, *, at: int = 0, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = server.addresses["l"][at]
    return await asyncio.open_connection(address.host, address.port, **tls)


async def ask(server: Server, text: bytes = b"hello", *, until: bytes = b"", at: int = 0, **tls: Any) -> bytes:
    """What a client gets for ``text``, until ``until`` (or the same text) has come back or the connection is closed."""
    reader, writer = await connect(server, at=at, **tls)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(text)
        while not answer.endswith(until or text) and (data := await reader.read(65536)):
            answer += data
    writer.close()
    return answer


def server_context(authority: Authority, *names: str) -> ssl.SSLContext:
    issued = authority.issue(names[0], names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    return context


def talk(conversation: Callable[[], Any]) -> None:
    asyncio.run(conversation())


# The jobs


@of_job("PostgreSQL with two replicas")
def test_replicas_share_the_sessions(config: Config) -> None:
    async def conversation() -> None:
        async with proxy(config) as (server, stand_ins):
            clients = [await connect(server) for _ in range(4)]
            for reader, _ in clients:
                assert await reader.readuntil(b":") == b"replicas:"
            assert [stand_in.clients for stand_in in stand_ins.values()] == [2, 2]
            for _, writer in clients:
                writer.close()

    talk(conversation)


@of_job("PostgreSQL with two replicas")
def test_a_replica_that_is_gone_is_not_noticed(config: Config) -> None:
    async def conversation() -> None:
        async with proxy(config, gone={"10.0.0.11:5432"}) as (server, _):
            for _ in range(4):
                assert await ask(server) == b"replicas:hello"

    talk(conversation)


@of_job("An API and a website")
def test_requests_go_where_their_path_says(config: Config) -> None:
    async def conversation() -> None:
        async with upstream(ok(b"api")) as api, upstream(ok(b"site" * 1000, "Content-Type: text/html")) as site:
            config["clusters"][0]["endpoints"] = [f"127.0.0.1:{api.port}", refused()]
            config["clusters"][1]["endpoints"] = [f"127.0.0.1:{site.port}"]
            async with serve(config) as server:
                reader, writer = await connect(server)
                client = Client(reader, writer)
                for _ in range(4):
                    assert (await client.get("/api/users")).body == b"api"
                reply = await client.get("/", "Accept-Encoding: gzip")
                assert gzip.decompress(reply.body) == b"site" * 1000
                writer.close()

    talk(conversation)


@of_job("Redis, each key at its own server")
def test_keys_are_divided_among_the_servers(config: Config, redis_three: list[RedisServer]) -> None:
    config["clusters"][0]["endpoints"] = [server.address for server in redis_three]
    for server in redis_three:
        server.command("FLUSHALL")
    keys = [f"key{number}" for number in range(60)]

    async def conversation() -> None:
        async with serve(config) as server:
            port = server.addresses["l"][0].port

            async def ask(*words: str) -> str:
                return await asyncio.to_thread(redis_three[0].command, *words, port=port)

            assert await ask("MSET", *(word for key in keys for word in (key, f"of {key}"))) == "OK"
            assert (await ask("MGET", *keys)).splitlines() == [f"of {key}" for key in keys]
            assert await ask("DBSIZE") == "60"
            assert "FLUSHALL" in await ask("FLUSHALL")

    talk(conversation)
    sizes = [int(server.command("DBSIZE")) for server in redis_three]
    assert sum(sizes) == 60
    assert all(sizes)


@of_job("A Kafka cluster")
def test_clients_are_told_the_proxys_addresses(config: Config) -> None:
    first = neighbouring_ports(4)
    config["listeners"][0]["address"] = f"127.0.0.1:{first}-{first + 3}"
    config["admin"]["address"] = "127.0.0.1:0"

    async def conversation() -> None:
        async with brokers(0, 1) as both:
            config["clusters"][0]["endpoints"] = [f"127.0.0.1:{port}" for port in both.bootstrap]
            async with serve(config) as server:
                client = await KafkaClient.connect(first)
                told = (await client.ask("Metadata", 9, topics=[]))["brokers"]
                assert {(one["node_id"], one["port"]) for one in told} == {(0, first + 1), (1, first + 2)}
                await client.close()
                counted = server.stats.snapshot()["l4proxy_kafka_requests_total"]["samples"]
                assert [one["value"] for one in counted if "Metadata" in one["labels"]] == [1]

    talk(conversation)


@of_job("TLS in front of a server that has none")
def test_tls_is_terminated(config: Config, certs: Certs) -> None:
    config["listeners"][0]["tls"].update(cert=str(certs.server.cert), key=str(certs.server.key))
    context = ssl.create_default_context(cafile=str(certs.ca))
    context.set_alpn_protocols(["http/1.1"])

    async def conversation() -> None:
        async with proxy(config) as (server, _):
            assert await ask(server, ssl=context, server_hostname="localhost") == b"app:hello"

    talk(conversation)


@of_job("TLS passed through, routed by server name")
def test_tls_is_routed_by_name(config: Config, authority: Authority) -> None:
    tls = {"shop": server_context(authority, "a.shop.example"), "rest": server_context(authority, "rest.example")}
    context = ssl.create_default_context(cafile=str(authority.cert))

    async def conversation() -> None:
        async with proxy(config, tls=tls) as (server, _):
            assert await ask(server, ssl=context, server_hostname="a.shop.example") == b"shop:hello"
            assert await ask(server, ssl=context, server_hostname="rest.example") == b"rest:hello"
            assert await ask(server, b"GET / HTTP/1.1\r\n\r\n") == b""

    talk(conversation)


@of_job("One port for SSH, HTTPS and HTTP")
def test_one_port_for_three_protocols(config: Config, authority: Authority) -> None:
    config["listeners"][0]["peek_timeout"] = "200ms"
    tls = {"https": server_context(authority, "web.example")}
    context = ssl.create_default_context(cafile=str(authority.cert))

    async def conversation() -> None:
        async with proxy(config, tls=tls) as (server, _):
            assert await ask(server, ssl=context, server_hostname="web.example") == b"https:hello"
            assert (await ask(server, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"http:GET /")
            assert await ask(server, b"SSH-2.0-client\r\n") == b"sshd:SSH-2.0-client\r\n"
            assert await ask(server, b"", until=b":") == b"sshd:", "a client that waits"

    talk(conversation)


@of_job("Limits at the edge")
def test_one_client_gets_so_many_connections(config: Config) -> None:
    async def conversation() -> None:
        async with proxy(config) as (server, _):
            clients = [await connect(server) for _ in range(20)]
            for reader, _ in clients:
                assert await reader.readuntil(b":") == b"mail:"
            assert await ask(server) == b""
            for _, writer in clients:
                writer.close()
            closed = server.listeners[0].stats.closed_total
            assert closed["connection_limit"] == 1
            for _ in range(1000):
                if not closed["rate_limited"]:
                    await ask(server)
            assert closed["rate_limited"] == 1

    talk(conversation)


@of_job("A new version gets one connection in ten")
def test_the_new_version_gets_its_share(config: Config) -> None:
    async def conversation() -> None:
        async with proxy(config) as (server, _):
            answers = [await ask(server) for _ in range(300)]
            assert 0 < answers.count(b"green:hello") < 100
            assert answers.count(b"blue:hello") == 300 - answers.count(b"green:hello")

    talk(conversation)


@of_job("Behind a load balancer")
def test_the_load_balancer_says_who_the_client_is(config: Config) -> None:
    header = encode_v1(("192.0.2.7", 40000), ("192.0.2.1", 443))

    async def conversation() -> None:
        async with proxy(config) as (server, stand_ins):
            assert await ask(server, header + b"hello") == b"", "it does not come from a network that is trusted"
            assert not stand_ins["127.0.0.1:8081"].clients
        config["listeners"][0]["preambles"][0]["trusted"] = ["127.0.0.0/8"]
        config["clusters"][0]["endpoints"] = ["again"]
        async with proxy(config) as (server, stand_ins):
            assert (await ask(server, header + b"hello", until=b"hello")).endswith(b"hello")
            told = read_header(stand_ins["again"].received)
            assert told
            assert (told.source, told.destination) == (("192.0.2.7", 40000), ("192.0.2.1", 443))

    talk(conversation)
