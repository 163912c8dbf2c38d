"""Connections to endpoints: how many, for how long, and what happens when there are no more."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from clusters import run, until
from http_peers import Seen, connect, http_proxy, ok, send, upstream
from proxying import Proxy
from proxying import proxy as make_proxy


class Held:
    """An endpoint that answers when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.begun = 0

    async def __call__(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.begun += 1
        await self.may.wait()
        await ok()(seen, reader, writer)


async def status_of(proxy: Proxy, target: str = "/") -> tuple[int, str]:
    async with connect(proxy) as client:
        reply = await client.get(target)
        return reply.status, reply.body.decode()


def active(proxy: Proxy, name: str) -> float:
    return proxy.value(f"l4proxy_http_cluster_requests_{name}", cluster="up")


def test_the_connection_used_last_is_used_next_and_the_others_grow_old() -> None:
    async def conversation() -> None:
        held = Held()
        async with upstream(held) as up, http_proxy(up, upstream={"idle_timeout": "400ms"}) as proxy:
            three = [asyncio.create_task(status_of(proxy)) for _ in range(3)]
            await until(lambda: held.begun == 3)
            held.may.set()
            await asyncio.gather(*three)
            for _ in range(5):
                await status_of(proxy)
            assert sorted(up.connections) == [1, 1, 6]
            await until(lambda: proxy.value("l4proxy_cluster_connections_active", cluster="up") == 0)

    run(conversation)


def test_a_connection_carries_so_many_requests_and_no_more() -> None:
    async def conversation() -> None:
        options = {"requests_per_connection": 2}
        async with upstream() as up, http_proxy(up, upstream=options) as proxy, connect(proxy) as client:
            for _ in range(5):
                assert (await client.get()).status == 200
            assert up.connections == [2, 2, 1]

    run(conversation)


def test_requests_wait_for_one_of_so_many_connections() -> None:
    async def conversation() -> None:
        held = Held()
        async with upstream(held) as up, http_proxy(up, upstream={"max_connections": 2}) as proxy:
            replies = [asyncio.create_task(status_of(proxy)) for _ in range(5)]
            await until(lambda: held.begun == 2 and active(proxy, "pending") == 3)
            assert active(proxy, "active") == 5
            held.may.set()
            assert [status for status, _ in await asyncio.gather(*replies)] == [200] * 5
            assert sum(up.connections) == 5
            assert len(up.connections) == 2
            assert (active(proxy, "active"), active(proxy, "pending")) == (0, 0)

    run(conversation)


@pytest.mark.parametrize(
    ("options", "limit"),
    [({"max_requests": 2}, "max_requests"), ({"max_connections": 1, "max_pending": 1}, "max_pending")],
)
def test_one_more_than_a_limit_is_a_503_that_names_it(options: dict[str, Any], limit: str) -> None:
    async def conversation() -> None:
        held = Held()
        async with upstream(held) as up, http_proxy(up, upstream=options) as proxy:
            two = [asyncio.create_task(status_of(proxy))]
            await until(lambda: held.begun)
            two.append(asyncio.create_task(status_of(proxy)))
            await until(lambda: active(proxy, "active") == 2)
            assert await status_of(proxy) == (503, f"503 Service Unavailable: {limit}\n")
            held.may.set()
            assert [status for status, _ in await asyncio.gather(*two)] == [200, 200]
            assert proxy.value("l4proxy_http_cluster_overflow_total", cluster="up", limit=limit) == 1

    run(conversation)


def test_a_client_that_waits_and_goes_leaves_its_place() -> None:
    async def conversation() -> None:
        held = Held()
        async with upstream(held) as up, http_proxy(up, upstream={"max_connections": 1}) as proxy:
            first = asyncio.create_task(status_of(proxy))
            await until(lambda: held.begun == 1)
            async with connect(proxy) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
                await until(lambda: active(proxy, "pending") == 1)
            await until(lambda: active(proxy, "pending") == 0)
            held.may.set()
            assert (await first)[0] == 200
            assert held.begun == 1

    run(conversation)


def test_two_filters_with_other_options_share_the_numbers_of_a_cluster() -> None:
    async def conversation() -> None:
        held = Held()
        async with upstream(held) as up:
            endpoint = {"name": "up", "endpoints": [f"127.0.0.1:{up.port}"]}
            listeners = {
                "listener": {
                    "filters": (),
                    "filter_chains": [
                        {"match": {"source": ["127.0.0.0/8"]}, "filters": [{"use": "http", "cluster": "up"}]},
                        {"filters": [{"use": "http", "cluster": "up", "upstream": {"max_requests": 5}, "name": "b"}]},
                    ],
                }
            }
            async with make_proxy(clusters=[endpoint], **listeners) as proxy:
                one = asyncio.create_task(status_of(proxy))
                await until(lambda: held.begun == 1)
                assert active(proxy, "active") == 1
                held.may.set()
                await one
                assert active(proxy, "active") == 0

    run(conversation)


def test_an_endpoint_that_talks_without_being_asked_is_let_go() -> None:
    async def conversation() -> None:
        chatty = send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        async with upstream(chatty, ok()) as up, http_proxy(up) as proxy, connect(proxy) as client:
            replies = [await client.get() for _ in range(2)]
            assert b"evil" not in b"".join(reply.body for reply in replies)
            assert len(up.connections) == 2

    run(conversation)


def where(policy: dict[str, Any], *requests: tuple[str, tuple[str, ...]]) -> list[bytes]:
    """Which of eight endpoints answered each of the requests."""

    async def conversation() -> list[bytes]:
        async with contextlib.AsyncExitStack() as stack:
            ups = [await stack.enter_async_context(upstream(ok(b"%d" % number))) for number in range(8)]
            options: dict[str, Any] = {
                "routes": [{"cluster": "up", "hash_policy": [policy]}],
                "config": {"cluster": {"load_balancer": "ring_hash"}},
            }
            async with http_proxy(*ups, **options) as proxy, connect(proxy) as client:
                return [(await client.get(target, *lines)).body for target, lines in requests]

    return run(conversation)


@pytest.mark.parametrize(
    ("policy", "target", "line"),
    [
        ({"header": "X-User"}, "/", "X-User: %s"),
        ({"query": "user"}, "/?a=1&user=%s", "X: y"),
        ({"cookie": "sid"}, "/", "Cookie: a=b; sid=%s"),
    ],
)
def test_hash_policies(policy: dict[str, Any], target: str, line: str) -> None:
    users = [f"user{number}" for number in range(12)]
    requests = [(target.replace("%s", user), (line.replace("%s", user),)) for user in (*users, *users)]
    found = where(policy, *requests)
    assert found[:12] == found[12:], "a user stays at an endpoint"
    assert len(set(found)) > 3, "and users are spread"


def test_the_address_decides() -> None:
    assert len(set(where({"source_ip": True}, *[("/", ())] * 12))) == 1


def test_what_has_nothing_to_hash_is_spread() -> None:
    assert len(set(where({"header": "x-none"}, *[("/", ())] * 40))) > 3
