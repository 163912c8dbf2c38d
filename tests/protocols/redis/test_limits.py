from __future__ import annotations

import pytest

from l4proxy.protocols.redis.commands import CommandTable
from l4proxy.protocols.redis.limits import DEFAULT_LIMITS, protocol_error
from l4proxy.protocols.redis.request import RequestSplitter
from resp_cases import BAD_REQUESTS, split
from services.needs import needs
from services.redis import RedisServer

# Where we are stricter than the server: a count that would make it wait for 50 GB, a name of more than an inline
# command, an argument that is longer than it says.
STRICTER = (
    b"*1048577",
    b"*2000000000",
    b"*1\r\n$70000",
    b"*1\r\n$3\r\n",
    b"*1\r\n$5\r\n",
    b"*2\r\n$4\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nabc",
)
LATER = (b"1" * 40, b"a" * 100 + b"\r\n")
"""The server waits for the end of a line up to 64 KiB, and then says the same; of an inline command it takes more, if
all of it comes at once."""


@needs("redis-server")
@pytest.mark.parametrize(
    ("data", "code"), [bad for bad in BAD_REQUESTS if not bad[0].startswith(STRICTER) and not bad[0].endswith(LATER)]
)
def test_the_server_says_the_same(data: bytes, code: str, redis: RedisServer) -> None:
    splitter = RequestSplitter(CommandTable())
    splitter.split(data)
    assert splitter.error is not None
    assert redis.exchange(data, until_closed=True) == splitter.error.reply


def test_defaults_are_the_servers() -> None:
    assert DEFAULT_LIMITS.max_bulk == 512 * 1024 * 1024
    assert DEFAULT_LIMITS.max_inline == 64 * 1024
    assert split(b"*1048576\r\n")[1] == ""


def test_the_error_has_the_reply() -> None:
    error = protocol_error("code", "text")
    assert (error.code, error.reply) == ("code", b"-ERR Protocol error: text\r\n")
