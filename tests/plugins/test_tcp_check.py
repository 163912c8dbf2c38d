"""The health check ``tcp``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from health_checks import TALKS, problem_of
from l4proxy.errors import ConfigError
from l4proxy.plugins.tcp_check import ANSWER_LIMIT


def says(answer: bytes) -> TALKS:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await reader.read()

    return talk


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.readline() == b"PING\r\n":
        writer.write(b"+PO")
        await writer.drain()
        writer.write(b"NG\r\n")
    await reader.read()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Nothing more."""


@pytest.mark.parametrize(
    ("options", "talk", "problem"),
    [
        ({}, says(b""), ""),
        ({}, hangs_up, ""),
        ({"send": "PING\r\n", "receive": "+PONG\r\n"}, pong, ""),
        ({"receive": "220 "}, says(b"220 mail.test ESMTP\r\n"), ""),
        ({"receive": "220 "}, says(b"421 too busy\r\n"), "no answer within"),
        ({"receive": "220 "}, hangs_up, "it has closed the connection, and not said '220 '"),
        ({"receive": "x"}, says(b"y" * (ANSWER_LIMIT + 1)), "is not in the first 16384 bytes of its answer"),
    ],
)
def test_what_it_takes(options: dict[str, Any], talk: TALKS, problem: str) -> None:
    found = problem_of({"use": "tcp", **options}, talk)
    assert problem in found
    assert bool(found) == bool(problem)


def test_an_answer_that_would_never_be_found() -> None:
    with pytest.raises(ConfigError, match="receive: no more than 16384 bytes"):
        problem_of({"use": "tcp", "receive": "x" * (ANSWER_LIMIT + 1)}, hangs_up)
