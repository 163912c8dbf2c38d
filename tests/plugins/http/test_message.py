from __future__ import annotations

import pytest

from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.protocols.http_fields import EMPTY, FieldBlock

BLOCK = FieldBlock([("host", "a.test"), ("x", "1")], [b"Host: a.test", b"X:  1"])
ADDED = FieldBlock([("x-forwarded-for", "192.0.2.1")])


def request(target: str = "/a/b?c=d?e") -> HttpRequest:
    made = HttpRequest("GET", target, BLOCK)
    made.added = ADDED
    return made


def test_parts_of_a_target() -> None:
    assert (request().path, request().query) == ("/a/b", "c=d?e")
    assert (request("/").path, request("/").query) == ("/", "")


def test_who_reads_one_field_makes_nothing() -> None:
    asked = request()
    assert (asked.field("x"), asked.field("x-forwarded-for"), asked.field("y")) == ("1", "192.0.2.1", None)
    assert asked.seal() is BLOCK
    assert asked.added is ADDED


def test_all_fields_with_those_that_the_proxy_adds() -> None:
    asked = request()
    assert list(asked.headers) == ["host", "x", "x-forwarded-for"]
    assert asked.added is EMPTY
    asked.headers["X"] = "2"
    assert asked.field("x") == "2"
    assert asked.seal().http1 == b"Host: a.test\r\nX: 2\r\nx-forwarded-for: 192.0.2.1\r\n"
    assert BLOCK.get("x") == "1"


def test_the_authority_is_the_host_field() -> None:
    asked = request()
    assert asked.authority == "a.test"
    asked.authority = "b.test:8080"
    assert asked.headers["host"] == asked.field("host") == "b.test:8080"


def test_a_response_that_is_made_here_says_what_it_is() -> None:
    made = HttpResponse(403, "nö")
    assert made.content == "nö".encode()
    assert made.block.fields == (("content-type", "text/plain; charset=utf-8"), ("content-length", "3"))
    own = HttpResponse(200, b"{}", {"Content-Type": "application/json", "X": "y"}, details="why")
    assert own.block.fields == (("content-type", "application/json"), ("x", "y"), ("content-length", "2"))
    assert own.details == "why"


@pytest.mark.parametrize(("status", "length"), [(200, "0"), (404, "0"), (204, None), (101, None)])
def test_a_response_without_content(status: int, length: str | None) -> None:
    made = HttpResponse(status)
    assert made.field("content-length") == length
    assert made.field("content-type") is None


def test_a_response_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="header field"):
        HttpResponse(302, headers={"Location": "/a\r\nSet-Cookie: b"})
