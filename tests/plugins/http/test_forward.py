from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clusters import refused, run, until
from dns_server import DnsServer, name_server
from http2_peers import h2_connect
from http_peers import Client, Reply, connect, http_proxy, ok, upstream
from l4proxy import ConfigError
from l4proxy.config.units import parse_network
from l4proxy.networks import NetworkSet
from proxying import HOST, Proxy, server
from services.certs import Certs
from services.needs import needs


@contextlib.asynccontextmanager
async def gateway(*ports: int, **options: Any) -> AsyncIterator[tuple[Proxy, DnsServer]]:
    """A forward proxy to ``*.test`` at these ports, and the name server that it asks."""
    http = options.pop("http", {})
    async with name_server() as names:
        forward = {
            "allow": ["*.test", "127.0.0.1"], "allow_private": True, "servers": [str(names.address)],
            "ports": list(ports), "connect_ports": list(ports), **options,
        }  # fmt: skip
        names.records["a.test"] = ["60 A 127.0.0.1"]
        async with http_proxy(routes=[{"forward": forward}], **http) as running:
            yield running, names


def refusals(running: Proxy) -> dict[str, int]:
    family = running.server.stats.snapshot()["l4proxy_http_forward_refused_total"]
    return {sample["labels"][1]: sample["value"] for sample in family["samples"]}  # type: ignore[misc]


async def ask(client: Client, line: str, *lines: str) -> Reply:
    client.send("".join(f"{one}\r\n" for one in (line, *lines, "")).encode())
    return await client.reply()


async def tunnel(client: Client, authority: str) -> Reply:
    """Ask for a tunnel; only the head of the answer is read where there is one."""
    client.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
    line, *lines = head[:-4].split("\r\n")
    return Reply(int(line.split()[1]), line, lines, b"")


def test_requests_go_to_the_host_that_they_name() -> None:
    async def conversation() -> None:
        async with upstream() as up, gateway(up.port) as (proxy, names), connect(proxy) as client:
            for host in ("a.test", "A.TEST.", "127.0.0.1"):
                line = f"GET http://{host}:{up.port}/a?b HTTP/1.1"
                fields = ("Host: other.test", "Proxy-Authorization: Basic eA==", "Authorization: x")
                assert (await ask(client, line, *fields)).status == 200
                seen = up.seen[-1]
                assert (seen.line, seen.field("host")) == ("GET /a?b HTTP/1.1", f"{host}:{up.port}")
                assert [seen.field(name) for name in ("proxy-authorization", "authorization")] == [None, "x"]
            assert up.connections == [2, 1], "one pool for each host, whose connections are kept"
            assert sorted(names.queries) == ["A a.test", "AAAA a.test"]
            assert refusals(proxy) == {}

    run(conversation)


def test_tunnels() -> None:
    async def conversation() -> None:
        async with server() as port, gateway(port) as (proxy, _):
            async with connect(proxy) as client:
                reply = await tunnel(client, f"a.test:{port}")
                assert reply.line == "HTTP/1.1 200 Connection Established"
                assert [reply.field(name) for name in ("content-length", "transfer-encoding")] == [None, None]
                for size in (1, 3_000_000):
                    client.send(bytes(size))
                    assert await client.reader.readexactly(size) == bytes(size)
                assert proxy.value("l4proxy_http_cluster_requests_active", cluster="forward") == 1
                client.writer.write_eof()
                assert await client.rest() == b""
            await until(lambda: proxy.value("l4proxy_http_cluster_requests_active", cluster="forward") == 0)
            await until(lambda: proxy.value("l4proxy_cluster_connections_active", cluster="forward") == 0)

    run(conversation)


def test_bytes_behind_connect_are_the_tunnels() -> None:
    async def conversation() -> None:
        async with server() as port, gateway(port) as (proxy, _), connect(proxy) as client:
            client.send(f"CONNECT a.test:{port} HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n".encode())
            await client.reader.readuntil(b"\r\n\r\n")
            assert await client.reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"

    run(conversation)


def test_a_server_that_speaks_first_and_ends() -> None:
    async def greets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def conversation() -> None:
        async with server(greets) as port, gateway(port) as (proxy, _), connect(proxy) as client:
            assert (await tunnel(client, f"a.test:{port}")).status == 200
            assert await client.rest() == b"hello"

    run(conversation)


def test_tunnels_over_http2() -> None:
    async def conversation() -> None:
        async with server() as port, gateway(port) as (proxy, _), h2_connect(proxy) as client:
            stream = client.send([(":method", "CONNECT"), (":authority", f"a.test:{port}")], end=False)
            await client.send_body(stream, b"through", end=True)
            reply = await client.reply(stream)
            assert (dict(reply.headers)[":status"], reply.body) == ("200", b"through")

    run(conversation)


