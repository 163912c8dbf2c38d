from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from clusters import refused, run, until
from http2_peers import h2_connect
from http_peers import Seen, Upstream, connect, http_proxy, ok, send, upstream
from l4proxy import ConfigError
from proxying import HOST, Proxy

TEXT = b"0123456789" * 100


async def silent(_seen: Seen, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """No answer."""


@asynccontextmanager
async def mirrored(up: Upstream, shadow_port: int, **options: Any) -> AsyncIterator[Proxy]:
    filters = [{"use": "mirror", "cluster": "shadow", **options}]
    clusters = {"clusters": [{"name": "shadow", "endpoints": [f"{HOST}:{shadow_port}"]}]}
    async with http_proxy(up, filters=filters, config=clusters) as proxy:
        yield proxy


def given_up(proxy: Proxy, reason: str) -> float:
    return float(proxy.value("l4proxy_http_mirror_given_up_total", cluster="shadow", reason=reason))


async def none_active(proxy: Proxy) -> None:
    await until(lambda: proxy.value("l4proxy_http_mirror_copies_active", cluster="shadow") == 0)
    assert proxy.value("l4proxy_http_cluster_requests_active", cluster="shadow") == 0


@pytest.mark.parametrize("version", [1, 2])
def test_both_get_the_request(version: int) -> None:
    async def conversation() -> None:
        async with (
            upstream(ok(b"first")) as up,
            upstream(ok(b"second")) as shadow,
            mirrored(up, shadow.port) as proxy,
        ):
            if version == 2:
                async with h2_connect(proxy) as h2:
                    assert (await h2.get(method="POST", body=TEXT)).body == b"first"
            else:
                async with connect(proxy) as client:
                    assert (await client.get("/a?b", "X-One: 1")).body == b"first"
                    assert (await client.get("/b", method="POST", body=TEXT)).body == b"first"
                    chunks = b"4\r\nbody\r\n5\r\nchunk\r\n0\r\n\r\n"
                    client.send(b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
                    assert (await client.reply()).body == b"first"
            await none_active(proxy)
            copied, original = (sorted((seen.line, seen.body) for seen in one.seen) for one in (shadow, up))
            assert copied == original
            assert any(sorted(seen.lines) == sorted(up.seen[0].lines) for seen in shadow.seen)
            copies = proxy.value("l4proxy_http_mirror_copies_total", cluster="shadow")
            assert copies == len(up.seen) == (1 if version == 2 else 3)

    run(conversation)


def test_copies_may_look_different() -> None:
    async def conversation() -> None:
        options = {
            "host": "next.test",
            "methods": ["GET"],
            "headers": {"set": {"x-shadow": "of %REQ(:authority)%"}, "remove": ["authorization"]},
        }
        async with (
            upstream() as up,
            upstream() as shadow,
            mirrored(up, shadow.port, **options) as proxy,
            connect(proxy) as client,
        ):
            await client.get("/", "Authorization: x")
            await client.get("/", method="POST", body=b"write")
            await none_active(proxy)
            (copy,) = shadow.seen
            names = ("host", "x-shadow", "authorization")
            assert [copy.field(name) for name in names] == ["next.test", "of a.test", None]
            assert [up.seen[0].field(name) for name in names] == ["a.test", None, "x"]

    run(conversation)


@pytest.mark.parametrize("percent", [0, 50])
def test_a_share_of_requests(percent: int) -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            upstream() as shadow,
            mirrored(up, shadow.port, percent=percent) as proxy,
            connect(proxy) as client,
        ):
            for _ in range(60):
                await client.get()
            await none_active(proxy)
            assert len(shadow.seen) == 0 if percent == 0 else 0 < len(shadow.seen) < 60

    run(conversation)


def test_nobody_notices_a_copy_that_finds_nobody() -> None:
    async def conversation() -> None:
        async with upstream() as up, mirrored(up, int(refused().rpartition(":")[2])) as proxy, connect(proxy) as client:
            assert (await client.get()).status == 200
            assert (await client.get("/", method="POST", body=TEXT)).status == 200
            await until(lambda: given_up(proxy, "connect_refused") == 2)
            await none_active(proxy)

    run(conversation)


def test_nobody_waits_for_a_copy_that_is_not_answered() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            upstream(silent) as shadow,
            mirrored(up, shadow.port, timeout="100ms") as proxy,
            connect(proxy) as client,
        ):
            for _ in range(5):
                assert (await client.get("/", method="POST", body=TEXT)).status == 200
            await until(lambda: given_up(proxy, "timeout") == 5)
            await none_active(proxy)

    run(conversation)


