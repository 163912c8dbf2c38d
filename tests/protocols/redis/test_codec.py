from __future__ import annotations

import pytest

from l4proxy.codec import LocalProtocolError
from l4proxy.protocols.redis.codec import RedisCommand, RedisReply, ReplyCodec, RequestCodec
from l4proxy.protocols.redis.request import encode_command
from l4proxy.testing import check_codec
from resp_cases import ANOTHER_SPELLING, BAD_REPLIES, BAD_REQUESTS, VALUES


def test_requests() -> None:
    commands = [
        [[b"GET", b"a"]] * 20,
        [[b"SET", b"a", b"1"], [b"set", b"a\r\n", b"x" * 3000], [b"PING"]],
        [[b"MGET", *[b"%d" % number for number in range(40)]], [b"GET", b""]],
    ]
    check_codec(
        RequestCodec,
        [(b"".join(encode_command(*one) for one in each), [RedisCommand(one) for one in each]) for each in commands],
        bad=[data for data, _ in BAD_REQUESTS if len(data) < 100],
    )
    check_codec(RequestCodec, [(b"GET 'a b'\r\nPING\n", [RedisCommand([b"GET", b"a b"]), RedisCommand([b"PING"])])])


def test_replies() -> None:
    cases = [(wire, [RedisReply(value)]) for wire, value, *_ in (*VALUES, *ANOTHER_SPELLING)]
    cases.append((b"".join(wire for wire, _ in cases), [reply for _, (reply,) in cases]))
    check_codec(ReplyCodec, cases, bad=[data for data, _ in BAD_REPLIES if len(data) < 1000], rounds=5)


def test_what_was_changed_is_encoded() -> None:
    codec = RequestCodec()
    (command,) = codec.receive_data(b"GET a\r\n")
    command.arguments[1] = b"b"
    command.raw = None
    assert codec.send(command) == b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"
    assert ReplyCodec(protocol=2).send(RedisReply(True)) == b":1\r\n"
    with pytest.raises(LocalProtocolError):
        codec.send(RedisCommand([]))
