"""The health check ``redis``."""

from __future__ import annotations

import asyncio

import pytest

from health_checks import problem_at, problem_of
from services.redis import RedisServer


def test_a_server_that_serves(redis: RedisServer) -> None:
    assert problem_at(redis.address, {"use": "redis"}) == ""
    assert problem_at(f"unix:{redis.path}", {"use": "redis"}) == ""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"-NOAUTH Authentication required.\r\n", ""),
        (b"-NOPERM this user has no permissions\r\n", ""),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "it answers PING with '-LOADING Redis is loading"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "-MASTERDOWN"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it answers PING with 'HTTP/1.1 400"),
        (b"+PO", "it closed the connection before it had answered"),
        (b"x" * 100_000, "a line that has no end"),
    ],
)
def test_what_it_answers(answer: bytes, problem: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        await writer.drain()

    found = problem_of({"use": "redis"}, talk)
    assert problem in found
    assert bool(problem) == bool(found)
