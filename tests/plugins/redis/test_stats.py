"""What is counted, and what outlier detection is told."""

from __future__ import annotations

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure
from redis_memory import Client, RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

ENDPOINT = "192.0.2.1:1"
LOADING = b"LOADING Redis is loading the dataset in memory"


def fail(redis_memory: RedisMemory, client: Client, *errors: bytes) -> None:
    """The only server answers so many commands so."""
    for error in errors:
        client.send(b"GET", b"a")
        server = redis_memory.look()[-1]
        server.work()
        server.replies.clear()
        server.reply(Failure(error) if error else b"well")
        server.say()


def observed(redis_memory: RedisMemory, metric: str, **labels: str) -> int:
    """How many values a histogram has."""
    return sum(redis_memory.statistic(metric, cluster="c", **labels)["counts"])


def ejections(redis_memory: RedisMemory) -> int:
    endpoint = redis_memory.cluster.cluster.endpoints.current[ENDPOINT]
    return endpoint.stats.ejections_total


def test_commands_and_endpoints(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"GET", b"a")
    client.send(b"GET", b"b")
    client.send(b"ECHO", b"c")
    redis_memory.serve()
    client.send(b"BLPOP", b"d", b"0")  # on a connection of its own
    redis_memory.serve()
    redis_memory.look()[-1].reply([b"d", b"1"])
    redis_memory.serve()
    get, of_get = encode_command(b"GET", b"a"), encode_command(b"ECHO", b"c")
    block = encode_command(b"BLPOP", b"d", b"0")
    count = redis_memory.statistic
    assert count("l4proxy_redis_command_commands_total", cluster="c", command="GET") == 2
    assert observed(redis_memory, "l4proxy_redis_command_seconds", command="GET") == 2
    assert count("l4proxy_redis_command_request_bytes_total", cluster="c", command="GET") == 2 * len(get)
    assert count("l4proxy_redis_endpoint_commands_total", cluster="c", endpoint=ENDPOINT) == 4
    assert observed(redis_memory, "l4proxy_redis_endpoint_seconds", endpoint=ENDPOINT) == 4
    sent = count("l4proxy_redis_endpoint_request_bytes_total", cluster="c", endpoint=ENDPOINT)
    assert sent == 2 * len(get) + len(of_get) + len(block)
    got = count("l4proxy_redis_endpoint_reply_bytes_total", cluster="c", endpoint=ENDPOINT)
    assert got == sum(
        count("l4proxy_redis_command_reply_bytes_total", cluster="c", command=command)
        for command in ("GET", "ECHO", "BLPOP")
    )
    redis_memory.servers[0].end.eof()
    redis_memory.servers[1].end.eof()
    assert count("l4proxy_redis_endpoint_commands_total", cluster="c", endpoint=ENDPOINT) == 4


@pytest.mark.parametrize("command", [b"GET", b"BLPOP"])
def test_what_waits_for_a_connection_has_waited(command: bytes, redis_memory: RedisMemory) -> None:
    redis_memory.cluster.answer = "wait"
    client = redis_memory.start()
    client.send(command, b"a", *([b"0"] if command == b"BLPOP" else []))
    redis_memory.cluster.accept_all()
    redis_memory.serve()
    client.send(b"GET", b"b")  # nothing is in its way
    redis_memory.serve()
    assert observed(redis_memory, "l4proxy_redis_endpoint_queue_seconds", endpoint=ENDPOINT) == 1


def test_what_a_server_does_not_read_has_waited(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"GET", b"a")
    redis_memory.serve()
    (server,) = redis_memory.servers
    server.end.stop_reading()
    for _ in range(200):
        client.send(b"SET", b"b", bytes(10_000))
    redis_memory.another().send(b"GET", b"b")
    server.end.read_again()
    redis_memory.serve()
    assert observed(redis_memory, "l4proxy_redis_endpoint_queue_seconds", endpoint=ENDPOINT) >= 1


@pytest.mark.parametrize(
    ("errors", "ejected"),
    [
        ([LOADING] * 3, True),
        ([LOADING, LOADING, b"", LOADING, LOADING], False),
        ([b"WRONGTYPE Operation against a key"] * 5, False),
    ],
)
def test_a_server_that_cannot_serve_is_ejected(errors: list[bytes], ejected: bool, redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster={"outlier_detection": {"consecutive_failures": 3}})
    fail(redis_memory, client, *errors)
    assert ejections(redis_memory) == ejected


def test_a_server_that_says_nothing_is_ejected(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(op_timeout="1s", cluster={"outlier_detection": {"consecutive_failures": 3}})
    for _ in range(3):
        client.send(b"GET", b"a")
    client.harness.advance(2)
    assert [str(reply) for reply in client.replies()] == [str(b"ERR upstream failure: no reply in time")] * 3
    assert ejections(redis_memory) == 1


def test_a_wrong_password_is_not_the_servers_doing(redis_memory: RedisMemory) -> None:
    redis_memory.password = b"right"
    client = redis_memory.start(password="wrong", cluster={"outlier_detection": {"consecutive_failures": 1}})
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert b"WRONGPASS" in client.replies()[0]
    assert ejections(redis_memory) == 0


def test_clients_leave_a_server_that_is_not_well(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster={"endpoints": [ENDPOINT, "192.0.2.2:1"]})
    client.send(b"GET", b"a")
    redis_memory.serve()
    first = redis_memory.cluster.targets[0]
    redis_memory.cluster.cluster.endpoints.current[f"{first}:1"].ejected = True
    client.harness.advance(2)
    client.send(b"GET", b"b")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", b"0  GET b"]
    assert redis_memory.cluster.targets[-1] != first
