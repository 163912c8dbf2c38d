"""The health check ``http``."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from clusters import run, running, until
from health_checks import TALKS, problem_at, problem_of
from http2_server import http2_server
from l4proxy.errors import ConfigError
from proxying import HOST, server
from services.certs import Certs
from services.nginx import NginxServer
from streams import open_descriptors


def answering(answer: bytes, seen: list[bytes] | None = None) -> TALKS:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(answer)
        writer.write_eof()
        await reader.read()

    return talk


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(block: bytes, flags: int = 5) -> bytes:
    return frame(1, flags, 1, block)


def goaway(last: int, code: int) -> bytes:
    return frame(7, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


SETTINGS = frame(4, 0, 0, b"")
EARLY_HINTS = headers(b"\x08\x03103", 4)
LONG_FIELD = b"\0\x01x\x7f\x81\x7e" + bytes(16_384)
"""As HPACK has it: 16 KiB."""
END_HEADERS, END_STREAM = 4, 1

WELL_BY_HTTP2 = [
    headers(b"\x88"),
    EARLY_HINTS * 3 + headers(b"\x88"),
    headers(b"", END_STREAM) + frame(9, 0, 1, b"") + frame(9, END_HEADERS, 1, b"\x88"),
    goaway(1, 0) + headers(b"\x88"),
    frame(0xEE, 0, 0, b"new") + headers(b"\x88"),
]
WRONG_BY_HTTP2 = [
    (OK, 'its answer is not right: HTTP/2: the answer is HTTP/1: set protocol = "http1"'),
    (b"SSH-2.0-OpenSSH\r\n", "its answer is not right: HTTP/2: b'SSH-2.0-OpenSSH\\r\\n' is no frame"),
    (headers(b"\x88"), "its answer is not right: HTTP/2: the first frame is of type 1, not SETTINGS"),
    (SETTINGS, "it closed the connection before it had answered"),
    (SETTINGS + headers(b"\x88", END_STREAM), "it closed the connection before it had answered"),
    (b"", "it closed the connection before it had answered"),
    (SETTINGS + headers(b"\x8d"), "it answers / with 404"),
    (SETTINGS + frame(3, 0, 1, b"\0\0\0\7"), "it refuses the request: RST_STREAM with REFUSED_STREAM"),
    (SETTINGS + frame(3, 0, 1, b"\0\0\0\x0d"), "it refuses the request: RST_STREAM with HTTP_1_1_REQUIRED"),
    (SETTINGS + goaway(0, 11), "it refuses the request: GOAWAY with ENHANCE_YOUR_CALM"),
    (SETTINGS + goaway(1, 0), "it refuses the request: GOAWAY with NO_ERROR"),
    (SETTINGS + EARLY_HINTS * 101, "its answer is not right: HTTP/2: more than 100 informational"),
    (SETTINGS + headers(b"\x88\x88"), "its answer is not right: HTTP/2: :status twice"),
    (SETTINGS + headers(b"\xff\xff\xff\xff\xff\xff"), "its answer is not right"),
    (SETTINGS + headers(b"\x88", 0) + frame(9, 0, 1, b"\x0f") * 17, "in 17 CONTINUATION frames"),
    (SETTINGS + headers(b"\x88", 0) + frame(9, 0, 1, LONG_FIELD[:16_384]) * 4, "a header section of 65537 bytes"),
    (SETTINGS + frame(4, 0, 1, b""), "its answer is not right: HTTP/2: SETTINGS on a stream"),
]


@pytest.mark.parametrize(
    ("options", "answer", "problem"),
    [
        ({}, OK, ""),
        ({}, b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        ({}, b"HTTP/1.0 200 OK\r\n\r\nuntil the end", ""),
        ({}, b"HTTP/1.1 100 Continue\r\n\r\n" + OK, ""),
        ({}, b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "it answers / with 302"),
        ({"path": "/up?deep=1"}, b"HTTP/1.1 503 Busy\r\n\r\n", "it answers /up?deep=1 with 503"),
        ({"expected_statuses": [302, 418]}, b"HTTP/1.1 418 Teapot\r\n\r\n", ""),
        ({"expected_statuses": [302]}, OK, "with 200"),
        ({"method": "HEAD"}, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ""),
        ({"body": "ready"}, OK, ""),
        (
            {"body": "ready"},
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n",
            "",
        ),
        ({"body": "ready"}, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy", "'ready' is not in its answer"),
        ({"body": "ready"}, b"HTTP/1.0 200 OK\r\n\r\n" + b"." * 100_000, "'ready' is not in its answer"),
        ({}, b"SSH-2.0-OpenSSH\r\n", "its answer is not right"),
        ({}, SETTINGS, 'the answer is HTTP/2, which was not asked for: set protocol = "http2"'),
        ({}, b"HTTP/1.1 200 OK\r\nContent-Le", "its answer is not right"),
        ({}, b"", "it closed the connection before it had answered"),
    ],
)
def test_what_it_answers(options: dict[str, Any], answer: bytes, problem: str) -> None:
    found = problem_of({"use": "http", **options}, answering(answer))
    assert problem in found
    assert bool(problem) == bool(found)


def test_what_is_asked() -> None:
    seen: list[bytes] = []
    assert problem_of({"use": "http", "path": "/up", "host": "a.test"}, answering(OK, seen)) == ""
    assert seen[0].startswith(b"GET /up HTTP/1.1\r\nHost: a.test\r\nUser-Agent: l4proxy/")
    assert problem_of({"use": "http", "method": "OPTIONS"}, answering(OK, seen)) == ""
    assert seen[1].startswith(b"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_server_that_serves(nginx: NginxServer) -> None:
    assert problem_at(nginx.address, {"use": "http"}) == ""
    assert problem_at(nginx.address, {"use": "http", "path": "/none"}) == "it answers /none with 404"


def test_a_server_that_speaks_http2_without_tls(nginx: NginxServer) -> None:
    where, http2 = f"{HOST}:{nginx.http2_port}", {"use": "http", "protocol": "http2", "timeout": "10s"}
    assert problem_at(where, http2) == ""
    assert problem_at(where, {**http2, "method": "HEAD"}) == ""
    assert problem_at(where, {**http2, "path": "/version", "body": "HTTP/2.0"}) == ""
    assert problem_at(where, {**http2, "path": "/none"}) == "it answers /none with 404"
    assert problem_at(nginx.address, http2).endswith('the answer is HTTP/1: set protocol = "http1"')


@pytest.mark.parametrize("answer", WELL_BY_HTTP2)
def test_answers_over_http2(answer: bytes) -> None:
    for method in ("GET", "HEAD"):
        check = {"use": "http", "protocol": "http2", "timeout": "10s", "method": method}
        assert problem_of(check, answering(SETTINGS + answer)) == ""


@pytest.mark.parametrize(("answer", "problem"), WRONG_BY_HTTP2)
def test_what_is_wrong_with_an_answer_over_http2(answer: bytes, problem: str) -> None:
    found = problem_of({"use": "http", "protocol": "http2", "timeout": "10s"}, answering(answer))
    assert problem in found


def test_nothing_is_left_of_checks_that_fail() -> None:
    """However an endpoint answers over HTTP/2, or does not, all that a check has opened is closed behind it."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS)
        await reader.read()

    async def main() -> None:
        talks = [silent, *(answering(answer) for answer, _ in WRONG_BY_HTTP2)]
        async with AsyncExitStack() as stack:
            where = [f"{HOST}:{await stack.enter_async_context(server(talk))}" for talk in talks]
            before = open_descriptors()
            async with running() as runtime:
                check = {"use": "http", "protocol": "http2", "interval": "10ms", "timeout": "50ms"}
                endpoints = runtime.cluster(*where, health_check=check).endpoints.current.values()
                await until(lambda: all(one.stats.health_checks_total.values.get("failed", 0) > 5 for one in endpoints))
            await until(lambda: open_descriptors() == before)

    run(main)


