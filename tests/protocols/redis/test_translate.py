from __future__ import annotations

from typing import Any

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.translate import Translator
from l4proxy.protocols.redis.values import NULL_ARRAY, Double, Failure, Map, Push, Set, Simple, Verbatim, encode

SCORES2, SCORES3 = [b"a", b"1", b"b", b"2.5"], [[b"a", Double(b"1")], [b"b", Double(b"2.5")]]
ENTRIES = [[b"1-1", [b"f", b"v"]]]

# The command, its reply in RESP2, and in RESP3. Tests of the proxy ask a server about thousands of commands.
CASES: list[tuple[str, Any, Any]] = [
    ("GET a", b"x", b"x"),
    ("GET a", None, None),
    ("HGETALL a", [b"f", b"v"], Map([(b"f", b"v")])),
    ("HGETALL a", Failure(b"WRONGTYPE no"), Failure(b"WRONGTYPE no")),
    ("SMEMBERS a", [b"x", b"y"], Set([b"x", b"y"])),
    ("SPOP a", b"x", b"x"),
    ("SPOP a 1", [b"x"], Set([b"x"])),
    ("ZSCORE a b", b"1.5", Double(b"1.5")),
    ("ZSCORE a b", b"inf", Double(b"inf")),
    ("ZADD a INCR 1 b", b"1", Double(b"1")),
    ("ZADD a 1 b", 1, 1),
    ("ZRANGE a 0 -1", [b"a"], [b"a"]),
    ("ZRANGE a 0 -1 withscores", SCORES2, SCORES3),
    ("ZPOPMIN a", [b"a", b"1"], [b"a", Double(b"1")]),
    ("ZPOPMIN a 2", SCORES2, SCORES3),
    ("BZPOPMIN a 1", [b"k", b"a", b"1"], [b"k", b"a", Double(b"1")]),
    ("BZPOPMIN a 1", NULL_ARRAY, None),
    ("ZMPOP 1 a MIN", [b"k", [[b"a", b"1"]]], [b"k", [[b"a", Double(b"1")]]]),
    ("BLPOP a 1", NULL_ARRAY, None),
    ("LPOP a 2", NULL_ARRAY, None),
    ("LPOP a", None, None),
    ("GEOPOS a b c", [[b"1.5", b"2"], NULL_ARRAY], [[Double(b"1.5"), Double(b"2")], None]),
    ("XREAD STREAMS s 0", [[b"s", ENTRIES]], Map([(b"s", ENTRIES)])),
    ("XREAD STREAMS s 0", NULL_ARRAY, None),
    ("XINFO GROUPS s", [[b"name", b"g"]], [Map([(b"name", b"g")])]),
    ("CONFIG GET a", [b"a", b"1"], Map([(b"a", b"1")])),
    ("INFO", b"# Server", Verbatim(b"# Server")),
    ("EVAL x 0", [b"a"], [b"a"]),
    ("HRANDFIELD a 1 WITHVALUES", [b"f", b"v"], [[b"f", b"v"]]),
]


@pytest.mark.parametrize(("line", "resp2", "resp3"), CASES)
def test_replies(line: str, resp2: Any, resp3: Any) -> None:
    command = encode_command(*line.encode().split())
    assert Translator(3).reply(command, encode(resp2, 2)) == encode(resp3, 3)
    assert Translator(2).reply(command, encode(resp3, 3)) == encode(resp2, 2)


def test_transactions() -> None:
    for protocol in (2, 3):
        translator = Translator(protocol)
        other = 5 - protocol
        steps: list[tuple[bytes, Any, Any]] = [
            (b"MULTI", Simple(b"OK"), Simple(b"OK")),
            (b"HGETALL a", Simple(b"QUEUED"), Simple(b"QUEUED")),
            (b"EXEC extra", Failure(b"ERR wrong number"), Failure(b"ERR wrong number")),
            (b"ZSCORE a b", Simple(b"QUEUED"), Simple(b"QUEUED")),
            (b"EXEC", [[b"f", b"v"], b"1.5"], [Map([(b"f", b"v")]), Double(b"1.5")]),
            (b"HGETALL a", [b"f", b"v"], Map([(b"f", b"v")])),
            (b"MULTI", Simple(b"OK"), Simple(b"OK")),
            (b"EXEC", NULL_ARRAY, None),
            (b"EXEC", Failure(b"ERR EXEC without MULTI"), Failure(b"ERR EXEC without MULTI")),
        ]
        for line, resp2, resp3 in steps:
            said, expected = (resp2, resp3) if protocol == 3 else (resp3, resp2)
            assert translator.reply(encode_command(*line.split()), encode(said, other)) == encode(expected, protocol)


def test_messages() -> None:
    message = [b"message", b"a", b"x"]
    assert Translator(3).unasked(encode(message, 2)) == encode(Push(message), 3)
    assert Translator(2).unasked(encode(Push(message), 3)) == encode(message, 2)


@pytest.mark.parametrize(
    "data", [b"*1\r\n$1\r\na\r\n", b":1\r\n", b"$3\r\nabc\r\n", b"*-1\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n"]
)
@pytest.mark.parametrize("line", sorted({line for line, _, _ in CASES}))
def test_what_is_of_another_shape_than_it_should_be_is_no_failure(line: str, data: bytes) -> None:
    command = encode_command(*line.encode().split())
    assert Translator(3).reply(command, data)
    assert Translator(2).reply(command, data)
