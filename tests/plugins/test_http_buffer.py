from __future__ import annotations

import asyncio

from clusters import run
from http_peers import connect, http_proxy, upstream

USE = {"use": "buffer", "max_bytes": 10}
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_request_waits_for_its_body() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, filters=[USE]) as proxy, connect(proxy) as client:
            client.send(CHUNKED + b"3\r\nabc\r\n")
            await asyncio.sleep(0.1)
            assert not up.seen
            client.send(b"3\r\ndef\r\n0\r\n\r\n")
            assert (await client.reply()).body == b"ok"
            assert (up.seen[0].body, up.seen[0].field("content-length")) == (b"abcdef", "6")
            assert (await client.get(method="POST", body=b"0123456789")).body == b"ok"
            assert up.seen[1].body == b"0123456789"
            assert (await client.get()).body == b"ok"

    run(conversation)


def test_a_body_that_is_too_long_is_413() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, filters=[USE]) as proxy:
            for request in (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
                CHUNKED + b"6\r\nabcdef\r\n6\r\nabcdef\r\n",
            ):
                async with connect(proxy) as client:
                    client.send(request)
                    assert (await client.reply()).status == 413
            assert not up.seen

    run(conversation)
