"""A chunk with a known opening is one command exactly where the splitter finds that it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l4proxy.protocols.redis.commands import CommandTable
from l4proxy.protocols.redis.openings import LAST_BULKS, LENGTH_OF_NAME, LF, TO_OPENING, opening_of
from l4proxy.protocols.redis.patterns import SINGLE
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
