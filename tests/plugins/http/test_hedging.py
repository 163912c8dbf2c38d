from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from clusters import black_hole, refused, run, until
from http2_peers import H2Connected, Received, h2_upstream, reply_ok
from http_peers import Answer, Client, Seen, Upstream, connect, http_proxy, ok, send, upstream
from l4proxy import ConfigError
from proxying import HOST, Proxy

HEDGE = {"hedge": True, "per_try_timeout": "100ms", "attempts": 2}


class Slow:
    """An endpoint that answers when it may, or not at all."""

    def __init__(self, then: Answer | None = None) -> None:
        self.may = asyncio.Event()
        self.gone = asyncio.Event()
        self._then = then or ok(b"slow")

    async def __call__(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = asyncio.create_task(self.may.wait())
        ended = asyncio.create_task(reader.read())
        await asyncio.wait((answers, ended), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            self.gone.set()
            answers.cancel()
            writer.close()
        else:
            ended.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ended
            await self._then(seen, reader, writer)


@contextlib.asynccontextmanager
async def hedged(*upstreams: Upstream | str, **retry: Any) -> AsyncIterator[tuple[Proxy, Client]]:
    route = {"cluster": "up", "retry": {**HEDGE, **retry}}
    async with http_proxy(*upstreams, routes=[route]) as proxy, connect(proxy) as client:
        yield proxy, client
        assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0
        assert proxy.value("l4proxy_http_cluster_requests_pending", cluster="up") == 0


def break_off(client: Client) -> None:
    """Close with RST: a client that only ends its side may still wait for the response."""
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


def retried(proxy: Proxy, reason: str) -> float:
    """How often, by a counter that is not there before the first time."""
    if "l4proxy_http_cluster_retries_total" not in proxy.server.stats.snapshot():
        return 0
    return float(proxy.value("l4proxy_http_cluster_retries_total", cluster="up", reason=reason))


def hedges(proxy: Proxy) -> float:
    return retried(proxy, "hedge")


@pytest.mark.parametrize("body", [b"", b"body"])
def test_the_second_try_answers_first(body: bytes) -> None:
    async def conversation() -> None:
        slow = Slow()
        async with upstream(slow) as first, upstream(ok(b"fast")) as second, hedged(first, second) as (proxy, client):
            for _ in range(4):
                reply = await client.get("/", method="PUT" if body else "GET", body=body)
                assert reply.body == b"fast"
            assert hedges(proxy) == len(first.seen) > 0
            assert [one.body for one in (*first.seen, *second.seen)] == [body] * (4 + len(first.seen))
            await asyncio.wait_for(slow.gone.wait(), 10)

    run(conversation)


def test_the_first_try_may_still_win() -> None:
    async def conversation() -> None:
        slow, never = Slow(), Slow()

        async def first_then(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await order.pop(0)(seen, reader, writer)

        order: list[Answer] = [slow, never]
        async with upstream(first_then) as one, upstream(first_then) as two, hedged(one, two) as (proxy, client):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: not order)
            slow.may.set()
            assert (await client.reply()).body == b"slow"
            await asyncio.wait_for(never.gone.wait(), 10)
            assert hedges(proxy) == 1
            order += [ok(b"next")]
            assert (await client.get()).body == b"next"

    run(conversation)


def test_a_bad_answer_is_not_taken_while_another_may_come() -> None:
    async def conversation() -> None:
        slow = Slow()
        order: list[Answer] = [slow, send(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")]

        async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await order.pop(0)(seen, reader, writer)
            if not order:
                slow.may.set()

        on = ["reset", "gateway-error"]
        async with upstream(answer) as one, upstream(answer) as two, hedged(one, two, on=on) as (proxy, client):
            assert (await client.get()).body == b"slow"
            assert hedges(proxy) == 1

    run(conversation)


def test_a_try_that_is_reset_leaves_it_to_the_other() -> None:
    async def conversation() -> None:
        slow = Slow()
        order: list[Answer] = [slow, send(b"", close=True)]

        async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await order.pop(0)(seen, reader, writer)
            if not order:
                slow.may.set()

        async with upstream(answer) as one, upstream(answer) as two, hedged(one, two) as (_, client):
            assert (await client.get()).body == b"slow"

    run(conversation)


def test_a_second_endpoint_that_is_not_there() -> None:
    async def conversation() -> None:
        slow = Slow()
        async with upstream(slow) as one, hedged(one, refused()) as (proxy, client):
            for _ in range(2):
                slow.may.clear()
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await until(lambda: hedges(proxy) or one.seen)
                slow.may.set()
                assert (await client.reply()).body == b"slow"

    run(conversation)


@pytest.mark.parametrize("hedge", [True, False])
def test_an_endpoint_that_does_not_accept_is_slow_too(hedge: bool) -> None:
    async def conversation() -> None:
        with black_hole() as hole:
            async with upstream(ok(b"there")) as one, hedged(one, hole, hedge=hedge) as (_, client):
                for _ in range(4):
                    assert (await client.get("/", method="PUT", body=b"x")).body == b"there"
                assert [seen.body for seen in one.seen] == [b"x"] * 4

    run(conversation, limit=10)


def test_when_nobody_answers_the_timeout_of_the_route_ends_it() -> None:
    async def conversation() -> None:
        slow = Slow()
        route = {"cluster": "up", "timeout": "500ms", "retry": {**HEDGE, "attempts": 1}}
        async with (
            upstream(slow) as one,
            upstream(slow) as two,
            http_proxy(one, two, routes=[route]) as proxy,
            connect(proxy) as client,
        ):
            reply = await client.get()
            assert (reply.status, "response_timeout" in reply.body.decode()) == (504, True)
            assert hedges(proxy) == len(one.seen) == len(two.seen) == 1
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0

    run(conversation)


def test_what_must_not_be_repeated_is_not() -> None:
    async def conversation() -> None:
        slow = Slow()
        async with upstream(slow) as one, upstream(slow) as two, hedged(one, two) as (proxy, client):
            reply = await client.get("/", method="POST", body=b"x")
            assert (reply.status, hedges(proxy)) == (504, 0)
            assert len(one.seen) + len(two.seen) == 1

    run(conversation)


def test_a_client_that_goes_ends_all_tries() -> None:
    async def conversation() -> None:
        one_slow, two_slow = Slow(), Slow()
        async with upstream(one_slow) as one, upstream(two_slow) as two:
            route = {"cluster": "up", "retry": HEDGE}
            async with http_proxy(one, two, routes=[route]) as proxy:
                async with connect(proxy) as client:
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    await until(lambda: one.seen and two.seen)
                    break_off(client)
                for slow in (one_slow, two_slow):
                    await asyncio.wait_for(slow.gone.wait(), 10)
                assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0

    run(conversation)


def test_over_http2() -> None:
    async def conversation() -> None:
        calls: list[int] = []

        async def answer(connection: H2Connected, request: Received) -> None:
            calls.append(request.stream_id)
            if len(calls) == 1:
                await connection.until(lambda: connection.closed or request.reset is not None)
            else:
                await reply_ok(connection, request)

        async with h2_upstream(answer) as up:
            route = {"cluster": "up", "retry": HEDGE}
            async with (
                http_proxy(f"{HOST}:{up.port}", routes=[route], upstream={"protocol": "http2"}) as proxy,
                connect(proxy) as client,
            ):
                assert (await client.get()).body == b"ok"
                assert (await client.get()).body == b"ok"

    run(conversation)


def has_retried(proxy: Proxy, times: int) -> bool:
    return retried(proxy, "5xx") == times


def test_a_gone_client_gives_its_place_among_the_retries_back() -> None:
    async def conversation() -> None:
        route = {"cluster": "up", "retry": {"on": ["5xx"], "attempts": 5, "backoff": "30s", "backoff_max": "30s"}}
        error = send(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
        async with upstream(error) as up, http_proxy(up, routes=[route]) as proxy:
            for count in range(1, 8):
                async with connect(proxy) as client:
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    await until(partial(has_retried, proxy, count))
                    break_off(client)
                await until(lambda: proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0)

    run(conversation)


def test_hedging_needs_a_time() -> None:
    async def conversation() -> None:
        async with hedged("h:1", per_try_timeout=0):
            pass

    with pytest.raises(ConfigError, match="hedge: needs per_try_timeout"):
        run(conversation)