def test_a_copy_that_falls_behind_is_given_up() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            upstream(silent, body=False) as shadow,
            mirrored(up, shadow.port, buffer_limit=2048) as proxy,
            connect(proxy) as client,
        ):
            body = bytes(12_000_000)
            assert (await client.get("/", method="POST", body=body)).status == 200
            assert len(up.seen[0].body) == len(body)
            assert given_up(proxy, "overflow") == 1
            await none_active(proxy)

    run(conversation)


def test_long_bodies_are_not_copied() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            upstream() as shadow,
            mirrored(up, shadow.port, max_body=50) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get("/", method="POST", body=bytes(51))).status == 200
            assert (given_up(proxy, "max_body"), proxy.value("l4proxy_http_mirror_copies_total", cluster="shadow")) == (
                1,
                0,
            )
            client.send(b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n" + bytes(30) + b"\r\n")
            await until(lambda: proxy.value("l4proxy_http_mirror_copies_active", cluster="shadow") == 1)
            client.send(b"1e\r\n" + bytes(30) + b"\r\n0\r\n\r\n")
            assert (await client.reply()).status == 200
            assert given_up(proxy, "max_body") == 2
            await none_active(proxy)
            assert [seen for seen in shadow.seen if len(seen.body) > 50] == []

    run(conversation)


def test_a_client_that_gives_up_ends_the_copy_of_its_body() -> None:
    async def conversation() -> None:
        async with (
            upstream(silent) as up,
            upstream() as shadow,
            mirrored(up, shadow.port) as proxy,
        ):
            async with connect(proxy) as client:
                client.send(b"PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
                await until(lambda: proxy.value("l4proxy_http_mirror_copies_active", cluster="shadow") == 1)
            await until(lambda: given_up(proxy, "original_ended") == 1)
            await none_active(proxy)
            assert shadow.seen == []

    run(conversation)


def test_what_a_filter_behind_refuses_before_its_body_came_is_not_begun() -> None:
    async def conversation() -> None:
        filters = [{"use": "mirror", "cluster": "shadow"}, {"use": "buffer", "max_bytes": 10}]
        async with upstream() as up, upstream() as shadow:
            clusters = {"clusters": [{"name": "shadow", "endpoints": [f"{HOST}:{shadow.port}"]}]}
            async with http_proxy(up, filters=filters, config=clusters) as proxy, connect(proxy) as client:
                assert (await client.get("/", method="POST", body=TEXT)).status == 413
                await none_active(proxy)
            assert (shadow.seen, shadow.connections) == ([], [])

    run(conversation)


def test_answers_that_differ_are_counted() -> None:
    async def conversation() -> None:
        error = send(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
        async with (
            upstream() as up,
            upstream(ok(), error) as shadow,
            mirrored(up, shadow.port) as proxy,
            connect(proxy) as client,
        ):
            for _ in range(3):
                assert (await client.get()).status == 200
                await none_active(proxy)
            differed = proxy.value("l4proxy_http_mirror_differed_total", cluster="shadow", classes="2xx/5xx")
            assert differed == 2

    run(conversation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cluster": "nowhere"}, "nowhere"),
        ({"headers": {"set": {"connection": "x"}}}, "connection"),
        ({"buffer_limit": 1}, "buffer_limit"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, mirrored(up, 1, **options):
            pass

    with pytest.raises(ConfigError, match=message):
        run(conversation)
