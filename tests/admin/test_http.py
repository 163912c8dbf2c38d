from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.admin.http import BODY_LIMIT, HttpError, Request, Response, parse_head, with_form


def head(line: str = "GET / HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


def refusal(raw: bytes) -> HttpError:
    with pytest.raises(HttpError) as caught:
        parse_head(raw)
    return caught.value


def test_a_request() -> None:
    request = parse_head(head("POST /a/b%20c?x=1&y=%C3%A9&z HTTP/1.1", "Host: h:1", "X-A:  b ", "x-a: c"))
    assert request == Request("POST", "/a/b c", {"x": "1", "y": "é", "z": ""}, {"host": "h:1", "x-a": "b, c"})


@pytest.mark.parametrize(
    ("line", "headers", "stays"),
    [
        ("GET / HTTP/1.1", (), True),
        ("GET / HTTP/1.1", ("Connection: close",), False),
        ("GET / HTTP/1.1", ("Connection: x, Close",), False),
        ("GET / HTTP/1.0", (), False),
        ("GET / HTTP/1.0", ("Connection: keep-alive",), False),
    ],
)
def test_whether_the_connection_stays(line: str, headers: tuple[str, ...], stays: bool) -> None:
    assert parse_head(head(line, *headers)).keep_alive is stays


@pytest.mark.parametrize(
    "line",
    [
        "", "GET", "GET /", "GET / HTTP/2.0", "GET / HTTP/1.2", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1",
        "GET http://h/ HTTP/1.1", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0", "GET /\x00 HTTP/1.1", "GET /é HTTP/1.1",
        "G(T / HTTP/1.1", "GET /a b HTTP/1.1", "GET /\nHTTP/1.1", "\x16\x03\x01",
    ],
)  # fmt: skip
def test_what_is_no_request_line(line: str) -> None:
    assert refusal(head(line)).status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Host", 400),
        ("Host : h", 400),
        (" folded", 400),
        (": x", 400),
        ("A b: c", 400),
        ("X: a\x00b", 400),
        ("X: a\rb", 400),
        ("X: a\nY: b", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: +1", 400),
        ("Content-Length: 1_0", 400),
        ("Content-Length: ", 400),
        ("Content-Length: 0x10", 400),
        ("Content-Length: 1, 1", 400),
        ("Content-Length: ²", 400),
        ("Content-Length: " + "9" * 30, 400),
        (f"Content-Length: {BODY_LIMIT + 1}", 413),
        ("Transfer-Encoding: chunked", 411),
        ("Transfer-Encoding: identity", 411),
        ("Expect: 100-continue", 417),
    ],
)
def test_headers_that_are_refused(header: str, status: int) -> None:
    assert refusal(head("POST / HTTP/1.1", header)).status == status


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Authorization", "Origin", "Content-Type"])
def test_headers_that_may_stand_there_once(name: str) -> None:
    error = refusal(head("GET / HTTP/1.1", f"{name}: 1", f"{name.lower()}: 1"))
    assert (error.status, error.text) == (400, f"the header {name.lower()} stands there twice")


def test_too_many_headers() -> None:
    assert refusal(head("GET / HTTP/1.1", *(f"X{at}: y" for at in range(101)))).status == 431


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/%ff", "the path is not URL-encoded UTF-8"),
        ("/?a=%ff", "the query is not URL-encoded UTF-8"),
        ("/?a=1&a=2", "the parameter 'a' stands there twice"),
        ("/?" + "&".join(f"a{at}=1" for at in range(21)), "there are more than 20 parameters"),
    ],
)
def test_targets_that_are_refused(target: str, text: str) -> None:
    error = refusal(head(f"GET {target} HTTP/1.1"))
    assert (error.status, error.text) == (400, text)


def form(body: bytes, kind: str = "application/x-www-form-urlencoded", query: str = "") -> Request:
    raw = head(f"POST /{query} HTTP/1.1", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return with_form(parse_head(raw), body)


def test_a_form_adds_to_the_query() -> None:
    kind = "Application/X-WWW-Form-URLencoded; charset=UTF-8"
    assert form(b"b=2+3", kind, query="?a=1").parameters == {"a": "1", "b": "2 3"}


@pytest.mark.parametrize(
    ("body", "kind", "query", "status"),
    [
        (b"{}", "application/json", "", 415),
        (b"a=1", "", "", 415),
        (b"a=2", "application/x-www-form-urlencoded", "?a=1", 400),
        (b"a=\xff", "application/x-www-form-urlencoded", "", 400),
        (b"a=%ff", "application/x-www-form-urlencoded", "", 400),
    ],
)
def test_bodies_that_are_refused(body: bytes, kind: str, query: str, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        form(body, kind, query)
    assert caught.value.status == status


@given(st.binary(max_size=200) | st.builds(lambda line, rest: line + rest, st.just(b"GET / HTTP/1.1\r\n"), st.binary()))
def test_any_bytes_are_a_request_or_refused(raw: bytes) -> None:
    try:
        request = parse_head(raw + b"\r\n\r\n")
    except HttpError as error:
        assert 400 <= error.status < 500  # noqa: PT017
    else:
        assert request.path.startswith("/")


def test_an_answer() -> None:
    raw = Response(b"gone\n", HTTPStatus.NOT_FOUND, headers={"X-A": "b"}).encode(keep_alive=False)
    first, *rest = raw.split(b"\r\n")
    assert first == b"HTTP/1.1 404 Not Found"
    assert {b"Content-Length: 5", b"Connection: close", b"X-A: b", b"Content-Type: text/plain; charset=utf-8"} < {*rest}
    assert rest[-2:] == [b"", b"gone\n"]


def test_an_answer_to_head_has_the_same_head_and_no_body() -> None:
    raw = Response(b"body").encode(keep_alive=True, with_body=False)
    assert b"Content-Length: 4\r\n" in raw
    assert b"Connection: keep-alive\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")
