"""What makes a message: RFC 9113 section 8, rule by rule."""

from __future__ import annotations

import pytest

from l4proxy.protocols.http2.fields import (
    HeadLimits,
    MessageError,
    RequestHead,
    ResponseHead,
    make_entry,
    read_request,
    read_response,
    read_trailers,
)

LIMITS = HeadLimits(60 * 1024, 100)
Fields = list[tuple[str, str]]
GET: Fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x?y")]
CONNECT: Fields = [(":method", "CONNECT"), (":authority", "a.example:443")]
WEBSOCKET: Fields = [*GET[1:], (":method", "CONNECT"), (":protocol", "websocket")]


def request(fields: Fields, limits: HeadLimits = LIMITS) -> RequestHead:
    return read_request([make_entry(*field) for field in fields], limits)


def response(fields: Fields) -> ResponseHead:
    return read_response([make_entry(*field) for field in fields], LIMITS)


def without(fields: Fields, *names: str) -> Fields:
    return [field for field in fields if field[0] not in names]


def test_a_request() -> None:
    head = request([*GET, ("accept", "*/*"), ("content-length", "5")])
    assert (head.method, head.scheme, head.target, head.protocol) == ("GET", "https", "/x?y", "")
    assert head.block.fields == (("host", "a.example"), ("accept", "*/*"), ("content-length", "5"))
    assert head.content_length == 5


def test_the_host_field_stands_in_for_the_authority() -> None:
    head = request([*without(GET, ":authority"), ("accept", "*/*"), ("host", "b.example")])
    assert head.block.fields == (("host", "b.example"), ("accept", "*/*"))


def test_authority_and_host_may_both_come_when_they_agree() -> None:
    assert request([*GET, ("host", "A.example")]).block.fields == (("host", "a.example"),)


def test_crumbs_become_one_cookie() -> None:
    head = request([*GET, ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")])
    assert head.block.fields == (("host", "a.example"), ("cookie", "a=1; b=2; c=3"), ("x", "y"))


def test_te_trailers_concerns_this_hop_alone() -> None:
    assert request([*GET, ("te", "trailers")]).block.fields == (("host", "a.example"),)


def test_priority_is_read_and_passed_on() -> None:
    head = request([*GET, ("priority", "u=1")])
    assert head.priority == "u=1"
    assert ("priority", "u=1") in head.block.fields


def test_connect() -> None:
    head = request(CONNECT)
    assert (head.method, head.scheme, head.target, head.protocol) == ("CONNECT", "", "", "")
    assert head.block.fields == (("host", "a.example:443"),)


def test_extended_connect() -> None:
    head = request(WEBSOCKET)
    assert (head.method, head.target, head.protocol) == ("CONNECT", "/x?y", "websocket")


def test_options_may_ask_for_everything() -> None:
    assert request([*without(GET, ":path", ":method"), (":method", "OPTIONS"), (":path", "*")]).target == "*"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        # 8.2: names and values
        ([*GET, ("Accept", "x")], "bad_header_name"),
        ([*GET, ("", "x")], "bad_header_name"),
        ([*GET, ("a b", "x")], "bad_header_name"),
        ([*GET, ("a:b", "x")], "bad_header_name"),
        ([*GET, ("\xe4", "x")], "bad_header_name"),
        ([*GET, ("a", "x\r\ny: z")], "bad_header_value"),
        ([*GET, ("a", "x\0")], "bad_header_value"),
        ([*GET, ("a", "x\n")], "bad_header_value"),
        ([*GET, ("a", " x")], "bad_header_value"),
        ([*GET, ("a", "x\t")], "bad_header_value"),
        ([*GET, ("a", "x\x7f")], "bad_header_value"),
        # 8.2.2: what concerns one connection
        ([*GET, ("connection", "close")], "connection_header"),
        ([*GET, ("proxy-connection", "close")], "connection_header"),
        ([*GET, ("keep-alive", "1")], "connection_header"),
        ([*GET, ("transfer-encoding", "chunked")], "connection_header"),
        ([*GET, ("upgrade", "h2c")], "connection_header"),
        ([*GET, ("te", "gzip")], "connection_header"),
        ([*GET, ("te", "trailers, deflate")], "connection_header"),
        # 8.3: pseudo-headers
        ([("accept", "*/*"), *GET], "pseudo_header_order"),
        ([*GET[:3], ("te", "trailers"), GET[3]], "pseudo_header_order"),
        ([*GET[:3], ("host", "a.example"), GET[3]], "pseudo_header_order"),
        ([*GET[:3], ("cookie", "a"), GET[3]], "pseudo_header_order"),
        ([*GET, GET[0]], "repeated_pseudo_header"),
        ([*GET, GET[3]], "repeated_pseudo_header"),
        ([*GET, (":status", "200")], "bad_pseudo_header"),
        ([*GET, (":unknown", "x")], "bad_header_name"),
        (without(GET, ":method"), "missing_pseudo_header"),
        (without(GET, ":scheme"), "missing_pseudo_header"),
        (without(GET, ":path"), "missing_pseudo_header"),
        (without(GET, ":authority"), "missing_authority"),
        ([*GET[:3], (":path", "")], "bad_header_value"),
        ([*GET[:3], (":path", "x")], "bad_header_value"),
        ([*GET[:3], (":path", "/ HTTP/1.1")], "bad_header_value"),
        ([*GET[:3], (":path", "/#x")], "bad_header_value"),
        ([*GET[:3], (":path", "/\xff")], "bad_header_value"),
        ([*GET[:3], (":path", "*")], "bad_path"),
        ([*GET[:3], (":path", "http://a.example/")], "bad_header_value"),
        ([*GET[1:], (":method", "GET /")], "bad_header_value"),
        ([*GET[1:], (":method", "")], "bad_header_value"),
        ([*without(GET, ":scheme"), (":scheme", "ftp")], "bad_header_value"),
        ([*without(GET, ":authority"), (":authority", "user@a.example")], "bad_header_value"),
        ([*without(GET, ":authority"), (":authority", "a.example/x")], "bad_header_value"),
        ([*without(GET, ":authority"), (":authority", "")], "bad_header_value"),
        ([*GET, ("host", "b.example")], "authority_mismatch"),
        ([*GET, ("host", "a.example"), ("host", "a.example")], "repeated_header"),
        # 8.1.1: lengths
        ([*GET, ("content-length", "5"), ("content-length", "5")], "repeated_header"),
        ([*GET, ("content-length", "5, 5")], "bad_header_value"),
        ([*GET, ("content-length", "+5")], "bad_header_value"),
        ([*GET, ("content-length", "05")], "bad_header_value"),
        ([*GET, ("content-length", "-1")], "bad_header_value"),
        ([*GET, ("content-length", "")], "bad_header_value"),
        ([*GET, ("content-length", "9" * 30)], "bad_header_value"),
        # 8.5 and RFC 8441
        ([*CONNECT, (":path", "/")], "malformed_connect"),
        ([*CONNECT, (":scheme", "https")], "malformed_connect"),
        ([CONNECT[0], ("host", "a.example:443")], "malformed_connect"),
        ([*GET, (":protocol", "websocket")], "malformed_connect"),
        (without(WEBSOCKET, ":path"), "missing_pseudo_header"),
        ([*WEBSOCKET[:-1], (":protocol", "web socket")], "bad_header_value"),
    ],
)
def test_malformed_requests(fields: Fields, detail: str) -> None:
    with pytest.raises(MessageError) as caught:
        request(fields)
    assert caught.value.detail == detail
    assert caught.value.status == 400


