"""A chunk with a known opening is one command exactly where the splitter finds that it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l4proxy.protocols.redis.commands import CommandTable
from l4proxy.protocols.redis.openings import LAST_BULKS, LENGTH_OF_NAME, LF, TO_OPENING, opening_of, shape_of
from l4proxy.protocols.redis.patterns import SINGLE, replies_alike
from l4proxy.protocols.redis.request import RequestSplitter, encode_command, whole_run


def learn(*words: bytes) -> tuple[bytes, int] | None:
    table, command = CommandTable(), encode_command(*words)
    RequestSplitter(table).split(command)
    run = whole_run(table.heads, command)
    return opening_of(run[0], command) if run is not None else None


def is_whole(data: bytes, known: tuple[bytes, int]) -> bool:
    opening, last = known
    return (
        data[: data[LENGTH_OF_NAME] + TO_OPENING] == opening
        and data.startswith(LAST_BULKS[len(data) - last], last)
        and data[-1] == LF
    )


def test_of_commands_with_one_argument_or_two() -> None:
    assert learn(b"GET", b"0123456789") == (b"*2\r\n$3\r\nGET\r\n$10\r\n", 11)
    assert learn(b"GET", b"key") == (b"*2\r\n$3\r\nGET\r\n$3\r\nk", 11)
    assert learn(b"SET", b"key", b"value") == (b"*3\r\n$3\r\nSET\r\n$3\r\nk", 20)
    assert learn(b"SET", b"k" * 100, b"value") == (b"*3\r\n$3\r\nSET\r\n$100\r", 119)


@pytest.mark.parametrize(
    "words", [[b"PING"], [b"SET", b"k" * 1000, b"v"], [b"HSET", b"h", b"f", b"v"], [b"A" * 12, b"k"]]
)
def test_others_have_none(words: list[bytes]) -> None:
    assert learn(*words) is None


WORD = st.binary(max_size=40) | st.binary(min_size=95, max_size=105)


@given(st.sampled_from([b"GET", b"SET", b"EXPIREAT"]), st.lists(WORD, min_size=1, max_size=2), WORD, st.data())
@example(b"GET", [b"*2\r\n$3\r\nGET\r\n$1\r\na"], b"", None)
def test_as_the_splitter_finds(name: bytes, words: list[bytes], other: bytes, data: st.DataObject | None) -> None:
    known = learn(name, *words)
    assert known is not None
    command = encode_command(name, *words)
    assert is_whole(command, known)
    chunks = [command * 2, command[:-1], command + b"\n", encode_command(name, *words, b"x")]
    chunks += [encode_command(name, words[0][:1] + other, *words[1:]), encode_command(name, *words[:-1], other)]
    if data is not None:
        at = data.draw(st.integers(0, len(command) - 1))
        chunks.append(command[:at] + data.draw(st.binary(max_size=2)) + command[at + 1 :])
    for chunk in chunks:
        if LENGTH_OF_NAME < len(chunk) < SINGLE and is_whole(chunk, known):
            splitter = RequestSplitter(CommandTable())
            runs = splitter.split(chunk[:-2] + b"\r\n")  # what stands in place of the last CR, the server takes, too
            assert splitter.error is None
            assert [(count, len(run)) for _, count, run in runs] == [(1, len(chunk))]


NAMES, LENGTHS = st.sampled_from([b"GET", b"set", b"EXPIREAT"]), st.lists(st.integers(0, 200), min_size=1, max_size=3)


@given(NAMES, LENGTHS, st.integers(2, 20), st.data())
def test_several_of_one_shape(name: bytes, lengths: list[int], count: int, data: st.DataObject) -> None:
    def one() -> bytes:
        return encode_command(name, *(data.draw(st.binary(min_size=length, max_size=length)) for length in lengths))

    head = CommandTable().head(encode_command(name, *map(bytes, lengths))[: len(name) + 10])
    assert head is not None
    shape = shape_of(head, b"".join(one() for _ in range(count)), count)
    assert shape is not None
    other = b"".join(one() for _ in range(count))
    assert other.startswith(shape[0]) or lengths[0] < 10
    assert shape[1](other)
    at = data.draw(st.integers(0, len(other) - 1))
    changed = other[:at] + data.draw(st.binary(min_size=1, max_size=1)) + other[at + 1 :]
    if shape[1](changed):
        splitter = RequestSplitter(CommandTable())
        assert sum(found for _, found, _ in splitter.split(changed)) == count
        assert splitter.error is None


@given(st.integers(0, 200), st.integers(1, 20), st.data())
def test_replies_alike(length: int, count: int, data: st.DataObject) -> None:
    bulk = st.binary(min_size=length, max_size=length).map(lambda text: b"$%d\r\n%b\r\n" % (length, text))
    bulks = b"".join(data.draw(st.lists(bulk, min_size=count, max_size=count)))
    assert replies_alike(bulks, count)
    assert not replies_alike(bulks, count + 1)
    assert not replies_alike(bulks[:-1], count)
    assert not replies_alike(bulks[:-2] + b"xx", count)
    assert not replies_alike(bulks[:-2] + b"x" + bulks[-1:], count)


@pytest.mark.parametrize("one", [b"+OK\r\n", b":1\r\n", b"$-1\r\n"])
def test_common_replies_alike(one: bytes) -> None:
    assert replies_alike(one * 7, 7)
    assert not replies_alike(one * 6 + b"-" + one[1:], 7)
    assert not replies_alike(b"-ERR\r\n" * 7, 7)
    assert not replies_alike(b"$3000\r\n" + bytes(3000) + b"\r\n", 1)
