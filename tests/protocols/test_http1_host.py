from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.http1_host import read_host


def request(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("head", "host"),
    [
        (request("GET / HTTP/1.1", "Host: a.test"), "a.test"),
        (request("", "GET / HTTP/1.1", "Host: a.test"), "a.test"),
        (request("GET / HTTP/1.1", "X-Host: b.test", "Cookie: Host: c.test", "hOST:\t A.Test:8080 "), "a.test"),
        (request("GET / HTTP/1.1", "Host: a.test."), "a.test"),
        (request("GET / HTTP/1.1", "Host: [2001:DB8::1]:80"), "[2001:db8::1]"),
        (request("GET / HTTP/1.1", "Host: 192.0.2.1:80"), "192.0.2.1"),
        (request("GET / HTTP/1.1", "Host: a.test", "Host: b.test"), "a.test"),
        (request("GET http://a.test:80/x?y HTTP/1.1", "Host: b.test"), "a.test"),
        (request("GET http://user:word@a.test/ HTTP/1.1"), "a.test"),
        (request("GET http://a.test?x HTTP/1.1"), "a.test"),
        (request("GET /http://b.test/ HTTP/1.1", "Host: a.test"), "a.test"),
        (request("CONNECT a.test:443 HTTP/1.1", "Host: b.test"), "a.test"),
        (request("OPTIONS * HTTP/1.1", "Host: a.test"), "a.test"),
        (b"GET / HTTP/1.1\nHost: a.test\n\n", "a.test"),
        (request("GET / HTTP/1.0"), ""),
        (request("GET / HTTP/1.1", "Host:"), ""),
        (request("GET / HTTP/1.1", "Host: a.test b.test"), ""),
        (request("GET / HTTP/1.1", "Host: a.test:http"), ""),
        (request("GET / HTTP/1.1", "Host: ä.test"), ""),
        (request("GET http:/// HTTP/1.1", "Host: a.test"), ""),
        (request("GET / HTTP/1.1", "X: y") + b"Host: b.test\r\n", ""),
    ],
)
def test_hosts_whole_byte_by_byte_and_with_more_behind(head: bytes, host: str) -> None:
    answers = [read_host(head[:size]) for size in range(len(head) + 1)]
    first = answers.index(host)
    assert answers == [None] * first + [host] * (len(answers) - first)
    assert read_host(head + b"Host: behind.test\r\n\r\n") == host


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"GET /\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"\x16\3\1\0\x05\1"])
def test_what_is_not_http1(data: bytes) -> None:
    assert read_host(data) is False


PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"Host:", b" ", b"a.test", b":80", b"x: y", b"[::1]", b"@", b"\xff", b"/"]
)


@given(st.sampled_from([b"GET / HTTP/1.1", b"GET http://", b"CONNECT ", b""]), st.lists(PIECES, max_size=12), st.data())
def test_an_answer_stands(start: bytes, pieces: list[bytes], data: st.DataObject) -> None:
    whole = start + b"".join(pieces)
    early = read_host(whole[: data.draw(st.integers(0, len(whole)))])
    assert early in (None, read_host(whole))
