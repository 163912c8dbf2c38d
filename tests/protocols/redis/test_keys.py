from __future__ import annotations

import pytest

from l4proxy.protocols.redis.commands import BUILT_IN
from l4proxy.protocols.redis.keys import read_key_specs
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, decode
from services.needs import needs
from services.redis import RedisServer

COMMANDS = """
GET a
SET a 1 EX 10
MSET a 1 b 2 c 3
MGET a b c
DEL a b
RENAME a b
BLPOP a b 0
EVAL return 2 a b arg
EVAL return 0 arg
EVALSHA sha 1 a
FCALL f 2 a b
ZUNIONSTORE a 2 b c WEIGHTS 1 2
ZUNION 2 a b
LMPOP 2 a b LEFT
BLMPOP 0 2 a b LEFT
XREAD COUNT 2 STREAMS a b 0 0
XREAD BLOCK 0 STREAMS a $
XREADGROUP GROUP g c STREAMS a b > >
GEORADIUS a 1 2 3 km STORE b
GEORADIUSBYMEMBER a m 3 km STOREDIST b
SORT a BY w_* GET o_* LIMIT 0 1 STORE b
SORT a GET store GET # STORE b
SORT_RO a BY nosort
MIGRATE host 1 a 0 1
MIGRATE host 1 "" 0 1 KEYS a b c
BITOP AND a b c
PFCOUNT a b
OBJECT ENCODING a
XGROUP CREATE a g $
XINFO STREAM a
MEMORY USAGE a
COPY a b
SMOVE a b m
SINTERCARD 2 a b LIMIT 1
LCS a b
""".strip().splitlines()


@needs("redis-server")
@pytest.mark.parametrize("line", COMMANDS)
def test_the_server_finds_the_same_keys(line: str, redis: RedisServer) -> None:
    words = [word.strip('"').encode() for word in line.split()]
    told, _ = decode(redis.exchange(encode_command(b"COMMAND", b"GETKEYS", *words)))
    keys = BUILT_IN.of(words).keys(words)
    assert keys == ([] if isinstance(told, Failure) else told)
    assert keys or "0 arg" in line


@pytest.mark.parametrize(
    "line",
    ["GET", "EVAL x", "EVAL x 5 a", "EVAL x y a", "XREAD STREAMS", "SORT", "MIGRATE h", "MGET", "SET", "BITFIELD"],
)
def test_what_does_not_fit_has_no_keys(line: str) -> None:
    words = line.encode().split()
    assert BUILT_IN.of(words).keys(words) == []


def test_what_is_done_with_a_key() -> None:
    def uses(line: str) -> list[tuple[str, bool, bool]]:
        words = line.encode().split()
        return [(key.decode(), spec.reads, spec.writes) for key, spec in BUILT_IN.of(words).key_uses(words)]

    assert uses("GET a") == [("a", True, False)]
    assert uses("SET a 1") == [("a", False, True)]
    assert uses("SET a 1 get") == [("a", True, True)]
    assert uses("BITFIELD a GET u8 0") == [("a", True, False)]
    assert uses("BITFIELD a SET u8 0 1") == [("a", True, True)]
    assert uses("EXISTS a") == [("a", False, False)]
    assert uses("MSET a 1") == [("a", False, True)]
    assert uses("COPY a b") == [("a", True, False), ("b", False, True)]
    assert uses("SORT a STORE b") == [("a", True, False), ("b", False, True)]


def test_specifications_are_read() -> None:
    one, two = read_key_specs("3 range 0 1 0 RW access;KEYS@-2 range -1 1 0 RW incomplete")
    assert (one.keyword, one.begin, one.numbers) == (b"", 3, (0, 1, 0))
    assert (two.keyword, two.begin, two.flags) == (b"KEYS", -2, frozenset({"RW", "incomplete"}))
    assert read_key_specs("") == ()
