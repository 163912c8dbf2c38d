from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.translate import Translator
from l4proxy.protocols.redis.values import NULL_ARRAY, Double, Failure, Map, Push, Set, Simple, Verbatim, encode
from services.needs import needs
from services.redis import redis_server

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


def test_invalid_keys_are_told_in_resp2_to_who_has_subscribed() -> None:
    push = encode(Push([b"invalidate", [b"a", b"b"]]), 3)
    message = encode([b"message", b"__redis__:invalidate", [b"a", b"b"]], 2)
    assert Translator(2).unasked(push, invalidations=True) == message
    assert Translator(2).unasked(push) == b""
    assert Translator(2).unasked(encode(Push([b"tracking-redir-broken", 7]), 3)) == b""


@pytest.mark.parametrize(
    "data", [b"*1\r\n$1\r\na\r\n", b":1\r\n", b"$3\r\nabc\r\n", b"*-1\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n"]
)
@pytest.mark.parametrize("line", sorted({line for line, _, _ in CASES}))
def test_what_is_of_another_shape_than_it_should_be_is_no_failure(line: str, data: bytes) -> None:
    command = encode_command(*line.encode().split())
    assert Translator(3).reply(command, data)
    assert Translator(2).reply(command, data)


SET_UP = """
GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania | ZADD z 1 a 2.5 b | HSET h f v | SADD s one
XADD x 1-1 f v | XGROUP CREATE x g 0 | XGROUP CREATE x empty 0 | XREADGROUP GROUP g c STREAMS x > | RPUSH l a b
ACL SETUSER tester on >secret ~a* +get (+set ~b*) | SLOWLOG RESET | SET k v | PFADD hll a
FUNCTION LOAD #!lua\\_name=l\\nlocal\\_f=function()return'x'end;redis.register_function{function_name='f',callback=f}
"""
ASKED = """
GEOPOS geo Palermo no | GEODIST geo Palermo Catania km | GEOHASH geo Palermo
GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC | GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHCOORD
GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHCOORD WITHDIST WITHHASH
GEORADIUS geo 15 37 200 km WITHDIST ASC | GEORADIUSBYMEMBER_RO geo Palermo 200 km WITHCOORD ASC
XINFO STREAM x FULL | XINFO GROUPS x | XPENDING x g | XPENDING x empty | XPENDING x empty - + 10 | XRANGE x - +
XREAD STREAMS x 0 | XREAD STREAMS x $ | XAUTOCLAIM x empty c 0 0 | ZRANGE z 0 -1 WITHSCORES | ZSCORE z a | ZSCORE z no
ZMSCORE z a no | ZRANK z a | ZUNION 1 z WITHSCORES | ZINTER 1 z WITHSCORES | ZDIFF 1 z WITHSCORES | ZDIFF 1 z
ZREVRANGEBYSCORE z 9 0 WITHSCORES | ZRANDMEMBER z 0 WITHSCORES | ZINCRBY z 0 a | ZADD z INCR 0 a | ZADD z XX INCR 1 no
ZSCAN z 0 | HSCAN h 0 | SSCAN s 0 | HGETALL h | HGETALL no | HRANDFIELD h 1 WITHVALUES | HRANDFIELD h 1 | HRANDFIELD no
SMEMBERS s | SMEMBERS no | SINTER s s | SDIFF s no | SRANDMEMBER s 1 | SRANDMEMBER s | SMISMEMBER s one no
LPOS l a | LPOS l no | LPOS l a COUNT 0 | LCS k k | LCS k k IDX | LCS k k IDX WITHMATCHLEN | LMPOP 1 no LEFT
BLPOP no 0.01 | BLMOVE no no LEFT LEFT 0.01 | BZPOPMIN no 0.01 | BZMPOP 0.01 1 no MIN | BLMPOP 0.01 1 no LEFT
LPOP no | LPOP no 1 | RPOP no 2 | SPOP no | SPOP no 1 | ZPOPMIN no | ZPOPMIN no 1 | GETDEL no | GET no | MGET k no
CONFIG GET max* | CONFIG GET no | ACL GETUSER tester | ACL GETUSER no | ACL LIST | ACL CAT | ACL WHOAMI | ACL LOG
COMMAND INFO GET no XADD | COMMAND DOCS GET CONFIG | COMMAND COUNT | COMMAND GETKEYS SET a b
COMMAND GETKEYSANDFLAGS SET a b | COMMAND LIST FILTERBY MODULE x
FUNCTION LIST | FUNCTION LIST WITHCODE | FUNCTION STATS | FCALL f 0 | SLOWLOG GET | SLOWLOG LEN | OBJECT ENCODING l
OBJECT FREQ k | OBJECT HELP | MEMORY USAGE k | MEMORY DOCTOR | LATENCY LATEST | LATENCY DOCTOR
MODULE LIST | CLIENT GETNAME | CLIENT TRACKINGINFO | CLIENT GETREDIR | PUBSUB NUMSUB a | PUBSUB SHARDNUMSUB a
PUBSUB CHANNELS | ROLE | WAIT 0 0 | LOLWUT VERSION 5 1 1 1 | INFO replication | LASTSAVE | TYPE k
EXISTS k no | EXPIRETIME k | TTL k | COPY k k2 REPLACE | DUMP no | SORT l ALPHA | SORT l BY no GET # GET no* ALPHA
BITFIELD k GET u8 0 | BITFIELD k OVERFLOW FAIL SET u1 0 9 | SETNX k x
GETEX k | PFCOUNT hll | SET k v GET | SET k v NX GET | SET k v NX | SET k v XX | OBJECT ENCODING no | SCRIPT EXISTS a
EVAL return{1,2.5,'x',false,{1}} 0 | EVAL redis.setresp(3);return{double=1.5} 0
EVAL redis.setresp(3);return{map={a=1}} 0 | EVAL redis.setresp(3);return{set={x=true}} 0 | EVAL return{err='MY\\_e'} 0
EVAL return\\_redis.call('hgetall','h') 0 | EVAL redis.setresp(3);return\\_redis.call('hgetall','h') 0
EVAL redis.setresp(3);return\\_true 0 | EVAL redis.setresp(3);return{big_number='123'} 0
"""
DIFFER = frozenset(("EVAL",))
"""Of scripts only the server knows which types they answer in; they come as near as can be."""


def _lines(text: str) -> list[list[bytes]]:
    lines = [one.split() for line in text.strip().splitlines() for one in line.split(" | ")]
    return [[word.replace("\\_", " ").replace("\\n", "\n").encode() for word in words] for words in lines]


@needs("redis-server")
def test_the_server_says_the_same(tmp_path: Path) -> None:
    """Each command is asked in both versions, and each reply, said in the other one, is what came in that."""
    with redis_server(tmp_path) as server, server.connect() as in_2, server.connect() as in_3:
        in_3.ask("HELLO", "3")
        for words in _lines(SET_UP):
            assert not isinstance(in_2.ask(*words), Failure), words
        for words in _lines(ASKED):
            command = encode_command(*words)
            in_2.send(command)
            in_3.send(command)
            said_2, said_3 = in_2.reply(), in_3.reply()
            if words[0].decode() not in DIFFER:
                assert Translator(3).reply(command, said_2) == said_3, words
            assert Translator(2).reply(command, said_3) == said_2, words
