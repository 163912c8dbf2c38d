"""RESP as test cases: values and their bytes, what is no RESP, what is no command."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from l4proxy.protocols.redis.commands import CommandTable
from l4proxy.protocols.redis.limits import DEFAULT_LIMITS, RedisLimits
from l4proxy.protocols.redis.request import RequestSplitter, arguments, encode_command, one_by_one
from l4proxy.protocols.redis.values import (
    NULL_ARRAY,
    Attributed,
    BigNumber,
    BulkFailure,
    Double,
    Failure,
    Map,
    Push,
    Set,
    Simple,
    Verbatim,
)

__all__ = ["ANOTHER_SPELLING", "BAD_REPLIES", "BAD_REQUESTS", "VALUES", "split", "values"]

# On the wire, what it is, and how the server says it in RESP2.
VALUES: list[tuple[bytes, Any, bytes]] = [
    (b"+OK\r\n", Simple(b"OK"), b"+OK\r\n"),
    (b"+\r\n", Simple(b""), b"+\r\n"),
    (b"-ERR no\r\n", Failure(b"ERR no"), b"-ERR no\r\n"),
    (b"!10\r\nERR a\nb\rc \r\n", BulkFailure(b"ERR a\nb\rc "), b"-ERR a b c \r\n"),
    (b":-12\r\n", -12, b":-12\r\n"),
    (b"$5\r\na\r\nbc\r\n", b"a\r\nbc", b"$5\r\na\r\nbc\r\n"),
    (b"$0\r\n\r\n", b"", b"$0\r\n\r\n"),
    (b"_\r\n", None, b"$-1\r\n"),
    (b"#t\r\n", True, b":1\r\n"),
    (b"#f\r\n", False, b":0\r\n"),
    (b",1.50\r\n", Double(b"1.50"), b"$4\r\n1.50\r\n"),
    (b",-inf\r\n", Double(b"-inf"), b"$4\r\n-inf\r\n"),
    (b"(-3492890328409238509324850943850943825024385\r\n", BigNumber(-3492890328409238509324850943850943825024385),
     b"$44\r\n-3492890328409238509324850943850943825024385\r\n"),
    (b"=15\r\nmkd:Some string\r\n", Verbatim(b"Some string", b"mkd"), b"$11\r\nSome string\r\n"),
    (b"*2\r\n:1\r\n*0\r\n", [1, []], b"*2\r\n:1\r\n*0\r\n"),
    (b"~2\r\n+a\r\n_\r\n", Set([Simple(b"a"), None]), b"*2\r\n+a\r\n$-1\r\n"),
    (b">2\r\n$7\r\nmessage\r\n:1\r\n", Push([b"message", 1]), b"*2\r\n$7\r\nmessage\r\n:1\r\n"),
    (b"%2\r\n+a\r\n:1\r\n*0\r\n#t\r\n", Map([(Simple(b"a"), 1), ([], True)]), b"*4\r\n+a\r\n:1\r\n*0\r\n:1\r\n"),
    (b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n", Attributed(Map([(Simple(b"ttl"), 3)]), b"x"), b"$1\r\nx\r\n"),
]  # fmt: skip
ANOTHER_SPELLING: list[tuple[bytes, Any]] = [
    (b"$-1\r\n", None),
    (b"*-1\r\n", NULL_ARRAY),
    (b":+1\r\n", 1),
    (b"$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n", b"Hello"),
    (b"*?\r\n:1\r\n*?\r\n:2\r\n.\r\n.\r\n", [1, [2]]),
    (b"%?\r\n+a\r\n:1\r\n.\r\n", Map([(Simple(b"a"), 1)])),
    (b"~?\r\n.\r\n", Set()),
]
BAD_REPLIES = [
    (b"@1\r\n", "bad_type"),
    (b"\r\n", "bad_type"),
    (b".\r\n", "bad_type"),
    (b";1\r\na\r\n", "bad_type"),
    (b"$x\r\n", "bad_number"),
    (b"$ 1\r\n", "bad_number"),
    (b"$-2\r\n", "bad_number"),
    (b"$1\r\nabc", "bad_bulk"),
    (b"$600000000\r\n", "max_bulk"),
    (b"*3000000000\r\n", "max_elements"),
    (b"*1\r\n" * 129, "max_depth"),
    (b":" + b"1" * 40, "max_line"),
    (b"+" + b"a" * (65 * 1024), "max_line"),
]
BAD_REQUESTS = [
    (b"*x\r\n", "invalid_multibulk_length"),
    (b"*1048577\r\n", "invalid_multibulk_length"),
    (b"*2000000000\r\n", "invalid_multibulk_length"),
    (b"*01\r\n", "invalid_multibulk_length"),
    (b"*+1\r\n", "invalid_multibulk_length"),
    (b"* 1\r\n", "invalid_multibulk_length"),
    (b"*99999999999999999999\r\n", "invalid_multibulk_length"),
    (b"*" + b"1" * 40, "invalid_multibulk_length"),
    (b"*1\r\n:1\r\n", "expected_dollar"),
    (b"*2\r\n\r\n", "expected_dollar"),
    (b"*1\r\n*1\r\n", "expected_dollar"),
    (b"*2\r\n$3\r\nGET\r\n*1\r\n", "expected_dollar"),
    (b"*1\r\n$-1\r\n", "invalid_bulk_length"),
    (b"*1\r\n$x\r\n", "invalid_bulk_length"),
    (b"*1\r\n$03\r\nGET\r\n", "invalid_bulk_length"),
    (b"*1\r\n$70000\r\n", "invalid_bulk_length"),
    (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", "invalid_bulk_length"),
    (b"*2\r\n$3\r\nGET\r\n$" + b"1" * 40, "invalid_bulk_length"),
    (b"*1\r\n$3\r\nGETxx", "bad_bulk"),
    (b"*1\r\n$5\r\nPING\r\n*1", "bad_bulk"),
    (b"*1\r\n$3\r\nPING\r\n", "bad_bulk"),
    (b"*2\r\n$4\r\nGET\r\n$1\r\na\r\n", "bad_bulk"),
    (b"*2\r\n$3\r\nGET\r\n$1\r\nabc", "bad_bulk"),
    (b"GET 'a\r\n", "unbalanced_quotes"),
    (b"a" * 65537, "too_big_inline_request"),
    (b"a" * 65537 + b"\r\n", "too_big_inline_request"),
    (b"POST / HTTP/1.1\r\n", "cross_protocol"),
    (b"Host: localhost\r\n", "cross_protocol"),
    (encode_command(b"post"), "cross_protocol"),
]


def values() -> st.SearchStrategy[Any]:
    line = st.binary(max_size=20).filter(lambda text: b"\r" not in text and b"\n" not in text)
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.binary(max_size=300), line.map(Simple), line.map(Failure),
        st.binary(max_size=20).map(BulkFailure), st.binary(max_size=20).map(Verbatim), st.integers().map(BigNumber),
        st.floats(allow_nan=False).map(lambda number: Double(repr(number).encode())),
    )  # fmt: skip
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=12), st.lists(inner, max_size=4).map(Set), st.lists(inner, max_size=4).map(Push),
            st.lists(st.tuples(inner, inner), max_size=4).map(Map),
            st.builds(Attributed, st.lists(st.tuples(inner, inner), max_size=2).map(Map), inner),
        ),
        max_leaves=30,
    )  # fmt: skip


def split(*chunks: bytes, limits: RedisLimits = DEFAULT_LIMITS) -> tuple[list[list[bytes]], str]:
    """Split what a client sends: its commands, and the code of the error that ended it."""
    splitter, by_runs = RequestSplitter(CommandTable(), limits), RequestSplitter(CommandTable(), limits)
    runs = [run for chunk in chunks for run in splitter.split(chunk)]
    found = [arguments(one) for run in runs for one in one_by_one(run)]
    code = splitter.error.code if splitter.error else ""
    same = [run for chunk in chunks for run in by_runs.split_runs(chunk)]
    assert [run[1:] for run in same] == [run[1:] for run in runs]
    assert (by_runs.error.code if by_runs.error else "") == code
    return found, code