def test_limits_count_crumbs_and_pseudo_headers() -> None:
    crumbs = [("cookie", "")] * 96
    assert request([*GET, *crumbs]).block.get("cookie") == "; ".join([""] * 96)
    with pytest.raises(MessageError) as caught:
        request([*GET, *crumbs, ("cookie", "")])
    assert (caught.value.detail, caught.value.status) == ("headers_too_large", 431)
    size = sum(len(name) + len(value) + 32 for name, value in [*GET, *crumbs])
    request([*GET, *crumbs], HeadLimits(size, 1000))
    with pytest.raises(MessageError, match="bytes"):
        request([*GET, *crumbs], HeadLimits(size - 1, 1000))


def test_a_response() -> None:
    head = response(
        [(":status", "200"), ("server", "x"), ("set-cookie", "a"), ("set-cookie", "b"), ("content-length", "0")]
    )
    assert (head.status, head.content_length, len(head.block)) == (200, 0, 4)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ([], "missing_pseudo_header"),
        ([("server", "x")], "missing_pseudo_header"),
        ([(":status", "200"), (":status", "200")], "repeated_pseudo_header"),
        ([("server", "x"), (":status", "200")], "pseudo_header_order"),
        ([(":status", "0200")], "bad_header_value"),
        ([(":status", "20")], "bad_header_value"),
        ([(":status", "099")], "bad_header_value"),
        ([(":status", "101")], "bad_status"),
        ([(":status", "200"), (":path", "/")], "bad_pseudo_header"),
        ([(":status", "200"), ("connection", "close")], "connection_header"),
        ([(":status", "200"), ("te", "trailers")], "connection_header"),
        ([(":status", "200"), ("content-length", "1"), ("content-length", "2")], "repeated_header"),
        ([(":status", "100"), ("content-length", "1")], "bad_content_length"),
        ([(":status", "204"), ("content-length", "1")], "bad_content_length"),
        ([(":status", "200"), ("x", "a\r\nb")], "bad_header_value"),
    ],
)
def test_malformed_responses(fields: Fields, detail: str) -> None:
    with pytest.raises(MessageError) as caught:
        response(fields)
    assert caught.value.detail == detail


def test_a_response_is_bounded() -> None:
    with pytest.raises(MessageError, match="fields"):
        response([(":status", "200"), *[("x", "")] * 100])


def test_trailers() -> None:
    fields = [("grpc-status", "0"), ("x", "y")]
    assert list(read_trailers([make_entry(*field) for field in fields], LIMITS).fields) == fields


@pytest.mark.parametrize(
    ("field", "detail"),
    [
        ((":status", "200"), "bad_trailer"),
        ((":path", "/"), "bad_trailer"),
        (("content-length", "1"), "bad_trailer"),
        (("host", "a"), "bad_trailer"),
        (("te", "trailers"), "bad_trailer"),
        (("connection", "close"), "connection_header"),
        (("X", "y"), "bad_header_name"),
        (("x", "\n"), "bad_header_value"),
    ],
)
def test_malformed_trailers(field: tuple[str, str], detail: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_trailers([make_entry("x", "y"), make_entry(*field)], LIMITS)
    assert caught.value.detail == detail


def test_trailers_are_bounded() -> None:
    with pytest.raises(MessageError, match="fields"):
        read_trailers([make_entry("x", "")] * 101, LIMITS)
