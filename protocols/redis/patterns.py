"""Regular expressions that find where commands and replies end, many at a time.

This is what makes the proxy fast: a run of commands, or of replies, is stepped over by one call into C, and no object
is made for any of them.

A bulk string says its length and may hold any byte, so no plain expression can match one. But lengths are mostly
small, and for each small length there is one: ``\\$3\\r\\n.{3}\\r\\n``. `_short_bulk` puts those of all lengths up to
`SHORT` together, as a tree of their digits, so that matching takes as many steps as the length has digits. Numbers are
matched as strictly as the server reads them: no sign, no leading zero, no blank. Whatever a pattern does not match
(longer strings, nested arrays, errors, bad input) is left to the step-by-step readers beside it.

A pattern takes milliseconds to compile, and is therefore compiled when it is first needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

__all__ = [
    "MAX_RUN_ARGC",
    "RUNS",
    "SHORT",
    "alike",
    "find_commands",
    "find_replies",
    "one_command",
    "replies_alike",
    "run_of_commands",
    "skip_bulks",
    "skip_replies",
]

Match: TypeAlias = Callable[[bytes | bytearray, int], re.Match[bytes] | None]
Shape: TypeAlias = Callable[..., re.Match[bytes] | None]

SHORT = 127
"""Bytes of the longest string that the patterns match."""
SINGLE = 2048
"""Chunks shorter than that are tried as a single command, or reply: most are."""
LENGTH_LINES = [b"$%d\r\n" % length for length in range(SINGLE)]
"""The line in front of a string, by the string's length."""
WHOLE_BULKS = [b"\0" * SINGLE] * SINGLE
"""The same by how long line, string and the CRLF behind it are together. What is never so long fits nothing."""
for _length, _line in enumerate(LENGTH_LINES[: SINGLE - len(LENGTH_LINES[-1]) - 2]):
    WHOLE_BULKS[len(_line) + _length + 2] = _line
MAX_RUN_ARGC = 8
"""A run is of commands with at most so many arguments, the name included."""
COMMON_REPLIES = frozenset((b"+OK\r\n", b"+PONG\r\n", b"+QUEUED\r\n", b"$-1\r\n", b"_\r\n", b":0\r\n", b":1\r\n"))
"""No bulk strings, and no errors."""
MAX_SHAPES = 1000
"""Patterns that `alike` makes; what comes behind so many is read as what is not alike."""
_AT_ONCE = (256, 32, 16, 8, 4, 2, 1)
"""So many values are stepped over at a time."""
# Before 3.11.5 possessive quantifiers fail to match what they should (gh-106052). Without them it is a little slower.
_POSSESSIVE = b"+" if sys.version_info >= (3, 11, 5) else b""


def _short_bulk(byte: str) -> bytes:
    """Matches a bulk string of up to `SHORT` bytes, each of them matched by ``byte``."""

    def lengths(digits: str) -> str:
        here = [rf"\r\n{byte}{{{digits}}}"] if digits else []
        longer = [digits + digit for digit in "0123456789" if digits != "0" and int(digits + digit) <= SHORT]
        return "(?:" + "|".join([*here, *(f"{more[-1]}{lengths(more)}" for more in longer)]) + ")"

    return rf"\${lengths('')}\r\n".encode()


_NAME = rb"\$[1-9][0-9]?\r\n[^\r\n]+\r\n"


def run_of_commands(argc: int) -> Match:
    """Matches commands that all have the same ``argc`` and name; group 1 is what they begin with, up to behind the
    name.

    Their arguments have no CR, and none behind the first is the name itself, as in ``LPUSH *3 LPUSH``. So group 1
    cannot stand inside of them, and counting it counts the commands.
    """
    bulk = _short_bulk(r"[^\r]")
    arguments = b""
    if argc > 1:
        arguments = bulk + b"(?:(?!\\2)%b){%d}%b" % (bulk, argc - 2, _POSSESSIVE) * (argc > 2)
    return re.compile(rb"(?=(\*%d\r\n(%b)))(?:\1%b)+%b" % (argc, _NAME, arguments, _POSSESSIVE)).match


def _when_needed(argc: int) -> Match:
    def compile_and_match(data: bytes | bytearray, at: int) -> re.Match[bytes] | None:
        RUNS[ord(str(argc))] = match = run_of_commands(argc)
        return match(data, at)

    return compile_and_match


RUNS: dict[int, Match] = {ord(str(argc)): _when_needed(argc) for argc in range(1, MAX_RUN_ARGC + 1)}
"""`run_of_commands` by the digit that says ``argc``."""
MAX_FOUND_ARGC = 5
"""Commands that `find_commands` finds have at most so many arguments, the name included."""


