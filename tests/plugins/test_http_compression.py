from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from clusters import run
from http_peers import Reply, Seen, connect, http_proxy, ok, upstream
from l4proxy.plugins.http_compression import accepts_gzip

TEXT = b"to be or not to be, that is the question. " * 500


@pytest.mark.parametrize(
    ("field", "yes"),
    [
        ("gzip", True), ("GZIP", True), ("br, gzip;q=0.5", True), ("*", True), ("x-gzip", True),
        ("gzip; q=0.001", True),
        ("", False), ("br", False), ("gzip;q=0", False), ("gzip;q=0.000, br", False), ("*;q=0", False),
        ("*, gzip;q=0", False), ("gzipped", False), ("identity", False),
    ],
)  # fmt: skip
def test_accept_encoding(field: str, yes: bool) -> None:
    assert accepts_gzip(field) is yes


def ask(answer: Any, *lines: str, method: str = "GET", **options: Any) -> Reply:
    async def conversation() -> Reply:
        filters = [{"use": "compression", **options}]
        async with upstream(answer) as up, http_proxy(up, filters=filters) as proxy, connect(proxy) as client:
            await client.get("/", *lines, method=method)
            return await client.get("/", *lines, method=method)

    return run(conversation)


HTML = "Content-Type: text/html; charset=utf-8"


def test_a_response_is_compressed() -> None:
    reply = ask(ok(TEXT, HTML, 'ETag: "1"', "Accept-Ranges: bytes"), "Accept-Encoding: gzip")
    assert gzip.decompress(reply.body) == TEXT
    assert len(reply.body) < len(TEXT) // 10
    assert [reply.field(name) for name in ("content-encoding", "content-length", "vary", "etag", "accept-ranges")] == [
        "gzip", None, "Accept-Encoding", 'W/"1"', None,
    ]  # fmt: skip


@pytest.mark.parametrize("flush", [False, True])
def test_a_response_in_pieces_is_compressed(flush: bool) -> None:
    async def answer(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{HTML}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(TEXT), 5000):
            piece = TEXT[at : at + 5000]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    reply = ask(answer, "Accept-Encoding: gzip", flush=flush)
    assert gzip.decompress(reply.body) == TEXT


@pytest.mark.parametrize(
    "answer",
    [
        ok(TEXT, "Content-Type: image/png"),
        ok(TEXT),
        ok(TEXT[:100], HTML),
        ok(TEXT, HTML, "Content-Encoding: br"),
        ok(TEXT, HTML, "Cache-Control: public, no-transform"),
        ok(TEXT, HTML, status="206 Partial Content"),
    ],
)
def test_what_is_left_alone(answer: Any) -> None:
    reply = ask(answer, "Accept-Encoding: gzip")
    assert reply.field("content-encoding") in (None, "br")
    assert TEXT.startswith(reply.body)


def test_who_does_not_take_it_gets_the_plain_one_and_caches_know() -> None:
    reply = ask(ok(TEXT, HTML))
    assert (reply.body, reply.field("vary"), reply.field("content-encoding")) == (TEXT, "Accept-Encoding", None)