@pytest.mark.parametrize(
    ("line", "status", "why"),
    [
        ("GET http://b.example/ HTTP/1.1", 403, "host_not_allowed"),
        ("GET http://a.test.evil/ HTTP/1.1", 403, "host_not_allowed"),
        ("GET http://127.0.0.2/ HTTP/1.1", 403, "host_not_allowed"),
        ("GET http://a.test:1/ HTTP/1.1", 403, "port_not_allowed"),
        ("GET http://a.test:99999/ HTTP/1.1", 400, "bad_host"),
        ("GET /origin-form HTTP/1.1", 403, "host_not_allowed"),
        ("CONNECT b.example:443 HTTP/1.1", 403, "host_not_allowed"),
        ("CONNECT a.test:25 HTTP/1.1", 403, "port_not_allowed"),
        ("CONNECT [::1]:443 HTTP/1.1", 403, "host_not_allowed"),
        ("CONNECT 2130706433:443 HTTP/1.1", 403, "host_not_allowed"),
    ],
)
def test_what_is_not_allowed(line: str, status: int, why: str) -> None:
    async def conversation() -> None:
        async with gateway(80, 443) as (proxy, names), connect(proxy) as client:
            reply = await ask(client, line, "Host: proxy.example")
            assert (reply.status, why in reply.body.decode()) == (status, True)
            assert refusals(proxy) == {why: 1}
            assert names.queries == [], "nobody is looked up who is not allowed"

    run(conversation)


def test_https_is_for_tunnels(certs: Certs) -> None:
    async def conversation() -> None:
        tls = {"cert": str(certs.server.cert), "key": str(certs.server.key)}
        context = ssl.create_default_context(cafile=certs.ca)
        context.set_alpn_protocols(["h2"])
        http = {"config": {"listener": {"tls": tls}}}
        async with gateway(80, http=http) as (proxy, _), h2_connect(proxy, context) as client:
            head = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")]
            reply = await client.reply(client.send(head))
            assert dict(reply.headers)[":status"] == "400"
            assert b"scheme_not_forwarded" in reply.body

    run(conversation)


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
@pytest.mark.parametrize("record", ["A 127.0.0.1", "A 169.254.169.254", "AAAA ::1", "AAAA ::ffff:10.0.0.1"])
def test_addresses_that_are_not_public_are_refused(record: str, method: str) -> None:
    async def conversation() -> None:
        async with server() as port, gateway(port, allow_private=False, allow=["*"]) as (proxy, names):
            names.records["a.test"] = [f"60 {record}"]
            async with connect(proxy) as client:
                target = f"a.test:{port}" if method == "CONNECT" else f"http://a.test:{port}/"
                reply = await ask(client, f"{method} {target} HTTP/1.1", "Host: a")
                assert (reply.status, "private_address" in reply.body.decode()) == (403, True)
            assert proxy.value("l4proxy_cluster_connections_total", cluster="forward") == 0

    run(conversation)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
def test_addresses_written_as_such_are_judged_too(host: str) -> None:
    async def conversation() -> None:
        async with gateway(80, allow_private=False, allow=["*"]) as (proxy, _), connect(proxy) as client:
            reply = await ask(client, f"GET http://{host}/ HTTP/1.1", "Host: a")
            assert (reply.status, "private_address" in reply.body.decode()) == (403, True)

    run(conversation)


