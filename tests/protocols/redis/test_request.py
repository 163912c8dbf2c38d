from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.redis.commands import CommandTable
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.protocols.redis.request import RequestSplitter, encode_command, one_by_one, split_first
from resp_cases import BAD_REQUESTS, split

command = encode_command


def bytes_of(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_a_pipeline_is_one_run_and_the_very_bytes() -> None:
    splitter = RequestSplitter(CommandTable())
    data = command(b"GET", b"a") * 16
    ((head, count, raw),) = splitter.split(data)
    assert (head.name, head.argc, count) == ("GET", 2, 16)
    assert raw is data


def test_runs_of_different_commands() -> None:
    splitter = RequestSplitter(CommandTable())
    parts = [
        command(b"GET", b"a") * 2, command(b"get", b"b"), command(b"SET", b"a", b"1"), command(b"PING"),
        command(b"MSET", *[b"x"] * 300), command(b"SET", b"a", b"x" * 500), command(b"SET", b"a\r\n", b"y\r"),
        b"PING\r\n",
    ]  # fmt: skip
    runs = splitter.split(b"".join(parts))
    assert [raw for _, _, raw in runs] == parts
    assert [(head.name, count) for head, count, _ in runs] == [
        ("GET", 2), ("GET", 1), ("SET", 1), ("PING", 1), ("MSET", 1), ("SET", 1), ("SET", 1), ("PING", 1),
    ]  # fmt: skip


def test_a_key_that_looks_like_a_command_is_none() -> None:
    trap = command(b"GET", command(b"GET", b"a"))
    assert split(trap * 3) == ([[b"GET", command(b"GET", b"a")]] * 3, "")


@pytest.mark.parametrize("words", [[b"SET", b"*3", b"SET"], [b"LPUSH", b"x", b"y*5", b"LPUSH", b"z"]])
def test_arguments_that_look_like_a_command_are_none(words: list[bytes]) -> None:
    """Where an argument ends in the number of arguments, and the next one is the name."""
    trap, splitter = command(*words), RequestSplitter(CommandTable())
    for _ in range(2):  # when the head is known, it is looked for elsewhere
        runs = splitter.split(trap * 3)
        assert [(count, raw) for _, count, raw in runs] == [(1, trap)] * 3
    assert split(trap * 2 + command(words[0], b"a")) == ([words, words, [words[0], b"a"]], "")


SMALL = st.binary(max_size=3) | st.sampled_from([b"*3", b"a*2", b"SET", b"GET", b"\r", b"\r\n", b"$3", b"x" * 130])


@given(st.sampled_from([b"GET", b"SET"]), st.lists(SMALL, min_size=1, max_size=2), st.integers(1, 4), st.data())
def test_commands_alike_are_one_run_however_they_come(
    name: bytes, words: list[bytes], times: int, data: st.DataObject
) -> None:
    """What a chunk is found to be at a look, once its head is known, is what is found byte by byte."""
    others = [[data.draw(st.binary(min_size=len(word), max_size=len(word))) for word in words] for _ in range(times)]
    chunk = b"".join(command(name, *other) for other in [words, *others])
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(chunk) - 1))
        chunk = chunk[:at] + data.draw(st.binary(max_size=2)) + chunk[at + 1 :]
    table = CommandTable()
    RequestSplitter(table).split(command(name, *words))
    whole, bytewise = RequestSplitter(table), RequestSplitter(table)
    runs = whole.split(chunk)
    singles = [run for one in bytes_of(chunk) for run in bytewise.split(one)]
    assert [one for run in runs for one in one_by_one(run)] == [raw for _, _, raw in singles]
    assert all(count == len(one_by_one((head, count, raw))) for head, count, raw in runs)
    assert str(whole.error) == str(bytewise.error)
    assert whole.error or whole.unfinished == bytewise.unfinished


def test_each_command_by_itself() -> None:
    splitter = RequestSplitter(CommandTable())
    data = command(b"SET", b"a", b"1") + command(b"SET", b"b", b"22")
    (run,) = splitter.split(data)
    assert one_by_one(run) == [command(b"SET", b"a", b"1"), command(b"SET", b"b", b"22")]


def test_the_first_of_a_run() -> None:
    data = command(b"SET", b"a", b"1") + command(b"SET", b"b", b"22") + command(b"SET", b"c", b"3")
    first, rest = split_first(data, 3)
    second, last = split_first(rest, 2)
    assert (first, second) == (command(b"SET", b"a", b"1"), command(b"SET", b"b", b"22"))
    assert split_first(last, 1) == (command(b"SET", b"c", b"3"), b"")