@cache
def _each_command() -> Callable[[bytes], list[tuple[bytes, ...]]]:
    """Behind the name come as many strings as ``argc`` says: its digit sets an empty group that is asked for there."""
    bulk = _short_bulk(r"[^\r]")
    argc, others = b"2", b""
    for group, number in enumerate(range(3, MAX_FOUND_ARGC + 1), 3):
        argc += b"|%d()" % number
        others += b"(?(%d)%b)" % (group, bulk * (number - 2))
    start = rb"\*(?:%b)\r\n%b" % (argc, _NAME)
    return re.compile(rb"((%b)(?=\$[0-9]+\r\n([^\r]*))%b%b)|(?s:.+)" % (start, bulk, others)).findall


def find_commands(data: bytes) -> list[tuple[bytes, ...]]:
    """The commands that ``data`` begins with, which have short arguments without a CR, at least one. Of each, itself;
    second, what it begins with, up to behind the name; last, its first argument. Where anything else follows, all of
    that is empty in the last one."""
    return _each_command()(data)


@cache
def one_command() -> Match:
    """Matches one command up to the body of its first long argument, or to its end where all are short. Groups: what it
    begins with, ``argc``, and the length of the long argument. Arguments that are matched have no CR, so there are
    twice as many CRLF as arguments, and one for ``argc`` or none."""
    pattern = b"(%b)(?:%b)*%b(?:%b)?" % (
        rb"\*([1-9][0-9]{0,6})\r\n" + _NAME,
        _short_bulk(r"[^\r]"),
        _POSSESSIVE,
        rb"\$([1-9][0-9]{0,9})\r\n",
    )
    return re.compile(pattern).match


_shapes: dict[tuple[bytes, tuple[int, ...], bytes], Shape] = {}


def alike(start: bytes, lengths: tuple[int, ...], byte: bytes = rb"[^\r]") -> Shape | None:
    """Matches what is nothing but commands that begin with ``start`` and have arguments of these lengths, without a CR
    if nothing else is said (``byte``), or replies of such a length where ``start`` is empty. As nothing has to be found
    out but whether it is so, it takes a quarter of the time of the other patterns. None: there are too many of them."""
    byte = byte if start else b"."
    match = _shapes.get((start, lengths, byte))
    if match is None and len(_shapes) < MAX_SHAPES:
        bulks = b"".join([rb"\$%d\r\n%b{%d}\r\n" % (length, byte, length) for length in lengths])
        match = re.compile(b"(?s)(?:%b%b)+%b" % (re.escape(start), bulks, _POSSESSIVE)).fullmatch
        _shapes[start, lengths, byte] = match
    return match


_bulk_runs: list[Shape | None] = [None] * SINGLE


def replies_alike(data: bytes, count: int) -> bool:
    """Whether this is so many replies of the same length, which are bulk strings, or all the same common one."""
    length, rest = divmod(len(data), count)
    if rest or length >= SINGLE:
        return False
    one = data[:length]
    if one in COMMON_REPLIES:
        return data == one * count
    match = _bulk_runs[length]
    if match is None:
        line = WHOLE_BULKS[length]
        match = alike(b"", (length - len(line) - 2,)) if data.startswith(line) else None
        if match is None:
            return False
        _bulk_runs[length] = match
    return match(data) is not None


@cache
def _bulks(count: int) -> Match:
    return re.compile(b"(?s)(?:%b){%d}%b" % (_short_bulk("."), count, _POSSESSIVE)).match


@cache
def _one_reply() -> bytes:
    """Matches a simple string, an integer, a null or a short bulk string: what most replies are."""
    return rb"[+:][^\r\n]*\r\n|\$(?:%b|-1\r\n)|_\r\n" % _short_bulk(".").removeprefix(rb"\$")


@cache
def _replies(count: int) -> Match:
    return re.compile(b"(?s)(?:%b){%d}%b" % (_one_reply(), count, _POSSESSIVE)).match


@cache
def _each_reply() -> Callable[[bytes], list[bytes]]:
    return re.compile(b"(?s)(%b)|.+" % _one_reply()).findall


def find_replies(data: bytes) -> list[bytes]:
    """The short replies that ``data`` begins with, each by itself; and something empty, unless they are all of it."""
    return _each_reply()(data)


def skip_bulks(data: bytes | bytearray, at: int, count: int) -> tuple[int, int]:
    """Step over up to ``count`` short bulk strings that lie whole in ``data`` from ``at`` on. Return the offset behind
    them, and how many are left."""
    return _skip(_bulks, data, at, count)


def skip_replies(data: bytes | bytearray, at: int, count: int) -> tuple[int, int]:
    """The same for replies: stops in front of the first one that is an error, an aggregate, long, or not whole."""
    return _skip(_replies, data, at, count)


def _skip(pattern: Callable[[int], Match], data: bytes | bytearray, at: int, count: int) -> tuple[int, int]:
    for size in _AT_ONCE:
        while count >= size:
            match = pattern(size)(data, at)
            if match is None:
                break
            at = match.end()
            count -= size
    return at, count
