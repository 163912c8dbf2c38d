from __future__ import annotations

import pytest

from l4proxy.protocols.redis.inline import split_inline
from services.needs import needs
from services.redis import RedisServer


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b"  \t", []),
        (b"GET a", [b"GET", b"a"]),
        (b"  GET\ta  ", [b"GET", b"a"]),
        (b"SET \"a b\" 'c d'", [b"SET", b"a b", b"c d"]),
        (rb'ECHO "\x41\xfF\n\r\t\b\a\"\\\q"', [b"ECHO", b'A\xff\n\r\t\b\a"\\q']),
        (rb"ECHO 'it\'s' '\n'", [b"ECHO", b"it's", rb"\n"]),
        (b'ECHO ""', [b"ECHO", b""]),
        (b'ECHO a"b"', [b"ECHO", b"ab"]),
    ],
)
def test_words(line: bytes, words: list[bytes]) -> None:
    assert split_inline(line) == words


@pytest.mark.parametrize("line", [b'"', b"'a", b'"a"b', b"'a'b", rb'"a\"', b'a"b" "', b"a\0b", b"\0"])
def test_quotes_that_are_not_balanced(line: bytes) -> None:
    with pytest.raises(ValueError, match="unbalanced"):
        split_inline(line)


@needs("redis-server")
@pytest.mark.parametrize(
    "word", [b"a", b'"a b"', b"'a b'", rb'"\x41\n\q"', rb"'\'\n'", b'a"b"', b'""', b'"a"b', b"'a'b"]
)
def test_the_server_reads_the_same(word: bytes, redis: RedisServer) -> None:
    try:
        _, text = split_inline(b"ECHO " + word)
        expected = b"$%d\r\n%b\r\n" % (len(text), text)
    except ValueError:
        expected = b"-ERR Protocol error: unbalanced quotes in request\r\n"
    assert redis.exchange(b"ECHO " + word + b"\r\n") == expected