def test_the_body_of_an_answer_over_http2() -> None:
    with http2_server() as port:
        check = {"use": "http", "protocol": "http2", "timeout": "10s"}
        assert problem_at(f"{HOST}:{port}", {**check, "body": "hello"}) == ""
        assert problem_at(f"{HOST}:{port}", {**check, "body": "ready"}) == "'ready' is not in its answer"


@pytest.mark.parametrize(
    ("options", "version"), [({}, "HTTP/2.0"), ({"protocol": "http2"}, "HTTP/2.0"), ({"protocol": "http1"}, "HTTP/1.1")]
)
def test_the_version_that_tls_agrees_on_is_spoken(
    nginx: NginxServer, certs: Certs, options: dict[str, Any], version: str
) -> None:
    where, tls = f"{HOST}:{nginx.tls_port}", {"ca": str(certs.ca)}
    check = {"use": "http", "timeout": "10s", **options}
    assert problem_at(where, {**check, "path": "/version", "body": version}, tls=tls) == ""
    (nginx.root / "long").write_bytes(bytes(200_000))
    assert problem_at(where, {**check, "path": "/long", "body": "end"}, tls=tls) == "'end' is not in its answer"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"path": "up"}, "path: 'up' does not begin with /"),
        ({"path": "/a b"}, "path: '/a b' cannot stand in a request"),
        ({"host": "a\r\nb"}, "cannot stand in a request"),
        ({"method": "HEAD", "body": "x"}, "body: there is none in an answer to HEAD"),
    ],
)
def test_options_that_make_no_request(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        problem_of({"use": "http", **options}, answering(OK))
