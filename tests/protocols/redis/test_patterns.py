from __future__ import annotations

import pytest

from l4proxy.protocols.redis.patterns import (
    RUNS,
    SHORT,
    find_commands,
    find_replies,
    one_command,
    run_of_commands,
    skip_bulks,
    skip_replies,
)
from l4proxy.protocols.redis.request import encode_command

SIZES = [0, 1, 9, 10, 11, 99, 100, SHORT - 1, SHORT]


@pytest.mark.parametrize("size", SIZES)
def test_strings_of_every_short_length(size: int) -> None:
    bulk = b"$%d\r\n%b\r\n" % (size, b"\n" * size)
    assert skip_bulks(bulk + b"$", 0, 1) == (len(bulk), 0)
    assert skip_bulks(bulk[:-1], 0, 1) == (0, 1)
    assert skip_replies(bulk, 0, 1) == (len(bulk), 0)
    command = encode_command(b"GET", b"x" * size)
    match = run_of_commands(2)(command * 3, 0)
    assert match is not None
    assert match.end() == len(command) * 3


@pytest.mark.parametrize("size", range(SHORT + 1))
def test_a_length_matches_no_other(size: int) -> None:
    for wrong in (size - 1, size + 1):
        if wrong >= 0:
            assert skip_bulks(b"$%d\r\n%b\r\n" % (size, b"x" * wrong), 0, 1) == (0, 1)


@pytest.mark.parametrize(
    "text", [b"$01\r\na\r\n", b"$+1\r\na\r\n", b"$ 1\r\na\r\n", b"$-1\r\n", b"$\r\n\r\n", b"$1\r\nab\n"]
)
def test_numbers_are_read_strictly(text: bytes) -> None:
    assert skip_bulks(text, 0, 1) == (0, 1)


@pytest.mark.parametrize("count", [1, 2, 8, 31, 32, 33, 255, 256, 257, 1000])
def test_as_many_as_are_asked_for(count: int) -> None:
    replies = [b"+OK\r\n", b":12\r\n", b"$3\r\nabc\r\n", b"$-1\r\n", b"_\r\n"] * 200
    data = b"".join(replies[:count])
    assert skip_replies(data + b"+OK\r\n", 0, count) == (len(data), 0)
    assert skip_replies(data + b"-ERR\r\n" + data, 0, count + 5) == (len(data), 5)
    assert skip_replies(data[:-1], 0, count)[1] >= 1


def test_a_run_ends_where_something_else_begins() -> None:
    get, set_ = encode_command(b"GET", b"a"), encode_command(b"SET", b"a", b"b")
    match = RUNS[ord("2")](get * 5 + encode_command(b"get", b"a") + set_, 0)
    assert match is not None
    assert (match.end(), match[1]) == (len(get) * 5, b"*2\r\n$3\r\nGET\r\n")
    assert run_of_commands(2)(set_, 0) is None
    assert run_of_commands(3)(encode_command(b"SET", b"a\r", b"b"), 0) is None


def test_one_command_up_to_its_long_argument() -> None:
    match = one_command()(encode_command(b"SET", b"a", b"x" * 500, b"EX", b"10"), 0)
    assert match is not None
    assert match.groups() == (b"*5\r\n$3\r\nSET\r\n", b"5", b"500")
    match = one_command()(encode_command(b"MGET", *[b"x"] * 100), 0)
    assert match is not None
    assert match.groups() == (b"*101\r\n$4\r\nMGET\r\n", b"101", None)


COMMANDS = [
    (b"GET", b""),
    (b"set", b"*2\n", b"x" * SHORT),
    (b"GET", b"$3", b"surplus"),
    (b"SET", b"key", b"value", b"EX"),
    (b"SET", b"a" * 10, b"", b"EX", b"10"),
]


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"*2\r\n$3\r\nGET\r\n$1\r\n",
        encode_command(b"PING"),
        encode_command(b"SET", b"a", b"b", b"EX", b"10", b"NX"),
        encode_command(b"GET", b"a\r"),
        encode_command(b"GET", b"x" * (SHORT + 1)),
        b"*2\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*3\r\n$3\r\nGET\r\n$1\r\na\r\n",
        b"*2\r\n$3\r\nGET\r\n$02\r\naa\r\n",
        b"*2\r\n$3\r\nGET\r\n$2\r\na\r\n",
        b"*2\r\n$3\r\nGET\r\n$2\r\naaa\r\n",
        b"\r\n",
        b"GET a\r\n",
    ],
)
def test_commands_are_found_up_to_what_is_none(rest: bytes) -> None:
    data = b"".join(encode_command(*words) for words in COMMANDS)
    found = find_commands(data + rest + data * bool(rest))
    assert [one[0] for one in found[: len(COMMANDS)]] == [encode_command(*words) for words in COMMANDS]
    for (command, start, *_, first), words in zip(found, COMMANDS, strict=False):
        assert start == encode_command(*words[:1]).replace(b"*1", b"*%d" % len(words))
        assert command.startswith(start)
        assert first == words[1]
    more = [one[0] for one in found[len(COMMANDS) :]]
    whole = encode_command(b"SET", b"a") if rest.startswith(b"*2\r\n$3\r\nSET") else b""
    assert more == ([whole] * bool(whole) + [b""] if rest else [])


@pytest.mark.parametrize("rest", [b"-ERR no\r\n", b"$3\r\nab", b"+OK\r", b"*1\r\n:1\r\n", b"$-10\r\n", b"\n:1\r\n"])
def test_replies_are_found_up_to_what_is_none(rest: bytes) -> None:
    replies = [b"+OK\r\n", b"$5\r\n\r\n:1\r\r\n", b":-7\r\n", b"$-1\r\n", b"_\r\n"]
    assert find_replies(b"".join(replies)) == replies
    assert find_replies(b"".join([*replies, rest, b":1\r\n"])) == [*replies, b""]
    assert find_replies(rest) == [b""]
