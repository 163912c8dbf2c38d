from __future__ import annotations

import asyncio
import functools
import gzip
import random
import zlib
from typing import Any

import pytest

from clusters import run
from http2_peers import h2_connect
from http_peers import Reply, Seen, connect, http_proxy, ok, upstream
from l4proxy import ConfigError

pack = functools.partial(gzip.compress, mtime=0)
TEXT = bytes(random.Random(1).choices(b"abcdefgh ", k=300_000))
ZEROS = pack(bytes(50_000_000))
DEFLATED = zlib.compress(bytes(50_000_000))


def post(body: bytes, *lines: str, chunked: bool = False, **options: Any) -> tuple[Reply, list[Seen]]:
    async def conversation() -> tuple[Reply, list[Seen]]:
        filters = [{"use": "decompression", **options}]
        async with upstream() as up, http_proxy(up, filters=filters) as proxy, connect(proxy) as client:
            if chunked:
                head = "".join(f"{line}\r\n" for line in ("POST / HTTP/1.1", "Host: a", *lines))
                client.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                for at in range(0, len(body), 777):
                    piece = body[at : at + 777]
                    client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                client.send(b"0\r\n\r\n")
                reply = await client.reply()
            else:
                reply = await client.get("/", *lines, method="POST", body=body)
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0
            return reply, up.seen

    return run(conversation)


GZIP = "Content-Encoding: gzip"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("body", "line", "expected"),
    [
        (pack(TEXT), GZIP, TEXT),
        (pack(TEXT), "Content-Encoding: X-GZIP ", TEXT),
        (zlib.compress(TEXT), "Content-Encoding: deflate", TEXT),
        (pack(b""), GZIP, b""),
        (pack(TEXT) + pack(b"more"), GZIP, TEXT + b"more"),
        (pack(bytes(900_000)), GZIP, bytes(900_000)),
    ],
)
def test_requests(body: bytes, line: str, expected: bytes, chunked: bool) -> None:
    reply, (seen,) = post(body, line, "Content-Digest: x", chunked=chunked)
    assert reply.status == 200
    assert seen.body == expected
    assert [seen.field(name) for name in ("content-encoding", "content-length", "content-digest")] == [None] * 3


@pytest.mark.parametrize("line", ["Content-Encoding: br", "Content-Encoding: gzip, gzip", "X: y"])
def test_what_passes_as_it_is(line: str) -> None:
    body = pack(TEXT)
    reply, (seen,) = post(body, line)
    assert (reply.status, seen.body) == (200, body)
    reply, (seen,) = post(body, GZIP, requests=False, responses=True)
    assert (seen.body, seen.field("content-encoding")) == (body, "gzip")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("body", "line", "options", "status", "details"),
    [
        (ZEROS, GZIP, {}, 413, "decompression_max_ratio"),
        (DEFLATED, "Content-Encoding: deflate", {"max_ratio": 500}, 413, "decompression_max_ratio"),
        (pack(TEXT), GZIP, {"max_bytes": 1000}, 413, "decompression_max_bytes"),
        (pack(TEXT)[:-10], GZIP, {}, 400, "decompression_corrupt"),
        (pack(TEXT)[:-1], GZIP, {}, 400, "decompression_corrupt"),
        (b"nonsense", GZIP, {}, 400, "decompression_corrupt"),
        (pack(TEXT) + b"nonsense", GZIP, {}, 400, "decompression_corrupt"),
        (zlib.compress(TEXT) + b"x", "Content-Encoding: deflate", {}, 400, "decompression_corrupt"),
    ],
)
def test_bombs_and_rubbish(
    body: bytes, line: str, options: dict[str, Any], status: int, details: str, chunked: bool
) -> None:
    reply, seen = post(body, line, chunked=chunked, **options)
    assert (reply.status, details in reply.body.decode()) == (status, True)
    assert seen == []  # none of them whole


def test_a_bomb_may_pass_where_that_is_wanted() -> None:
    reply, (seen,) = post(ZEROS, GZIP, max_ratio=1100)
    assert (reply.status, len(seen.body)) == (200, 50_000_000)


PLAIN = ("Content-Type: text/html", 'ETag: "1"')


@pytest.mark.parametrize("version", [1, 2])
def test_responses_for_those_who_take_them_plain_only(version: int) -> None:
    async def conversation() -> None:
        filters = [{"use": "decompression", "responses": True}]
        answer = ok(pack(TEXT), *PLAIN, "Content-Encoding: gzip")
        async with upstream(answer) as up, http_proxy(up, filters=filters) as proxy:
            if version == 2:
                async with h2_connect(proxy) as h2:
                    assert (await h2.reply(h2.open())).body == TEXT
                return
            async with connect(proxy) as client:
                reply = await client.get()
                assert reply.body == TEXT
                names = ("content-encoding", "vary", "etag", "content-length")
                assert [reply.field(name) for name in names] == [None, "Accept-Encoding", 'W/"1"', None]
                assert up.seen[0].field("accept-encoding") == "gzip"
                reply = await client.get("/", "Accept-Encoding: br, gzip")
                assert gzip.decompress(reply.body) == TEXT
                assert (up.seen[1].field("accept-encoding"), reply.field("etag")) == ("br, gzip", '"1"')
                assert (await client.get("/", method="HEAD")).status == 200

    run(conversation)


def test_a_response_that_is_a_bomb_is_broken_off() -> None:
    async def conversation() -> None:
        filters = [{"use": "decompression", "responses": True}]
        answer = ok(ZEROS, "Content-Encoding: gzip")
        async with upstream(answer) as up, http_proxy(up, filters=filters) as proxy, connect(proxy) as client:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.get()
            refused = {"direction": "responses", "reason": "max_ratio"}
            assert proxy.value("l4proxy_http_decompression_refused_total", **refused) == 1

    run(conversation)


def test_compression_in_front_knows_what_the_client_takes() -> None:
    async def conversation() -> None:
        filters = ["compression", {"use": "decompression", "responses": True}]
        answer = ok(pack(TEXT), *PLAIN, "Content-Encoding: gzip")
        async with upstream(answer) as up, http_proxy(up, filters=filters) as proxy, connect(proxy) as client:
            reply = await client.get()
            assert (reply.body, reply.field("content-encoding")) == (TEXT, None)

    run(conversation)


def test_one_of_both_is_wanted() -> None:
    with pytest.raises(ConfigError, match="write requests, or responses"):
        post(b"", requests=False)
