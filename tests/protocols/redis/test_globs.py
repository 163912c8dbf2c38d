from __future__ import annotations

import random

import pytest

from l4proxy.protocols.redis.globs import glob
from services.needs import needs
from services.redis import RedisServer

CASES = [
    (b"*", [b"", b"a", b"a\nb"], []),
    (b"a*c", [b"ac", b"abc", b"a\r\nc"], [b"ab", b"bac"]),
    (b"a?c", [b"abc"], [b"ac", b"abbc"]),
    (b"[ab]", [b"a", b"b"], [b"c", b"", b"ab"]),
    (b"[^ab]", [b"c"], [b"a", b""]),
    (b"[a-c]x", [b"ax", b"cx"], [b"dx"]),
    (b"[c-a]x", [b"bx"], [b"dx"]),
    (rb"a\*", [b"a*"], [b"ab"]),
    (rb"[\]]", [b"]"], [b"a"]),
    (b"a.c", [b"a.c"], [b"abc"]),
    (b"a\\", [b"a\\"], [b"a"]),
]


@pytest.mark.parametrize(("pattern", "yes", "no"), CASES)
def test_patterns(pattern: bytes, yes: list[bytes], no: list[bytes]) -> None:
    for text in yes:
        assert glob(pattern).fullmatch(text)
    for text in no:
        assert not glob(pattern).fullmatch(text)


@needs("redis-server")
def test_the_server_matches_the_same(redis: RedisServer) -> None:
    chance = random.Random(1)
    with redis.connect() as connection:
        connection.ask("SELECT", "7")
        keys = sorted({bytes(chance.choices(b"abc]^-*?", k=chance.randint(1, 4))) for _ in range(300)})
        for key in keys:
            connection.ask("SET", key, "1")
        for _ in range(500):
            pattern = bytes(chance.choices(b"abc*?[]^-\\", k=chance.randint(1, 6)))
            found = [key for key in keys if glob(pattern).fullmatch(key)]
            assert sorted(connection.ask("KEYS", pattern)) == found, pattern
        connection.ask("FLUSHDB")
