"""The health check ``http``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from health_checks import TALKS, problem_at, problem_of
from l4proxy.errors import ConfigError
from services.nginx import NginxServer


def answering(answer: bytes, seen: list[bytes] | None = None) -> TALKS:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(answer)
        await writer.drain()

    return talk


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"


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
