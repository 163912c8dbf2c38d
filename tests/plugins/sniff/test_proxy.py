from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from l4proxy.errors import ConfigError
from l4proxy.plugins.sniff.options import add_options
from l4proxy.plugins.sniff.proxy import ProxySource, usual_places, with_port
from l4proxy.plugins.sniff.sight import Sight
from line_inspector import LineInspector
from services.process import neighbouring_ports
from sniffing import Seen, plugins, sight_of


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser, LineInspector)
    return parser.parse_args(words)


@asynccontextmanager
async def line_server() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"OK " + line.partition(b" ")[2])
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def watch(source: ProxySource, sight: Sight, seen: Seen) -> str:
    """A client speaks to the proxy; returns the title."""
    title = await source.open(sight)
    try:
        address = title.split()[3].rstrip(",")
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET a\nQUIET b\n")
        assert await reader.readline() == b"OK a\n"
        await until(lambda: len(seen.exchanges) == 2)
        writer.close()
    finally:
        await source.close()
    return title


def test_clients_are_watched_on_their_way() -> None:
    async def main() -> None:
        async with line_server() as port:
            sight, seen = sight_of(begin=False)
            source = ProxySource(arguments(f"127.0.0.1:{port}", "--listen", "127.0.0.1:0"), plugins())
            title = await watch(source, sight, seen)
            assert title.endswith(f", which goes on to 127.0.0.1:{port}")
            assert sorted(seen.lines) == ["GET asked=a answer=a", "QUIET asked=b"]
            assert seen.exchanges[-1].link.server is not None
            assert seen.exchanges[-1].link.server.port == port
            assert dict(source.facts()) == {"accepted": "1"}
            assert source.now() > source.began() > 0
            assert sight.registry.snapshot()["l4proxy_listener_connections_total"]["samples"][0]["value"] == 1
            assert sight.watch.active == set()

    asyncio.run(main())


def test_it_listens_where_one_can_guess_and_elsewhere_if_that_is_taken() -> None:
    async def main() -> None:
        async with line_server() as port:
            ports = []
            taken = None
            for _ in range(2):
                sight, seen = sight_of(begin=False)
                title = await watch(ProxySource(arguments(f"127.0.0.1:{port}"), plugins()), sight, seen)
                ports.append(int(title.split()[3].rstrip(",").rpartition(":")[2]))
                if port + 10_000 < 65536 and taken is None:
                    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port + 10_000)
            if taken is not None:
                taken.close()
                assert ports[0] == port + 10_000
                assert ports[1] != port + 10_000

    asyncio.run(main())


@pytest.mark.parametrize(
    ("port", "more", "first", "count"),
    [
        (6379, 0, 16379, 1),
        (55535, 0, 65535, 1),
        (55536, 0, 45536, 1),
        (9092, 100, 19092, 50),
        (55435, 100, 65435, 1),
        (55436, 100, 45436, 50),
        (65535, 100, 55535, 50),
    ],
)
def test_where_it_tries_to_listen(port: int, more: int, first: int, count: int) -> None:
    places = [int(place.rpartition(":")[2]) for place in usual_places(f"a.test:{port}", more)]
    assert places[:count] == list(range(first, 65536, more + 1))[:count]
    assert places[count:] == ([] if more else [0])
    assert all(place + more <= 65535 and not place <= port <= place + more for place in places)


def test_any_port_where_the_server_has_none() -> None:
    assert usual_places("unix:/run/a", 0) == ["127.0.0.1:0"]


class Spread(LineInspector):
    more_ports = 2


def test_a_protocol_that_tells_servers_apart_by_port_has_more_of_them() -> None:
    """People are told the first; where one is taken, other ones next to each other are found."""

    async def main() -> None:
        first = neighbouring_ports(6)
        async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", first + 1):
            sight, _ = sight_of(begin=False, inspector=Spread)
            source = ProxySource(arguments(f"127.0.0.1:{first - 10_000}"), plugins())
            title = await source.open(sight)
            assert title.startswith(f"connect clients to 127.0.0.1:{first + 3}, which goes on to 127.0.0.1:")
            assert source._server is not None
            (bound,) = source._server.addresses.values()
            assert [address.port for address in bound] == [first + 3, first + 4, first + 5]
            await source.close()
        sight, _ = sight_of(begin=False, inspector=Spread)
        source = ProxySource(arguments("127.0.0.1:1", "--listen", f"127.0.0.1:{first}"), plugins())
        assert f"127.0.0.1:{first}," in await source.open(sight)
        await source.close()

    asyncio.run(main())


@pytest.mark.parametrize(("words", "problem"), [
    (["127.0.0.1:1", "--listen", "nowhere"], "--listen: 'nowhere' has no port"),
    (["a b:1"], "UPSTREAM: 'a b:1': 'a b' is not a host name"),
    (["127.0.0.1:1", "--use", "nix"], r"--use nix: unknown filter 'nix'"),
    (["127.0.0.1:1", "--use", "connection_limit:max_connections=5", "--use", "connection_limit:max=5"],
     r"--use connection_limit:max=5: max: unknown key"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_the_words_of_the_options(words: list[str], problem: str) -> None:
    async def main() -> None:
        sight, _ = sight_of(begin=False)
        source = ProxySource(arguments(*words), plugins())
        try:
            await source.open(sight)
        finally:
            await source.close()

    with pytest.raises(ConfigError, match=problem):
        asyncio.run(main())


@pytest.mark.parametrize(("text", "address"), [
    ("cache", "cache:7777"), ("cache:1", "cache:1"), ("192.0.2.1", "192.0.2.1:7777"), ("[::1]", "[::1]:7777"),
    ("::1", "[::1]:7777"), ("unix:/a", "unix:/a"), ("a b", "a b"),
])  # fmt: skip
def test_a_server_without_a_port_has_the_usual_one(text: str, address: str) -> None:
    assert with_port(text, LineInspector) == address


def test_a_protocol_without_a_usual_port() -> None:
    class Unusual(LineInspector):
        ports = ()

    assert with_port("cache", Unusual) == "cache"