def test_of_several_addresses_only_public_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    private = NetworkSet([parse_network("127.0.0.2/32")])
    monkeypatch.setattr("l4proxy.plugins.http.forward.private_networks", lambda: private)
    tried = []

    async def internal(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.append(writer)
        writer.close()

    async def conversation() -> None:
        async with (
            upstream() as up,
            await asyncio.start_server(internal, "127.0.0.2", up.port),
            gateway(up.port, allow_private=False) as (proxy, names),
            connect(proxy) as client,
        ):
            names.records["a.test"] = ["60 A 127.0.0.2", "60 A 127.0.0.1"]
            assert (await ask(client, f"GET http://a.test:{up.port}/ HTTP/1.1", "Host: a")).status == 200
        assert tried == []

    run(conversation)


def test_hosts_that_are_not_there() -> None:
    async def conversation() -> None:
        port = int(refused().rpartition(":")[2])
        async with gateway(port, connect_timeout="200ms") as (proxy, names), connect(proxy) as client:
            for line, why in (
                (f"GET http://none.test:{port}/ HTTP/1.1", "dns_not_found"),
                (f"CONNECT none.test:{port} HTTP/1.1", "dns_not_found"),
                (f"CONNECT a.test:{port} HTTP/1.1", "connect_refused"),
            ):
                reply = await ask(client, line, "Host: a")
                assert (reply.status, why in reply.body.decode()) == (503, True)
            names.mood = "silent"
            reply = await ask(client, f"GET http://slow.test:{port}/ HTTP/1.1", "Host: a")
            assert "dns_timeout" in reply.body.decode()

    run(conversation)


def test_no_tunnels_where_no_route_opens_them() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, connect(proxy) as client:
            reply = await ask(client, "CONNECT a.test:443 HTTP/1.1", "Host: a.test:443")
            assert (reply.status, "connect_not_allowed" in reply.body.decode()) == (405, True)
        async with gateway(80, connect_ports=[]) as (proxy, _), connect(proxy) as client:
            reply = await ask(client, "CONNECT a.test:443 HTTP/1.1", "Host: a.test:443")
            assert "port_not_allowed" in reply.body.decode()

    run(conversation)


def test_requests_do_not_go_round() -> None:
    async def conversation() -> None:
        async with upstream() as up, gateway(up.port, http={"via": "edge"}) as (proxy, _), connect(proxy) as client:
            line = f"GET http://a.test:{up.port}/ HTTP/1.1"
            assert (await ask(client, line, "Host: a", "Via: 1.1 other, 1.1 edges")).status == 200
            assert up.seen[0].field("via") == "1.1 other, 1.1 edges, 1.1 edge"
            reply = await ask(client, line, "Host: a", "Via: 1.1 edge, 1.1 other")
            assert (reply.status, "loop_detected" in reply.body.decode()) == (508, True)

    run(conversation)


def test_a_password_for_the_proxy() -> None:
    async def conversation() -> None:
        auth = {"use": "basic_auth", "users": {"ann": "secret"}, "proxy": True, "forward_user": ""}
        async with upstream() as up, gateway(up.port, http={"filters": [auth]}) as (proxy, _), connect(proxy) as client:
            line = f"GET http://a.test:{up.port}/ HTTP/1.1"
            reply = await ask(client, line, "Host: a", "Authorization: Basic YW5uOnNlY3JldA==")
            assert (reply.status, "Basic" in (reply.field("proxy-authenticate") or "")) == (407, True)
            reply = await ask(client, line, "Host: a", "Proxy-Authorization: Basic YW5uOnNlY3JldA==")
            assert (reply.status, up.seen[0].field("proxy-authorization")) == (200, None)
            assert (await ask(client, f"CONNECT a.test:{up.port} HTTP/1.1", "Host: a")).status == 407

    run(conversation)


@needs("curl")
def test_curl_through_it(certs: Certs) -> None:
    async def conversation() -> None:
        async def secure(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure")
            await writer.drain()
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certs.server.cert, certs.server.key)
        https = await asyncio.start_server(secure, HOST, 0, ssl=context)
        port = https.sockets[0].getsockname()[1]
        async with https, upstream(ok(b"plain")) as up, gateway(port, up.port) as (proxy, _):
            for url in (f"http://a.test:{up.port}/", f"https://a.test:{port}/"):
                command = ["curl", "-sk", "--noproxy", "", "-x", f"http://{HOST}:{proxy.port}", url]
                process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
                out, _ = await process.communicate()
                assert out == (b"plain" if url.startswith("http:") else b"secure")

    run(conversation)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"forward": {"allow": []}}, "name at least one host"),
        ({"forward": {"allow": ["a test"]}}, "not a host name"),
        ({"forward": {"allow": ["a.test"], "ports": [0]}}, "ports"),
        ({"forward": {"allow": ["a.test"], "servers": ["dns.test:53"]}}, "address of a name server"),
        ({"forward": {"allow": ["a.test"]}, "rewrite_host": "x"}, "not beside forward"),
        ({"forward": {"allow": ["a.test"]}, "cluster": "up"}, "not beside cluster"),
    ],
)
def test_bad_options(route: dict[str, Any], message: str) -> None:
    async def conversation() -> None:
        async with http_proxy("h:1", routes=[route]):
            pass

    with pytest.raises(ConfigError, match=message):
        run(conversation)


def test_two_routes_with_one_name() -> None:
    async def conversation() -> None:
        routes = [{"prefix": "/a", "forward": {"allow": ["a.test"]}}, {"forward": {"allow": ["b.test"]}}]
        async with http_proxy(routes=routes):
            pass

    with pytest.raises(ConfigError, match="another route has 'forward', with other options"):
        run(conversation)
