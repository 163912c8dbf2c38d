"""Differences to h11, the strict library of Python's HTTP world.

What this codec takes, h11 takes for the same: method, target, fields, body. The reverse is not so. A library at the end
of a connection can be lenient where a proxy cannot: what it passes on is read again, by somebody who may be lenient in
another way.
"""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from http1_corpus import BAD_REQUESTS, REQUESTS
from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.http1 import Data, End, RequestHead, ServerCodec

STRICTER = {
    "two readings of where the body ends (RFC 9112 section 6.3 lets a server choose)": {
        "length and chunked (CL.TE)", "chunked and length (TE.CL)", "the same length twice", "list of lengths", "huge",
        "leading zero", "chunked in 1.0", "connect with a body", "upgrade with a length (2026-58055)",
    },
    "two readings of where a line or a chunk ends": {
        "lf", "lf behind a field", "folded", "folded with a tab", "chunk size with a space", "chunk size of 17 digits",
        "chunk size with lf", "extension with lf", "extension with cr", "extension with nul", "trailer with lf",
        "folded trailer",
    },
    "h11 leaves it to its user: what the request is for": {
        "no slash", "asterisk", "another scheme", "user in the authority", "connect without a port", "fragment",
        "connect with a path", "host with a path", "host with a user", "host with a comma and space",
        "host with a long port", "version 2", "version 1.2", "version 0.9", "expectation",
    },
    "a proxy has to know: fields that belong to both ends": {
        "connection names the length", "connection names the host", "connection names authorization",
        "connection names a cookie", "connection names x-forwarded-for", "connection names much", "length as a trailer",
        "host as a trailer",
    },
    "control characters in values (RFC 9110 section 5.5)": {"control character", "delete"},
    "limits": {
        "long method", "long target", "long target without an end", "long field", "long field without an end",
        "many fields", "long extension", "long trailers", "many trailers",
    },
}  # fmt: skip
"""What h11 takes and we do not, by why."""


def by_h11(data: bytes) -> Any:
    """Method, target, fields and body of the first request; None where more is needed. Raises RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=70_000)
    connection.receive_data(data)
    request: h11.Request | None = None
    body = b""
    while True:
        match connection.next_event():
            case h11.Request() as request:
                pass
            case h11.Data() as piece:
                body += bytes(piece.data)
            case h11.EndOfMessage():
                assert request is not None
                fields = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
                return request.method.decode(), request.target.decode(), fields, body
            case h11.NEED_DATA | h11.PAUSED:
                return None


def by_us(data: bytes) -> Any:
    head: RequestHead | None = None
    body = b""
    for event in ServerCodec().receive_data(data):
        match event:
            case RequestHead():
                head = event
            case Data():
                body += event.data
            case End():
                assert head is not None
                return head, body
    return None


def same(data: bytes) -> bool:
    """Whether we take it; then h11 has to take it for the same."""
    try:
        ours = by_us(data)
    except RemoteProtocolError:
        return False
    if ours is None:
        return False
    head, body = ours
    method, target, fields, their_body = by_h11(data.removeprefix(b"\r\n"))
    assert (head.line.method, body) == (method, their_body)
    assert target.endswith(head.line.target) or method == "CONNECT"
    dropped = [field for field in fields if field not in head.section.fields.fields]
    assert {name for name, _ in dropped} <= {"connection", "te", "keep-alive", "transfer-encoding", "upgrade", "x-mine"}
    return True


@pytest.mark.parametrize("name", REQUESTS)
def test_what_we_take_it_takes_for_the_same(name: str) -> None:
    assert same(REQUESTS[name][0])


def test_where_we_are_stricter() -> None:
    taken = set()
    for name, (_, data) in BAD_REQUESTS.items():
        try:
            by_h11(data)
        except h11.RemoteProtocolError:
            continue
        taken.add(name)
    assert taken == set().union(*STRICTER.values())


FIELDS = [
    b"Host: a", b"Content-Length: 3", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close",
    b"Connection: keep-alive, te", b"X: \xff y\t", b"Y:", b"Expect: 100-continue", b"Transfer-Encoding: gzip",
    b"TE: trailers", b"Content-length: 4", b"Host: b", b" folded", b"a b: c", b"Upgrade: x",
]  # fmt: skip
BODIES = [
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"3;x\r\nabc\r\n0\r\nT: u\r\n\r\n",
    b"3\r\nabcd\r\n",
    b"ab",
]


@given(
    st.sampled_from([b"GET / HTTP/1.1", b"POST /x?y HTTP/1.1", b"PUT / HTTP/1.0", b"GET http://a/ HTTP/1.1"]),
    st.lists(st.sampled_from(FIELDS), max_size=5),
    st.sampled_from(BODIES),
)
def test_whatever_we_take_it_takes_for_the_same(line: bytes, fields: list[bytes], body: bytes) -> None:
    same(b"\r\n".join([line, *fields, b"", b""]) + body)
