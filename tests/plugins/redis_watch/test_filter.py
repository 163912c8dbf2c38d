"""The filter in a chain: in front of a real server, and with bytes that are none of Redis'."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import pytest

from l4proxy.access_log.format import compile_line
from l4proxy.plugins.redis_watch.command_log import RedisRecord
from l4proxy.plugins.redis_watch.filter import RedisWatch
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import NULL_ARRAY, Simple
from l4proxy.testing import Proxy, StartProxy, check_filter, harness
from redis_fuzz import commands
from services.needs import needs, program
from services.redis import RedisServer

PING, PONG = encode_command(b"PING"), b"+PONG\r\n"


def test_it_keeps_the_contract_and_every_byte() -> None:
    check_filter(
        RedisWatch, client=[PING, PING], upstream=[PONG, PONG], expect_upstream=PING * 2, expect_client=PONG * 2
    )


@pytest.mark.parametrize("garbage", [b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x01", b"*1\r\n\xff\r\n"])
def test_what_is_not_redis_passes_too(garbage: bytes) -> None:
    h = harness(RedisWatch)
    for _ in range(2):
        h.client.send(garbage)
        h.upstream.send(garbage)
    assert h.upstream.received == h.client.received == garbage * 2
    assert h.closed is None


@needs("redis-server")
@pytest.mark.parametrize(("protocol", "options"), [(2, {}), (3, {}), (2, {"hot_keys": 0})])
def test_every_command_is_understood(
    protocol: int, options: dict[str, Any], proxy: StartProxy, redis: RedisServer
) -> None:
    """Thousands of commands of all kinds, in pipelines: each has one reply, and nothing is left over."""
    running = proxy(RedisWatch, upstream=redis.address, **options)
    chance, source = random.Random(protocol), commands(protocol, without=frozenset(("RESET",)))
    with redis.connect(running.address[1]) as client:
        client.ask("HELLO", b"%d" % protocol)
        asked = 1
        for _ in range(300):
            pipeline = [next(source) for _ in range(chance.choice([1, 1, 1, 2, 5, 20]))]
            asked += len(pipeline)
            data = b"".join(encode_command(*words) for words in pipeline)
            cut = chance.randrange(len(data))
            client.send(data[:cut], data[cut:])
            for _ in pipeline:
                client.reply()
    running.wait_closed()
    assert running.stat("l4proxy_inspection_stopped_total") == 0
    assert running.records[0].state["redis:commands"] == asked
    assert running.stat("l4proxy_redis_watch_command_commands_total") == asked
    assert running.stat("l4proxy_redis_watch_endpoint_commands_total", endpoint=redis.address) == asked
    for name in ("unasked", "unanswered"):
        assert running.stat(f"l4proxy_redis_watch_{name}_total") == 0


@needs("redis-server")
def test_messages_transactions_and_waiting(proxy: StartProxy, redis: RedisServer) -> None:
    running = proxy(RedisWatch, upstream=redis.address)
    port = running.address[1]
    with redis.connect(port) as two, redis.connect(port) as three, redis.connect(port) as other:
        three.ask("HELLO", "3")
        for client in (two, three):
            client.ask("SUBSCRIBE", "watch_channel")
        for _ in range(50):
            other.ask("PUBLISH", "watch_channel", b"x" * 100)
        for client in (two, three):
            for _ in range(50):
                client.reply()
        assert three.ask("PING") == Simple(b"PONG")
        assert two.ask("UNSUBSCRIBE") == [b"unsubscribe", b"watch_channel", 0]
        assert two.ask("BLPOP", "watch_queue", "0.1") == NULL_ARRAY
        three.send(encode_command(b"CLIENT", b"TRACKING", b"ON"), encode_command(b"GET", b"watch_key"))
        assert [three.reply()[:1] for _ in range(2)] == [b"+", b"_"]
        other.ask("SET", "watch_key", "1")
        assert three.reply().startswith(b">2\r\n$10\r\ninvalidate")
        other.send(b"".join(encode_command(*words) for words in ((b"MULTI",), (b"LPOP", b"watch_key"), (b"EXEC",))))
        assert [other.reply()[:1] for _ in range(3)] == [b"+", b"+", b"*"]
        other.ask("DEL", "watch_key")
    running.wait_closed(3)
    assert running.stat("l4proxy_redis_watch_messages_total") == 100
    assert running.stat("l4proxy_redis_watch_pushes_total", kind="invalidate") >= 1
    assert running.stat("l4proxy_redis_watch_command_errors_total", command="LPOP", error="WRONGTYPE") == 1
    assert running.stat("l4proxy_redis_watch_transactions_total", outcome="executed") == 1
    assert running.stat("l4proxy_redis_watch_unasked_total") == 0
    assert running.stat("l4proxy_inspection_stopped_total") == 0


@needs("redis-benchmark")
def test_many_clients(proxy: StartProxy, redis: RedisServer) -> None:
    running = proxy(RedisWatch, upstream=redis.address, keys_per_second=0)
    load = [program("redis-benchmark"), "-p", str(running.address[1]), "-c", "50", "-n", "5000", "-P", "8", "-r", "99"]
    subprocess.run([*load, "-t", "set,get,lpush,mset", "--csv"], check=True, capture_output=True)
    for command in ("GET", "SET", "LPUSH"):
        assert running.stat("l4proxy_redis_watch_command_commands_total", command=command) == 5000
    assert running.stat("l4proxy_redis_watch_prefix_keys_total", prefix="key") == 5000 * 12
    assert running.stat("l4proxy_redis_watch_prefix_keys_total", prefix="mylist") == 0


def say(running: Proxy, redis: RedisServer, logged: int) -> None:
    with redis.connect(running.address[1]) as client:
        client.ask("CLIENT", "SETNAME", "tests")
        client.ask("SET", "log:1", "secret-value")
        client.ask("LPOP", "log:1")
        client.ask("DEL", "log:1")
    running.wait_closed(logged + 1)


@needs("redis-server")
def test_commands_are_logged_beside_their_connection(proxy: StartProxy, redis: RedisServer) -> None:
    running = proxy(RedisWatch, upstream=redis.address, log_commands={"keys": ["log:*"], "commands": ["lpop", "SET"]})
    say(running, redis, 2)
    first, second, connection = running.records
    assert isinstance(first, RedisRecord)
    assert isinstance(second, RedisRecord)
    assert (first.failed, second.failed) == (False, True)
    line = json.loads(compile_line("json")(second))
    assert line.pop("duration") >= 0
    assert {key: line[key] for key in ("command", "keys", "client", "error", "database")} == {
        "command": "LPOP", "keys": "log:1", "client": "tests", "error": "WRONGTYPE", "database": 0,
    }  # fmt: skip
    assert "secret-value" not in compile_line("text")(first)
    assert " SET keys=log:1 client=tests > 127.0.0.1:" in compile_line("text")(first)
    printed = compile_line("%REDIS_COMMAND% %FILTER_STATE(redis:name)% %FILTER_STATE(redis:commands)%")
    assert printed(connection).strip() == "- tests 4"


@needs("redis-server")
@pytest.mark.parametrize(
    ("chosen", "logged"),
    [
        ({"errors_only": True}, ["LPOP"]),
        ({"min_duration": "1h"}, []),
        ({"sample": 0}, []),
        ({"clients": ["other"]}, []),
        ({"clients": ["tests", "127.0.0.1"]}, ["CLIENT", "SET", "LPOP", "DEL"]),
    ],
)
def test_which_commands_are_logged(
    chosen: dict[str, object], logged: list[str], proxy: StartProxy, redis: RedisServer
) -> None:
    running = proxy(RedisWatch, upstream=redis.address, log_commands=chosen)
    say(running, redis, len(logged))
    assert [one.exchange.kind for one in running.records if isinstance(one, RedisRecord) and one.exchange] == logged
