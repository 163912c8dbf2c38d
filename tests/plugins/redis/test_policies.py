"""Message filters do the same wherever keys are: one server, several by hash, a Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from l4proxy.config.types import Use
from l4proxy.plugins.redis.message import RedisFilter
from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.plugins.redis_auth import RedisAuth
from l4proxy.plugins.redis_block import RedisBlock
from l4proxy.plugins.redis_fault import RedisFault
from l4proxy.plugins.redis_local_ratelimit import RedisLocalRatelimit
from l4proxy.plugins.redis_rename import RedisRename
from l4proxy.plugins.redis_ttl import RedisTtl
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import decode
from l4proxy.testing import StartProxy, use
from services.needs import needs
from services.redis import RedisConnection, RedisServer
from services.redis_cluster import RedisCluster

NO_KEY = "NOPERM this user has no permissions to access one of the keys used as arguments"
NO_CHANNEL = NO_KEY.replace("keys", "channels")
ABORTED = "EXECABORT Transaction discarded because of previous errors."
NO_CONFIG = "NOPERM CONFIG GET is blocked by this proxy (block: config)"
LIMITED = "ERR rate limit exceeded"
LOADING = "LOADING on purpose"
FOREVER = "ERR this key may not live for ever (ttl)"

RULES = "~app:* %R~ro:* &news:* +@all -@dangerous +sort"
USERS = [{"name": "default", "rules": "nopass +ping"}, {"name": "app", "password": "pw", "rules": RULES}]
POLICIES: dict[type[RedisFilter[Any]], tuple[dict[str, Any], list[tuple[str, Any]]]] = {
    RedisAuth: (
        {"users": USERS},
        [
            ("get app:{a}", "NOPERM this user has no permissions to run the 'get' command"),
            ("auth app pw", "OK"),
            ("multi|set app:{a} 1|get ro:{a}|exec", ["OK", "QUEUED", "QUEUED", ["OK", None]]),
            ("multi|set app:{a} 2|set ro:{a} 2|exec|get app:{a}", ["OK", "QUEUED", NO_KEY, ABORTED, "1"]),
            ("mget app:{a} app:{b}|mget app:{a} b", [["1", None], NO_KEY]),
            ("eval return_1 1 app:{a}", 1),
            ("eval return_1 1 {a}", NO_KEY),
            ("rpush app:{l} 2 1|sort app:{l} store app:{l}s|sort app:{l} store {l}s", [2, 2, NO_KEY]),
            ("subscribe other|subscribe news:a", [NO_CHANNEL, ["subscribe", "news:a", 1]]),
        ],
    ),
    RedisBlock: (
        {"keys": False},
        [
            ("multi|set {a} 1|config get port|exec|exists {a}", ["OK", "QUEUED", NO_CONFIG, ABORTED, 0]),
            ("set {a} 1|config get port|get {a}|keys {a}", ["OK", NO_CONFIG, "1", ["{a}"]]),
        ],
    ),
    RedisRename: (
        {"commands": {"MYGET": "GET", "MYMGET": "MGET", "MYEVAL": "EVAL"}},
        [
            ("mset {a} 1 {b} 2|myget {a}|mymget {a} {b}", ["OK", "1", ["1", "2"]]),
            ("multi|myget {a}|set {a} 3|exec|myeval return_1 1 {b}", ["OK", "QUEUED", "QUEUED", ["1", "OK"], 1]),
        ],
    ),
    RedisLocalRatelimit: (
        {"max_tokens": 2, "fill_interval": "1h", "per": "key_prefix"},
        [
            ("get u:{a}|get v:{b}|get u:{c}|get u:{d}|get v:{e}", [None, None, None, LIMITED, None]),
            ("mget v:{b} w:{a}|mget w:{a} v:{b}|ping", [LIMITED, [None, None], "PONG"]),
            ("multi|set x:{t} 1|get x:{t}|set x:{t} 2|exec", ["OK", "QUEUED", "QUEUED", LIMITED, ABORTED]),
        ],
    ),
    RedisFault: (
        {"error": LOADING, "commands": ["GET", "SUBSCRIBE"]},
        [
            ("set {a} 1|get {a}|strlen {a}|mget {a} {z}", ["OK", LOADING, 1, ["1", None]]),
            ("multi|set {a} 22|get {a}|exec|strlen {a}", ["OK", "QUEUED", LOADING, ABORTED, 1]),
            ("subscribe c", LOADING),
        ],
    ),
    RedisTtl: (
        {"rules": [{"prefix": "s:", "default": "1h", "max": "1d"}]},
        [
            ("set s:{a} 1|ttl s:{a}|setnx s:{b} 1|setnx s:{b} 1|set o 1|ttl o", ["OK", 3600, 1, 0, "OK", -1]),
            ("multi|setnx s:{c} 1|setnx s:{c} 2|getset s:{c} 3|exec", ["OK", *["QUEUED"] * 3, [1, 0, "1"]]),
            ("ttl s:{c}|multi|persist s:{c}|exec|ttl s:{c}", [3600, "OK", FOREVER, ABORTED, 3600]),
        ],
    ),
}


@pytest.fixture(params=["servers", "hashed", "cluster"])
def target(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """A cluster, and what ``redis_proxy`` is told of it."""
    if request.param == "cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        for port in set(cluster.owners().values()):
            cluster.ask(port, "flushall")
        yield {"endpoints": cluster.addresses}, {"topology": "cluster"}
        return
    three: list[RedisServer] = request.getfixturevalue("redis_three")
    for server in three:
        server.command("flushall")
    some = three if request.param == "hashed" else three[:1]
    yield {"endpoints": [one.address for one in some], "load_balancer": "ring_hash"}, {}


def ask(connection: RedisConnection, line: str) -> Any:
    """One command, or several in one write."""
    commands = [[word.replace("_", " ").encode() for word in one.split()] for one in line.split("|")]
    connection.send(b"".join(encode_command(*words) for words in commands))
    replies = [_text(decode(connection.reply())[0]) for _ in commands]
    return replies if len(replies) > 1 else replies[0]


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(one) for one in value]
    if isinstance(value, int):
        return round(value, -2) if value > 1000 else value  # a time to live
    return value.decode() if isinstance(value, bytes) else value


@needs("redis-server", "redis-cli")
def test_each_does_the_same_wherever_keys_are(target: tuple[dict[str, Any], dict[str, Any]], proxy: StartProxy) -> None:
    """Also in transactions, pipelines, scripts and subscriptions."""
    cluster, options = target
    for cls, (policy, dialogue) in POLICIES.items():
        filters = [Use(cls.name, use(cls, **policy)[1], cls=cls)]
        port = proxy(RedisProxy, cluster="c", clusters={"c": cluster}, filters=filters, **options).address[1]
        with RedisConnection(port) as connection:
            assert [(line, ask(connection, line)) for line, _ in dialogue] == dialogue, cls.name
