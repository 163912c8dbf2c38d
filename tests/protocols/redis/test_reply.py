from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.protocols.redis.reply import ReplyScanner, split_replies
from l4proxy.protocols.redis.values import decode, encode
from resp_cases import BAD_REPLIES, values

REPLIES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"_\r\n",
    b"$3\r\na\r\n\r\n",
    b"$300\r\n" + b"\r\n" * 150 + b"\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n:1\r\n*2\r\n+a\r\n*0\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n,1.5\r\n",
    b"|1\r\n+ttl\r\n:3\r\n*1\r\n#t\r\n",
    b">2\r\n$7\r\nmessage\r\n=5\r\ntxt:a\r\n",
    b"!5\r\nERR a\r\n",
    b"(123\r\n",
    b"*40\r\n" + b"$3\r\nabc\r\n" * 39 + b"$200\r\n" + b"x" * 200 + b"\r\n",
    b"$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n",
    b"*?\r\n:1\r\n*?\r\n:2\r\n.\r\n.\r\n",
    b"%?\r\n+a\r\n:1\r\n.\r\n",
]


def ends(scanner: ReplyScanner, chunks: list[bytes]) -> list[int]:
    """Where the scanner sees replies end, fed with chunks as a connection would."""
    buffer, start, found = bytearray(), 0, []
    for chunk in chunks:
        buffer += chunk
        while start < len(buffer) and (end := scanner.end(buffer, start)) >= 0:
            found.append(end)
            start = end
    return found


def expected_ends(replies: list[bytes]) -> list[int]:
    return [sum(map(len, replies[: count + 1])) for count in range(len(replies))]


@pytest.mark.parametrize("reply", REPLIES)
def test_every_type_however_it_comes(reply: bytes) -> None:
    data = reply + b"+OK\r\n"
    expected = [len(reply), len(data)]
    assert ends(ReplyScanner(), [data]) == expected
    assert ends(ReplyScanner(), [data[at : at + 1] for at in range(len(data))]) == expected
    for at in range(len(data)):
        assert ends(ReplyScanner(), [data[:at], data[at:]]) == expected


def test_replies_at_random_splits() -> None:
    chance = random.Random(1)
    for _ in range(300):
        replies = [chance.choice(REPLIES) for _ in range(chance.randint(1, 20))]
        data = b"".join(replies)
        borders = sorted(chance.randrange(len(data)) for _ in range(chance.randint(0, 5)))
        chunks = [data[a:b] for a, b in zip([0, *borders], [*borders, len(data)], strict=True)]
        assert ends(ReplyScanner(), chunks) == expected_ends(replies)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 33, 300])
