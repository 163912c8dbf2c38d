"""Connections of a client's own: who gets one, what is sent there and heard from there, and when it is given back."""

from __future__ import annotations

import pytest

from l4proxy.plugins.redis.dedicated import DedicatedConnection
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Push, Simple
from redis_memory import RedisMemory, is_upstream_error, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")


def test_a_long_command_has_a_connection_to_itself(redis_memory: RedisMemory) -> None:
    client, other = redis_memory.start(), redis_memory.another()
    command = encode_command(b"ECHO", b"x" * 200_000) + encode_command(b"GET", b"a")
    client.end.send(command[:100_000])
    other.send(b"GET", b"b")
    redis_memory.serve()
    assert other.replies() == [b"0  GET b"]
    client.end.send(command[100_000:])
    redis_memory.serve()
    assert client.replies() == [b"x" * 200_000, b"0  GET a"]
    assert len(redis_memory.servers) == 2


def test_a_transaction_in_pieces_has_a_connection_to_itself(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    for words in ([b"MULTI"], [b"INCR", b"a"]):
        one.send(*words)
        two.send(b"GET", b"b")
        redis_memory.serve()
    one.send(b"EXEC")
    redis_memory.serve()
    assert one.replies() == [OK, Simple(b"QUEUED"), [b"0  INCR a"]]
    assert two.replies() == [b"0  GET b"] * 2
    shared, own = sorted(redis_memory.servers, key=lambda server: server.commands[0] == [b"MULTI"])
    assert own.commands == [[b"MULTI"], [b"INCR", b"a"], [b"EXEC"]]
    one.send(b"GET", b"c")
    redis_memory.serve()
    assert shared.commands[-1] == [b"GET", b"c"]


def test_a_connection_of_ones_own_is_given_to_the_next(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    for client in (one, two):
        for words in ([b"MULTI"], [b"EXEC"], [b"WATCH", b"a"], [b"UNWATCH"]):
            client.send(*words)
            redis_memory.serve()
    assert len(redis_memory.servers) == 1
    one.send(b"WATCH", b"a")
    two.send(b"WATCH", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 2


@pytest.mark.parametrize("words", [[b"EVAL", b"return 1", b"0"], [b"EVALSHA", b"0" * 40, b"0"], [b"WAIT", b"0", b"0"]])
def test_what_passes_in_a_transaction_leaves_nothing(words: list[bytes], redis_memory: RedisMemory) -> None:
    client, other = redis_memory.start(), redis_memory.another()
    for each in ([b"MULTI"], words, [b"EXEC"]):
        client.send(*each)
        redis_memory.serve()
    assert client.replies()[1] == Simple(b"QUEUED")
    other.send(b"WATCH", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 1
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]


def test_what_changes_the_connection_in_a_transaction_stays_with_it(redis_memory: RedisMemory) -> None:
    client, other = redis_memory.start(), redis_memory.another()
    for each in ([b"MULTI"], [b"SELECT", b"1"], [b"EXEC"]):
        client.send(*each)
        redis_memory.serve()
    other.send(b"WATCH", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 2


def test_who_watches_keeps_the_connection(redis_memory: RedisMemory) -> None:
    """EXEC without MULTI does not end it, nor does one that is wrong."""
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    for words in ([b"EXEC"], [b"GET", b"b"]):
        client.send(*words)
        redis_memory.serve()
    (server,) = redis_memory.servers
    assert server.commands == [[b"WATCH", b"a"], [b"EXEC"], [b"GET", b"b"]]


def test_a_lost_transaction_ends_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    redis_memory.serve()
    client.send(b"GET", b"a")
    redis_memory.look()[0].end.reset()
    watched, lost = client.replies()
    assert watched == b"0  WATCH a"
    assert is_upstream_error(lost)
    assert client.end.got_eof


def test_a_blocking_command_blocks_nobody_else(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    one.send(b"BLPOP", b"a", b"0")
    two.send(b"GET", b"b")
    redis_memory.serve()
    assert two.replies() == [b"0  GET b"]
    blocked = next(server for server in redis_memory.servers if server.blocked)
    blocked.reply([b"a", b"x"])
    blocked.say()
    assert one.replies() == [[b"a", b"x"]]


def test_it_is_cancelled_when_the_client_leaves(redis_memory: RedisMemory) -> None:
    for leave in ("eof", "reset"):
        client = redis_memory.start()
        redis_memory.servers.clear()
        client.send(b"BLPOP", b"a", b"0")
        redis_memory.serve()
        (blocked,) = redis_memory.servers
        getattr(client.end, leave)()
        client.harness.advance(10)
        assert blocked.end.closed


def test_wait_knows_of_what_was_written(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(encode_command(b"SET", b"a", b"1") + encode_command(b"WAIT", b"1", b"0"))
    redis_memory.serve()
    assert client.replies() == [b"0  SET a 1", b"0  WAIT 1 0"]
    assert redis_memory.servers[1].commands == [[b"PING"], [b"WAIT", b"1", b"0"]]


def test_subscriptions(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"a", b"b")
    redis_memory.serve()
    assert client.replies() == [[b"subscribe", b"a", 1], [b"subscribe", b"b", 2]]
    (server,) = redis_memory.servers
    server.push(b"message", b"a", b"hello")
    server.say()
    client.send(b"UNSUBSCRIBE")
    server.push(b"message", b"b", b"x" * 100_000)
    redis_memory.serve()
    assert client.replies() == [
        [b"message", b"a", b"hello"], [b"message", b"b", b"x" * 100_000],
        [b"unsubscribe", b"a", 1], [b"unsubscribe", b"b", 0],
    ]  # fmt: skip
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]
    assert len(redis_memory.servers) == 2


def test_pushes_among_replies(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"HELLO", b"3")
    redis_memory.serve()
    client.replies()
    client.send(b"SUBSCRIBE", b"a")
    redis_memory.serve()
    server = redis_memory.servers[-1]
    client.send(b"GET", b"b")
    client.send(b"UNSUBSCRIBE", b"a")
    client.send(b"GET", b"c")
    server.push(b"message", b"a", b"1")
    server.work()
    server.say()
    assert client.replies() == [
        Push([b"subscribe", b"a", 1]), Push([b"message", b"a", b"1"]), b"0  GET b",
        Push([b"unsubscribe", b"a", 0]), b"0  GET c",
    ]  # fmt: skip


def test_who_subscribes_and_leaves_frees_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"a")
    redis_memory.serve()
    client.end.eof()
    assert client.end.got_eof
    assert redis_memory.servers[0].end.closed


@pytest.mark.parametrize("words", [[b"EXEC", b"x"], [b"DISCARD", b"x"]])
def test_what_does_not_end_a_transaction_does_not_let_others_into_it(
    words: list[bytes], redis_memory: RedisMemory
) -> None:
    client, another = redis_memory.start(), redis_memory.another()
    client.end.send(encode_command(b"MULTI") + encode_command(b"GET", b"a") + encode_command(*words))
    redis_memory.serve()
    another.send(b"GET", b"b")
    redis_memory.serve()
    assert another.replies() == [b"0  GET b"]
    assert not any(
        [b"MULTI"] in server.commands and [b"GET", b"b"] in server.commands for server in redis_memory.servers
    )


def test_no_reply_is_wanted_from_a_connection_of_ones_own(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.send(b"WATCH", b"a")
    client.send(b"GET", b"a")
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.send(b"GET", b"b")
    client.send(b"GET", b"c")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", b"0  GET c"]


def test_a_subscription_in_a_transaction_is_queued_once(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    for words in ([b"MULTI"], [b"SUBSCRIBE", b"c", b"d"], [b"RESET"], [b"GET", b"a"]):
        client.send(*words)
        redis_memory.serve()
    assert client.replies() == [OK, Simple(b"QUEUED"), Simple(b"RESET"), b"0  GET a"]


def test_what_is_about_the_connection_stays_with_it(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"CLIENT", b"TRACKING", b"ON")
    redis_memory.serve()
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 1
    assert redis_memory.servers[0].commands[-1] == [b"GET", b"a"]
    client.send(b"RESET")
    client.send(b"GET", b"b")
    redis_memory.serve()
    assert redis_memory.servers[0].end.closed
    assert client.replies()[2:] == [Simple(b"RESET"), b"0  GET b"]


def test_half_a_long_command_spoils_the_connection(redis_memory: RedisMemory) -> None:
    """Its rest will not come: whoever was given that connection would speak into the middle of it."""
    client, other = redis_memory.start(), redis_memory.another()
    client.end.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n" + b"x" * 100_000)
    redis_memory.serve()
    (server,) = redis_memory.servers
    client.end.reset()
    assert server.end.closed
    other.send(b"WATCH", b"a")
    redis_memory.serve()
    assert other.replies() == [b"0  WATCH a"]


def test_sending_may_end_the_connection(redis_memory: RedisMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the server has reset a connection of the client's own, and the write is the first to find out."""
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    redis_memory.serve()

    def reset(connection: DedicatedConnection, _data: bytes) -> None:
        connection._when_lost(b"-ERR upstream failure: reset\r\n")

    monkeypatch.setattr(DedicatedConnection, "send_part", reset)
    client.end.send(encode_command(b"GET", b"a") + encode_command(b"GET", b"b"))
    _, *lost = client.replies()
    assert list(map(is_upstream_error, lost)) == [True, True]
    assert redis_memory.statistic("l4proxy_filter_errors_total", filter="redis_proxy") == 0
    assert client.harness.closed is not None
    assert client.harness.closed.detail == "state_lost"