@given(
    st.lists(st.lists(st.binary(max_size=200), min_size=1, max_size=10), min_size=1, max_size=8),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_any_pipeline_at_any_split(commands: list[list[bytes]], borders: list[int]) -> None:
    commands = [[b"X" + one[0], *one[1:]] for one in commands]
    data = b"".join(command(*one) for one in commands)
    cuts = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    chunks = [data[a:b] for a, b in pairwise(cuts)]
    assert split(*chunks) == (commands, "")


def test_what_looks_like_a_length_is_no_argument() -> None:
    tricky = [[b"X", b"$", b"\r", b""], [b"SET", b"$1", b"\r\n$1"], [b"SET", b"$9", b"v" * 500]]
    assert split(b"".join(command(*one) for one in tricky)) == (tricky, "")


def test_byte_by_byte() -> None:
    commands = [[b"GET", b"a\r\n$3"], [b"SET", b"k", b"v" * 300], [b"PING"], [b"MGET", *[b"k"] * 50]]
    assert split(*bytes_of(b"".join(command(*one) for one in commands))) == (commands, "")


@pytest.mark.parametrize("size", [1, 7, 1000, 40_000, 1 << 20])
def test_a_large_command_is_handed_on_in_parts(size: int) -> None:
    data = command(b"SET", b"key", b"x" * 90_000, b"EX", b"y" * 70_000) + command(b"GET", b"key")
    splitter = RequestSplitter(CommandTable(), RedisLimits(stream_from=10_000))
    runs = []
    for at in range(0, len(data), size):
        runs += splitter.split(data[at : at + size])
        assert len(splitter.leftover) <= 10_000 + size
    *parts, get = runs
    assert b"".join(raw for _, _, raw in parts) + get[2] == data
    assert [count for _, count, _ in parts] == [0] * (len(parts) - 1) + [1]
    assert {head.name for head, _, _ in parts} == {"SET"}
    assert (get[0].name, get[1]) == ("GET", 1)
    assert (len(parts) > 1) is (size < len(data))


@pytest.mark.parametrize("data", [b"*0\r\n", b"*-1\r\n", b"\r\n", b"\n", b"  \r\n"])
def test_empty_commands_are_dropped(data: bytes) -> None:
    for chunks in ([data + command(b"PING")], bytes_of(data + command(b"PING"))):
        assert split(*chunks) == ([[b"PING"]], "")


def test_inline_commands() -> None:
    data = b"SET a 1\r\nget 'a b'\n" + command(b"PING") + b'ECHO "\\x41\\n"\r\n'
    expected = [[b"SET", b"a", b"1"], [b"get", b"a b"], [b"PING"], [b"ECHO", b"A\n"]]
    assert split(data) == (expected, "")
    assert split(*bytes_of(data)) == (expected, "")


@pytest.mark.parametrize(("data", "code"), BAD_REQUESTS)
def test_bad_input_ends_it_behind_what_came_before(data: bytes, code: str) -> None:
    before = command(b"GET", b"a")
    assert split(before + data) == ([[b"GET", b"a"]], code)
    assert split(*bytes_of(before + data)) == ([[b"GET", b"a"]], code)


def test_a_run_with_a_wrong_number_of_arguments_is_no_run() -> None:
    """One has too many and the next too few: together they would look right."""
    data = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n"
    found, code = split(command(b"GET", b"a") + data)
    assert found[:2] == [[b"GET", b"a"], [b"GET", b"a"]]
    assert found[2:] == [[b"$1"], [b"b"]]  # inline commands, as the server reads them
    assert code == ""


def test_what_is_held_comes_whole_up_to_a_limit_of_its_own() -> None:
    limits = RedisLimits(held=frozenset({"SET"}), max_held=100_000)

    def counts(name: bytes, size: int) -> list[int]:
        splitter = RequestSplitter(CommandTable(), limits)
        data = command(name, b"a", b"x" * size)
        return [count for at in range(0, len(data), 10_000) for _, count, _ in splitter.split(data[at : at + 10_000])]

    assert counts(b"SET", 80_000) == [1]
    assert set(counts(b"SET", 120_000)) == set(counts(b"GETSET", 80_000)) == {0, 1}


def test_limits_can_be_set() -> None:
    limits = RedisLimits(max_arguments=3, max_bulk=300)
    assert split(command(b"SET", b"a", b"x" * 300), limits=limits)[1] == ""
    assert split(command(b"SET", b"a", b"x" * 301), limits=limits)[1] == "invalid_bulk_length"
    assert split(command(b"MGET", b"a", b"b", b"c" * 200), limits=limits)[1] == "invalid_multibulk_length"


def test_random_garbage_never_raises() -> None:
    chance = random.Random(1)
    alphabet = [b"*", b"$", b"1", b"2", b"3", b"\r\n", b"GET", b"a", b"'", b" ", b"\r", b"\n", b"-"]
    for _ in range(3000):
        data = b"".join(chance.choice(alphabet) for _ in range(chance.randint(1, 30)))
        assert split(data) == split(*bytes_of(data))
