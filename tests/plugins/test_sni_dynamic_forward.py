from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clusters import refused, run, until
from dns_server import DnsServer, name_server
from l4proxy import ConfigError
from l4proxy.config import load_mapping
from l4proxy.config.types import Use
from l4proxy.plugin_manager import load_plugins
from l4proxy.plugins.sni_dynamic_forward import SniDynamicForward
from l4proxy.testing import harness
from proxying import HOST, Proxy, exchange, proxy, server
from services.certs import Certs
from services.nginx import NginxServer


def client_hello(server_name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@contextlib.asynccontextmanager
async def gateway(port: int, **options: Any) -> AsyncIterator[tuple[Proxy, DnsServer]]:
    """A proxy that forwards ``*.test`` to ``port``, and the name server that it asks."""
    async with name_server() as names:
        filter_options = {"allow": ["*.test"], "allow_private": True, "servers": [str(names.address)], **options}
        chain = {"match": {"tls": True}, "filters": [{"use": "sni_dynamic_forward", "port": port, **filter_options}]}
        async with proxy(listener={"filters": (), "filter_chains": [chain]}) as running:
            yield running, names


async def forwarded(running: Proxy, server_name: str | None) -> bool:
    """Whether a client gets through to a server that echoes. If not, it is disconnected."""
    hello = client_hello(server_name)
    try:
        answer = await exchange(running.port, hello)
    except ConnectionError:
        return False
    assert answer in (hello, b"")
    return answer == hello


def refusals(running: Proxy) -> dict[str, int]:
    family = running.server.stats.snapshot()["l4proxy_sni_dynamic_forward_refused_total"]
    return {sample["labels"][1]: sample["value"] for sample in family["samples"]}  # type: ignore[misc]


def closed(running: Proxy) -> dict[str, int]:
    return running.server.listeners[0].stats.closed_total.values


def test_clients_get_to_the_hosts_that_they_name() -> None:
    async def main() -> None:
        async with server() as port, gateway(port) as (running, names):
            names.records |= {"a.test": ["60 A 127.0.0.1"], "b.a.test": ["60 A 127.0.0.1"]}
            assert await forwarded(running, "a.test")
            assert await forwarded(running, "A.Test")
            assert await forwarded(running, "b.a.test")
            assert sorted(set(names.queries)) == ["A a.test", "A b.a.test", "AAAA a.test", "AAAA b.a.test"]
            assert len(names.queries) == 4, "each name is looked up once"
            stats = {"cluster": "sni_dynamic_forward"}
            assert running.value("l4proxy_cluster_connections_total", **stats) == 3
            assert running.value("l4proxy_endpoint_connections_total", **stats, endpoint=f"a.test:{port}") == 2
            assert running.value("l4proxy_sni_dynamic_forward_names", name="sni_dynamic_forward") == 2

    run(main)


def test_who_names_another_host_or_none_is_refused() -> None:
    async def main() -> None:
        async with server() as port, gateway(port, allow=["a.test", "*.b.test"]) as (running, names):
            names.records |= {name: ["60 A 127.0.0.1"] for name in ("a.test", "b.test", "x.a.test", "x.b.test")}
            asked = ("a.test", "b.test", "x.a.test", "x.b.test", "a.test.evil.test", None)
            assert [await forwarded(running, name) for name in asked] == [True, False, False, True, False, False]
            assert refusals(running) == {"host_not_allowed": 3, "no_server_name": 1}
            assert {query.split()[1] for query in names.queries} == {"a.test", "x.b.test"}

    run(main)


@pytest.mark.parametrize(
    "record", ["A 127.0.0.1", "A 10.0.0.1", "A 169.254.169.254", "AAAA ::1", "AAAA ::ffff:127.0.0.1"]
)
def test_addresses_that_are_not_public_are_refused(record: str) -> None:
    async def main() -> None:
        async with server() as port, gateway(port, allow_private=False) as (running, names):
            names.records["a.test"] = [f"60 {record}"]
            assert not await forwarded(running, "a.test")
            assert refusals(running) == {"private_address": 1}
            assert running.value("l4proxy_cluster_connections_total", cluster="sni_dynamic_forward") == 0

    run(main)


def test_of_several_addresses_the_first_that_accepts() -> None:
    async def main() -> None:
        async with server() as port, gateway(port) as (running, names):
            names.records["a.test"] = ["60 AAAA ::1", "60 A 127.0.0.9", "60 A 127.0.0.1"]
            assert await forwarded(running, "a.test")

    run(main)


def test_names_that_cannot_be_looked_up() -> None:
    async def main() -> None:
        async with server() as port, gateway(port, connect_timeout="200ms") as (running, names):
            assert not await forwarded(running, "none.test")
            names.mood = "silent"
            assert not await forwarded(running, "silent.test")
            await until(lambda: sum(closed(running).values()) == 2)
            assert closed(running) == {"dns_not_found": 1, "dns_timeout": 1}
            asked = len(names.queries)
            assert not await forwarded(running, "none.test")
            assert len(names.queries) == asked, "that a name does not exist is kept for a while, too"

    run(main)


def test_hosts_that_refuse() -> None:
    async def main() -> None:
        async with gateway(int(refused().rpartition(":")[2])) as (running, names):
            names.records["a.test"] = ["60 A 127.0.0.1"]
            assert not await forwarded(running, "a.test")
            await until(lambda: closed(running) == {"connect_refused": 1})

    run(main)


def test_a_client_that_goes_while_its_host_is_looked_up() -> None:
    async def main() -> None:
        async with server() as port, gateway(port) as (running, names):
            names.mood = "silent"
            _, writer = await asyncio.open_connection(HOST, running.port)
            writer.write(client_hello("a.test"))
            await until(lambda: names.queries)
            reset = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.transport.abort()
            await until(lambda: closed(running) == {"reset": 1})

    run(main)


def test_many_clients_at_once_share_a_look_up() -> None:
    async def main() -> None:
        async with server() as port, gateway(port) as (running, names):
            names.records["a.test"] = ["60 A 127.0.0.1"]
            assert all(await asyncio.gather(*[forwarded(running, "a.test") for _ in range(20)]))
            assert sorted(names.queries) == ["A a.test", "AAAA a.test"]

    run(main)


def test_connections_and_their_cluster_survive_a_reload() -> None:
    async def main() -> None:
        async with server() as port, gateway(port) as (running, names):
            names.records["a.test"] = ["60 A 127.0.0.1"]
            hello = client_hello("a.test")
            reader, writer = await asyncio.open_connection(HOST, running.port)
            writer.write(hello)
            assert await reader.readexactly(len(hello)) == hello
            use = running.server.config.listeners[0].filter_chains[0].filters[0]
            changed = Use(use.name, dataclasses.replace(use.config, max_connections=7), cls=use.cls)
            chain = {"match": {"tls": True}, "filters": [changed]}
            listener = {"name": "test", "address": f"{HOST}:0", "filter_chains": [chain]}
            running.server.reload(load_mapping({"listeners": [listener]}, load_plugins().registry))
            writer.write(b"more")
            assert await reader.readexactly(4) == b"more"
            assert await forwarded(running, "a.test")
            stats = {"cluster": "sni_dynamic_forward"}
            assert running.value("l4proxy_cluster_connections_total", **stats) == 2
            assert running.value("l4proxy_cluster_connections_active", **stats) >= 1
            writer.close()

    run(main)


def test_real_tls_passes_through(nginx: NginxServer, certs: Certs) -> None:
    async def main() -> None:
        async with gateway(nginx.tls_port, allow=["localhost"]) as (running, names):
            names.records["localhost"] = ["60 A 127.0.0.1"]
            context = ssl.create_default_context(cafile=str(certs.ca))
            reader, writer = await asyncio.open_connection(HOST, running.port, ssl=context, server_hostname="localhost")
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"hello from nginx\n")
            writer.close()

    run(main)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "allow: is missing"),
        ({"allow": []}, "allow: name at least one host"),
        ({"allow": ["a.test", "*"]}, 'allow: "\\*" would let everybody connect to everything'),
        ({"allow": ["a.*"]}, "allow\\[0\\]: .*a star stands alone"),
        ({"allow": ["a.test"], "port": 0}, "port: 0 is out of range"),
        ({"allow": ["a.test"], "servers": ["dns.test:53"]}, "servers: .*not the address of a name server"),
        ({"allow": ["a.test"], "min_ttl": "1h"}, "min_ttl: must be more than 0 and at most max_ttl"),
        ({"allow": ["a.test"], "name": ""}, "name: cannot be empty"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(SniDynamicForward, **options)
