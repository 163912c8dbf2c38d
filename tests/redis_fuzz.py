"""Random Redis commands whose replies can be foretold: the same commands on two servers give the same bytes.

Left out is what depends on time, chance, memory or the server itself. What is drawn is often wrong: a key of another
type, a number that is none, too few arguments. Errors are replies, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from l4proxy.protocols.redis.request import encode_command
from services.redis import RedisConnection

__all__ = ["ask_both", "commands"]

TEMPLATES = """
APPEND k v | BITCOUNT k | BITCOUNT k i i | BITFIELD k SET u8 n n GET i5 n | BITFIELD_RO k GET u4 0 | BITOP AND k k k
BITOP NOT k k | BITPOS k b | COPY k k | COPY k k REPLACE | DBSIZE | DECR k | DECRBY k i | DEL k | DEL k k k | ECHO v
EXISTS k k | EXPIRE k 1000 | EXPIREAT k 9999999999 | PERSIST k | PEXPIRE k 100000000
GEOADD k 13.361389 38.115556 m | GEOADD k f f m | GEODIST k m m km | GEOHASH k m m | GEOPOS k m m
GEOSEARCH k FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST WITHCOORD
GEOSEARCHSTORE k k FROMMEMBER m BYBOX 400 400 km | GEORADIUS k 15 37 200 km ASC | GET k | GETBIT k n | GETDEL k
GETEX k | GETRANGE k i i | GETSET k v | HDEL k f f | HEXISTS k f | HGET k f | HGETALL k | HINCRBY k f i
HINCRBYFLOAT k f 1.5 | HKEYS k | HLEN k | HMGET k f f f | HMSET k f v f v | HSET k f v | HSET k f v f v
HSETNX k f v | HSTRLEN k f | HVALS k | INCR k | INCRBY k i | INCRBYFLOAT k 1.25 | KEYS nothing* | LCS k k
LCS k k IDX | LINDEX k i | LINSERT k BEFORE v v | LLEN k | LMOVE k k LEFT RIGHT | LMPOP 2 k k LEFT COUNT 2 | LPOP k
LPOP k 2 | LPOS k v | LPOS k v COUNT 0 | LPUSH k v | LPUSH k v v v | LPUSHX k v | LRANGE k 0 -1 | LRANGE k i i
LREM k i v | LSET k i v | LTRIM k i i | MGET k k k | MSET k v k v | MSETNX k v k v | OBJECT REFCOUNT nokey
PFADD k v v | PFCOUNT k k | PFMERGE k k | PING | PING v | PSETEX k 100000 v | PTTL nokey | PUBLISH c v
PUBSUB CHANNELS | PUBSUB NUMSUB c | RENAME k k | RENAMENX k k | RPOP k | RPOPLPUSH k k | RPUSH k v v | RPUSHX k v
SADD k v v | SCARD k | SDIFFSTORE k k k | SET k v | SET k v NX | SET k v XX GET | SET k v EX 1000 | SET k v KEEPTTL
SETBIT k n b | SETEX k 1000 v | SETNX k v | SETRANGE k n v | SINTERCARD 2 k k | SINTERSTORE k k k | SISMEMBER k v
SMEMBERS empty | SMISMEMBER k v v | SMOVE k k v | SORT k ALPHA | SORT k LIMIT 0 2 DESC | SORT_RO k ALPHA
SORT k ALPHA STORE k | SREM k v v | STRLEN k | SUBSTR k i i | SUNIONSTORE k k k | TOUCH k k | TTL nokey | TYPE k
UNLINK k k | XADD k 1-* f v | XADD k n-1 f v | XACK k g 1-1 | XDEL k 1-1 | XGROUP CREATE k g 0
XGROUP CREATE k g 0 MKSTREAM | XGROUP DESTROY k g | XINFO GROUPS k | XLEN k | XPENDING k g | XRANGE k - +
XRANGE k - + COUNT 2 | XREAD COUNT 2 STREAMS k 0 | XREADGROUP GROUP g c STREAMS k > | XREVRANGE k + -
XTRIM k MAXLEN 2 | XAUTOCLAIM k g c 0 0 | XCLAIM k g c 0 1-1 | ZADD k i v | ZADD k 1.5 v 2.25 v | ZADD k NX i v
ZADD k INCR 0.1 v | ZADD k GT CH i v | ZCARD k | ZCOUNT k -inf +inf | ZDIFF 2 k k WITHSCORES | ZDIFFSTORE k 2 k k
ZINCRBY k 1.5 v | ZINTER 2 k k WITHSCORES | ZINTERCARD 2 k k | ZINTERSTORE k 2 k k | ZLEXCOUNT k - + | ZMPOP 1 k MIN
ZMSCORE k v v | ZPOPMAX k | ZPOPMIN k 2 | ZRANGE k 0 -1 | ZRANGE k 0 -1 WITHSCORES
ZRANGE k -inf +inf BYSCORE LIMIT 0 2 | ZRANGEBYLEX k - + | ZRANGEBYSCORE k -inf (5 WITHSCORES | ZRANGESTORE k k 0 -1
ZRANK k v | ZREM k v | ZREMRANGEBYRANK k 0 0 | ZREMRANGEBYSCORE k i i | ZREVRANGE k 0 -1 WITHSCORES | ZREVRANK k v
ZSCORE k v | ZUNION 2 k k WITHSCORES AGGREGATE MAX | ZUNIONSTORE k 2 k k WEIGHTS 1 2
EVAL return{KEYS[1],ARGV[1],1,{2,'x'}} 1 k v | EVAL return{err='MY'} 0 | EVAL return'ok' 0 | EVALSHA nosuchscript 0
SCRIPT EXISTS a b | FUNCTION LIST | FCALL nosuch 0 | CLIENT GETNAME | CLIENT SETNAME n
CLIENT SETNAME bad\\ name | CLIENT NO-EVICT on | CLIENT CACHING yes | CLIENT nonsense | SELECT 1 | SELECT 0
SELECT 99 | SELECT x | SWAPDB 0 1 | COMMAND COUNT | COMMAND GETKEYS GET a | CONFIG GET maxmemory | DEBUG JMAP
OBJECT HELP | NOSUCHCOMMAND a b | GET | SET k | AUTH wrong | AUTH no body | ACL WHOAMI | ROLE | READONLY | WAIT 0 0
MULTI | EXEC | DISCARD | WATCH k | UNWATCH | MULTI extra | EXEC extra | BLPOP k 0.01 | BRPOP k k 0.01
BLMOVE k k LEFT LEFT 0.01 | BZPOPMIN k 0.01 | BLMPOP 0.01 1 k LEFT | XREAD BLOCK 1 STREAMS nostream $ | SPUBLISH c v
RESET | LOLWUT VERSION 1 1
"""


def commands(seed: int, *, without: frozenset[str] = frozenset()) -> Iterator[list[bytes]]:
    """Yield commands for ever. ``without`` are names that are not to come."""
    chance = random.Random(seed)
    templates = [one.split() for line in TEMPLATES.strip().splitlines() for one in line.split("|") if one.strip()]
    templates = [words for words in templates if words[0] not in without]
    while True:
        words = chance.choice(templates)
        yield [_word(word, chance) for word in words]


def _word(word: str, chance: random.Random) -> bytes:
    match word:
        case "k":
            return b"key%d" % chance.randrange(8)
        case "v" | "m":
            return _value(chance)
        case "f" | "g" | "c":
            return b"%b%d" % (word.encode(), chance.randrange(3))
        case "n":
            return b"%d" % chance.randrange(40)
        case "b":
            return b"%d" % chance.randrange(2)
        case "i":
            return chance.choice([b"0", b"1", b"-1", b"3", b"100", b"9223372036854775807", b"x", b""])
        case "n-1":
            return b"%d-1" % chance.randrange(1, 50)
    return word.replace("\\", "").encode() if word != "bad\\" else b"bad name"


def _value(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.5:
        return b"v%d" % chance.randrange(6)
    if kind < 0.7:
        return b"%d" % chance.randrange(-5, 20)
    if kind < 0.8:
        return b"a\r\nb\0" + bytes([chance.randrange(256)])
    return b"x" * chance.choice([0, 1, 126, 127, 128, 300, 3000])


def ask_both(
    one: RedisConnection, other: RedisConnection, pipeline: Sequence[Sequence[bytes]], chance: random.Random
) -> None:
    """Send the same commands on both connections, in two pieces on the second one; the replies have to be the same."""
    data = b"".join(encode_command(*words) for words in pipeline)
    cut = chance.randrange(len(data))
    one.send(data)
    other.send(data[:cut], data[cut:])
    for words in pipeline:
        assert other.reply() == one.reply(), words