@pytest.mark.parametrize("odd", REPLIES)
def test_several_at_once(count: int, odd: bytes) -> None:
    replies = [b"$3\r\nabc\r\n"] * (count // 2) + [odd] + [b"+OK\r\n"] * (count - count // 2 - 1)
    data = b"".join(replies)
    scanner = ReplyScanner()
    assert scanner.end(data + b"+more\r\n", 0, count) == len(data)
    for at in range(0, len(data), 7):
        assert scanner.end(data[:at], 0, count) == -1
    assert scanner.end(data, 0, count) == len(data)


@given(st.integers(0, 140), st.integers(2, 20), st.data())
def test_bulk_strings_alike_at_once(length: int, count: int, data: Any) -> None:
    replies = [b"$%d\r\n%b\r\n" % (length, data.draw(st.binary(min_size=length, max_size=length)))] * (count - 1)
    replies.append(data.draw(st.sampled_from([replies[0], *REPLIES])))
    joined = b"+OK\r\n" + b"".join(replies)
    assert ReplyScanner().end(joined, 5, count) == len(joined)
    assert ReplyScanner().end(joined + joined, 5, count) == len(joined)
    assert ReplyScanner().end(joined[:-1], 5, count) == -1
    scanner = ReplyScanner()
    assert [scanner.end(joined[:size], 5, count) for size in (len(joined) // 2, len(joined))] == [-1, len(joined)]


@pytest.mark.parametrize("odd", REPLIES)
def test_the_whole_ones_of_several_are_told(odd: bytes) -> None:
    replies = [b"$3\r\nabc\r\n", odd, b"+OK\r\n", b"*2\r\n$3\r\nabc\r\n" + odd] * 3
    data, borders = b"".join(replies), expected_ends(replies)
    for size in range(len(data)):
        scanner, start, left = ReplyScanner(), 0, len(replies)
        for buffer in (data[:size], data[: size + (len(data) - size) // 2], data):
            while start < len(buffer):
                end = scanner.end(buffer, start, left)
                if end >= 0:
                    start, left = end, 0
                    break
                whole, end = scanner.take_whole(start, left)
                if not whole:
                    break
                start, left = end, left - whole
                if odd[:1] != b"|":  # attributes may count as the end of the reply before
                    assert start == borders[len(replies) - left - 1]
        assert (start, left) == (len(data), 0)


def test_errors_are_told_but_not_those_inside_of_a_reply() -> None:
    scanner = ReplyScanner()
    data = b"+OK\r\n-WRONGTYPE no\r\n*1\r\n-ERR inner\r\n|1\r\n+a\r\n-b\r\n-MOVED 1 a:1\r\n!5\r\nERR x\r\n"
    assert scanner.end(data, 0, 5) == len(data)
    assert scanner.errors == [b"WRONGTYPE no", b"MOVED 1 a:1", b"ERR x"]


@pytest.mark.parametrize(("data", "code"), BAD_REPLIES)
def test_what_is_no_resp(data: bytes, code: str) -> None:
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(RemoteProtocolError) as error:
            ends(ReplyScanner(), chunks)
        assert error.value.code == code


def test_what_is_settled_can_be_passed_on() -> None:
    body = bytes(range(256)) * 4
    data = b"*2\r\n$1024\r\n" + body + b"\r\n$4\r\nlast\r\n"
    for size in (1, 3, 100, 1000):
        scanner, buffer, passed, done = ReplyScanner(), b"", b"", False
        for at in range(0, len(data), size):
            buffer += data[at : at + size]
            end = scanner.end(buffer, 0)
            done = end >= 0
            settled = end if done else min(scanner.settled, len(buffer))
            passed += buffer[:settled]
            buffer = buffer[settled:]
            if not done:
                scanner.passed(settled)
            assert len(buffer) <= size + 34  # nothing but a line and a little more is kept
        assert done
        assert passed == data


@pytest.mark.parametrize("head", [b"", b"*1\r\n", b"*2\r\n:1\r\n", b"|1\r\n+a\r\n+b\r\n", b"$?\r\n;2000\r\n"])
def test_one_that_has_begun_can_be_told_from_those_behind_it(head: bytes) -> None:
    long = b"x" * 2000 + b"\r\n" + (b";0\r\n" if head.startswith(b"$?") else b"")
    reply = head + long if head.startswith(b"$?") else head + b"$2000\r\n" + long
    scanner, data = ReplyScanner(), reply + b"$3\r\nabc\r\n" * 4
    assert scanner.end(data[:1000], 0, 5) == -1
    settled = min(scanner.settled, 1000)
    scanner.passed(settled)
    scanner.only_first(5)
    assert scanner.end(data, settled) == len(reply)
    assert scanner.end(data, len(reply), 4) == len(data)


def test_depth_is_a_limit() -> None:
    scanner = ReplyScanner(RedisLimits(max_depth=2))
    assert scanner.end(b"*1\r\n*1\r\n:1\r\n", 0) == 12
    with pytest.raises(RemoteProtocolError, match="too deep"):
        scanner.end(b"*1\r\n*1\r\n*1\r\n:1\r\n", 0)


def test_a_lying_count_waits_and_allocates_nothing() -> None:
    scanner = ReplyScanner()
    assert scanner.end(b"*2000000000\r\n:1\r\n", 0) == -1


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    """It never says that there is a reply where there is none."""
    scanner = ReplyScanner()
    try:
        end = scanner.end(data, 0)
    except RemoteProtocolError:
        return
    if end >= 0:
        with contextlib.suppress(RemoteProtocolError):  # the scanner looks at lengths, not into values
            assert decode(data[:end])[1] == end


@given(st.data())
def test_it_agrees_with_the_decoder(data: Any) -> None:
    wire = encode(data.draw(values()))
    assert ReplyScanner().end(wire + b"+OK\r\n", 0) == len(wire)


@pytest.mark.parametrize(
    "replies",
    [
        [b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"_\r\n", b"$5\r\na\r\n-b\r\n"],
        [b"$200\r\n" + b"x" * 200 + b"\r\n", b"+OK\r\n"],
        [b"-ERR +x\r\n", b"+OK\r\n"],
        [b"*2\r\n$1\r\na\r\n:5\r\n", b":5\r\n"],
    ],
)
def test_replies_are_split(replies: list[bytes]) -> None:
    """Short ones at once, others one after the other."""
    assert split_replies(b"".join(replies), len(replies)) == replies
