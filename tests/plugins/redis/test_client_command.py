"""``CLIENT REPLY``, wherever the client's commands go."""

from __future__ import annotations

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Simple
from redis_memory import RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")


def test_client_reply(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.end.send(encode_command(b"GET", b"a") * 2)
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]
    for words in ([b"CLIENT", b"REPLY", b"OFF"], [b"GET", b"b"], [b"MULTI"], [b"EXEC"], [b"CLIENT", b"REPLY", b"ON"]):
        client.send(*words)
        redis_memory.serve()
    client.send(b"GET", b"c")
    redis_memory.serve()
    assert client.replies() == [OK, b"0  GET c"]
    assert [b"GET", b"b"] in redis_memory.servers[0].commands


def test_what_the_server_says_to_client_reply_comes_in_its_turn(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    redis_memory.serve()
    client.send(b"CLIENT", b"REPLY", b"x")
    client.send(b"CLIENT", b"REPLY", b"ON")
    (server,) = redis_memory.look()
    server.work()
    assert server.commands == [[b"WATCH", b"a"], [b"CLIENT", b"REPLY", b"x"]]
    assert len(client.replies()) == 1
    redis_memory.serve()
    assert len(client.replies()) == 2


def test_no_reply_is_wanted_but_what_answers_subscriptions(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    for words in ([b"REPLY", b"OFF"], [b"REPLY", b"SKIP"]):  # off is off
        client.send(b"CLIENT", *words)
    for words in ([b"GET", b"a"], [b"SUBSCRIBE", b"c"], [b"UNSUBSCRIBE", b"c"], [b"CLIENT", b"REPLY", b"ON"]):
        client.send(*words)
        redis_memory.serve()
    assert client.replies() == [[b"subscribe", b"c", 1], [b"unsubscribe", b"c", 0], OK]


def test_who_has_subscribed_in_resp2_gets_what_the_server_says_to_client_reply(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"c")
    client.send(b"CLIENT", b"REPLY", b"OFF")
    redis_memory.serve()
    assert redis_memory.servers[-1].commands == [[b"SUBSCRIBE", b"c"], [b"CLIENT", b"REPLY", b"OFF"]]
    assert len(client.replies()) == 2


def test_who_wants_no_replies_gets_no_lines_of_monitor(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"MONITOR")
    redis_memory.serve()
    server = redis_memory.servers[-1]
    for mode, line in ((b"OFF", b"1.5 unheard"), (b"ON", b"1.5 heard")):
        client.send(b"CLIENT", b"REPLY", mode)
        server.reply(Simple(line))
        server.say()
    assert client.replies()[1:] == [OK, Simple(b"1.5 heard")]


def test_client_reply_is_the_proxys_own_again_when_the_last_channel_was_given_up(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"c")
    redis_memory.serve()
    for words in ([b"UNSUBSCRIBE", b"c"], [b"CLIENT", b"REPLY", b"OFF"], [b"GET", b"a"], [b"CLIENT", b"REPLY", b"ON"]):
        client.send(*words)
    redis_memory.serve()
    assert client.replies() == [[b"subscribe", b"c", 1], [b"unsubscribe", b"c", 0], OK]
