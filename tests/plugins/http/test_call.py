"""Calls, made in a running server without a request of a client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clusters import run
from http2_peers import h2_upstream, reply_ok
from http_peers import Answer, Seen, Upstream, http_proxy, ok, send, upstream
from l4proxy.plugins.http.call import Call
from l4proxy.plugins.http.config import Upstream as Options
from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.message import HttpRequest
from l4proxy.plugins.http.pool import ClusterPool, cluster_pool
from proxying import HOST, Proxy


def pool_of(proxy: Proxy, **options: Any) -> ClusterPool:
    return cluster_pool(proxy.server.clusters.find("up"), Options(**options), proxy.server)


async def call(pool: ClusterPool, body: bytes = b"", **options: Any) -> Call:
    """One with its whole body, until it is done."""
    done: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
    headers = Headers.of({"Host": "a.test", **({"Content-Length": str(len(body))} if body else {})})
    request = HttpRequest("POST" if body else "GET", "/", headers.block, content_length=len(body))
    Call(pool, request, done.set_result, timeout=options.pop("timeout", 5.0), **options).start(body)
    return await done


def test_a_call_over_http1() -> None:
    async def conversation() -> None:
        async with upstream(ok(b"yes")) as up, http_proxy(up) as proxy:
            pool = pool_of(proxy)
            for body in (b"", b"question"):
                made = await call(pool, body)
                assert made.response is not None
                assert (made.response.status, made.body, made.error) == (200, b"yes", "")
            assert [seen.body for seen in up.seen] == [b"", b"question"]
            assert up.connections == [2]
            assert pool.active == 0
            assert proxy.value("l4proxy_http_cluster_responses_total", cluster="up", **{"class": "2xx"}) == 2

    run(conversation)


def test_a_call_over_http2() -> None:
    async def conversation() -> None:
        async with h2_upstream(reply_ok) as up, http_proxy(f"{HOST}:{up.port}") as proxy:
            pool = pool_of(proxy, protocol="http2")
            made = await asyncio.gather(*(call(pool, b"x" * size) for size in (0, 1, 200_000)))
            assert [one.response.status for one in made if one.response] == [200] * 3

    run(conversation)


async def outcome(answer: Answer, **options: Any) -> str:
    async with upstream(answer) as up, http_proxy(up) as proxy:
        pool = pool_of(proxy)
        made = await call(pool, **options)
        assert (made.response is None) is bool(made.error)
        assert pool.active == 0
        return made.error


@pytest.mark.parametrize(
    ("answer", "options", "error"),
    [
        (ok(b"12345"), {"max_body": 5}, ""),
        (ok(b"123456"), {"max_body": 5}, "response_too_large"),
        (ok(b"1" * 100_000), {"max_body": None}, ""),
        (send(b""), {"timeout": 0.2}, "timeout"),
        (send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), {"timeout": 0.2}, "timeout"),
        (send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", close=True), {}, "response_cut_short"),
        (send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), {}, ""),
        (send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n"), {}, ""),
    ],
)
def test_outcomes(answer: Answer, options: dict[str, Any], error: str) -> None:
    async def conversation() -> None:
        assert await outcome(answer, **options) == error

    run(conversation)


def test_limits_of_the_cluster_hold() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy:
            pool = pool_of(proxy, max_requests=1)
            pool.active = 1
            assert (await call(pool)).error == "max_requests"
            assert pool.active == 1

    run(conversation)


@pytest.mark.parametrize(("repeatable", "connections"), [(True, [1, 1]), (False, [1])])
def test_what_may_be_repeated_is_when_a_kept_connection_was_closed(repeatable: bool, connections: list[int]) -> None:
    """The endpoint reads the second request and closes."""

    async def close(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def conversation() -> None:
        async with upstream(ok(), close, ok(b"again")) as up, http_proxy(up) as proxy:
            pool = pool_of(proxy)
            await call(pool)
            made = await call(pool, repeatable=repeatable)
            assert (made.body, made.error) == ((b"again", "") if repeatable else (b"", "connection_closed"))
            assert len(up.connections) == len(connections)

    run(conversation)


def test_a_body_may_be_sent_in_pieces() -> None:
    async def conversation() -> None:
        async with upstream(ok(b"yes")) as up, http_proxy(up) as proxy:
            done: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
            request = HttpRequest("POST", "/", Headers.of({"Host": "a"}).block, content_length=None)
            made = Call(pool_of(proxy), request, done.set_result, timeout=5)
            made.start(b"a", False)
            made.send(b"b", False)
            while made.buffered:
                await asyncio.sleep(0)
            made.send(b"c", False)
            made.send(b"", True)
            await done
            made.send(b"too late", True)
            assert up.seen[0].body == b"abc"

    run(conversation)


def test_a_response_may_come_before_the_request_has_ended() -> None:
    gone = asyncio.Event()

    async def refuse(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        gone.set()

    async def conversation(up: Upstream, proxy: Proxy) -> None:
        done: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        request = HttpRequest("POST", "/", Headers.of({"Host": "a"}).block, content_length=None)
        Call(pool_of(proxy), request, done.set_result, timeout=5).start(b"a", False)
        made = await done
        assert made.response is not None
        assert made.response.status == 413
        await gone.wait()

    async def everything() -> None:
        async with upstream(refuse, body=False) as up, http_proxy(up) as proxy:
            await conversation(up, proxy)

    run(everything)


def test_nobody_hears_of_a_call_that_was_cancelled() -> None:
    async def conversation() -> None:
        async with upstream(send(b"")) as up, http_proxy(up) as proxy:
            pool = pool_of(proxy)
            request = HttpRequest("GET", "/", Headers.of({"Host": "a"}).block, content_length=0)
            heard: list[Call] = []
            for starts in (False, True):
                made = Call(pool, request, heard.append, timeout=0.1)
                if starts:
                    made.start()
                made.cancel()
                made.cancel()
            await asyncio.sleep(0.3)
            assert (heard, pool.active) == ([], 0)

    run(conversation)
