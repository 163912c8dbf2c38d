"""Both roles of a connection: what bytes mean, however they come, and what is refused by which name."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.http1 import ClientCodec, Data, End, Limits, RequestHead, ResponseHead, ServerCodec
from l4proxy.protocols.http1.codec import CHUNKED, UNTIL_CLOSE
from l4proxy.protocols.http1.errors import RULES
from l4proxy.protocols.http1.events import Event
from l4proxy.protocols.http1.states import State
from l4proxy.protocols.http_fields import EMPTY
from l4proxy.testing.splits import splits

HOST = b"Host: a.test\r\n"


def told(events: Sequence[Event]) -> list[Any]:
    """Events as plain data, with the pieces of a body joined."""
    made: list[Any] = []
    for event in events:
        match event:
            case RequestHead():
                made.append((event.line.method, event.line.target, event.section.fields.fields))
            case ResponseHead():
                made.append((event.line.status, event.section.fields.fields, event.content_length))
            case Data():
                if made and isinstance(made[-1], bytes):
                    made[-1] += event.data
                elif event.data:
                    made.append(event.data)
            case End():
                made.append(event.trailers.fields)
    return made


class Requests:
    """A server's codec that answers each request as soon as it is complete."""

    def __init__(self) -> None:
        self.codec = ServerCodec()

    def feed(self, chunks: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        for chunk in chunks:
            events += self.codec.receive_data(chunk)
            while self.codec.reading is State.DONE:
                self.codec.begin(0)
                events += self.codec.next_cycle()
        return events


def responses(chunks: Sequence[bytes], method: str = "GET", eof: bool = False) -> list[Event]:
    codec = ClientCodec()
    codec.begin(method, 0, upgrade=method == "UPGRADE")
    events = [event for chunk in chunks for event in codec.receive_data(chunk)]
    return events + (codec.receive_data(b"") if eof else [])


def feed(codec: ServerCodec | ClientCodec, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        codec.receive_data(chunk)


GET = b"GET /a?b=%20c HTTP/1.1\r\n" + HOST + b"X-Two:  two \t\r\nCOOKIE: a=b\r\n\r\n"
GET_TOLD = ("GET", "/a?b=%20c", (("host", "a.test"), ("x-two", "two"), ("cookie", "a=b")))
REQUESTS = {
    "plain": (GET, [GET_TOLD, ()]),
    "pipelined": (GET * 3, [GET_TOLD, ()] * 3),
    "behind an empty line": (b"\r\n" + GET, [GET_TOLD, ()]),
    "no fields": (b"GET / HTTP/1.0\r\n\r\n", [("GET", "/", ()), ()]),
    "length": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + GET,
        [("POST", "/", (("host", "a.test"), ("content-length", "5"))), b"hello", (), GET_TOLD, ()],
    ),
    "chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\n\r\n"
        b"5;name=value\r\nhello\r\n00a\r\n world 123\r\n0\r\nX-Sum: 15\r\n\r\n" + GET,
        [("POST", "/", (("host", "a.test"),)), b"hello world 123", (("x-sum", "15"),), GET_TOLD, ()],
    ),
    "hop by hop": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: x-mine, TE\r\nTE: trailers\r\nX-Mine: 1\r\n"
        b"Keep-Alive: 3\r\nA: b\r\n\r\n",
        [("GET", "/", (("host", "a.test"), ("a", "b"))), ()],
    ),
    "absolute": (
        b"GET http://b.test:80/x HTTP/1.1\r\n" + HOST + b"\r\n",
        [("GET", "/x", (("host", "a.test"),)), ()],
    ),
    "options": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", [("OPTIONS", "*", (("host", "a.test"),)), ()]),
    "odd method": (b"M-SEARCH / HTTP/1.1\r\n" + HOST + b"\r\n", [("M-SEARCH", "/", (("host", "a.test"),)), ()]),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_the_same_however_they_come(name: str) -> None:
    data, expected = REQUESTS[name]
    for how, split in splits(0, 20):
        chunks = split(data)
        assert told(Requests().feed(chunks)) == expected, how
        events = Requests().feed(chunks)
        raw = b"".join(event.raw for event in events)
        assert raw == data.removeprefix(b"\r\n"), how


RESPONSES = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", [(200, (("content-length", "2"),), 2), b"hi", ()]),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", [(404, (("content-length", "0"),), 0), ()]),
    "empty reason": (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", [(200, (("content-length", "0"),), 0), ()]),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", [(200, (), None), b"hi", ()]
    ),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        [(100, (), 0), (103, (("link", "</a>"),), 0), (204, (), 0), ()],
    ),
    "not modified": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", [(304, (("content-length", "99"),), 0), ()]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_are_the_same_however_they_come(name: str) -> None:
    data, expected = RESPONSES[name]
    for how, split in splits(0, 20):
        events = responses(split(data))
        assert told(events) == expected, how
        assert b"".join(event.raw for event in events) == data, how


def test_a_response_without_a_length_ends_with_the_connection() -> None:
    data = b"HTTP/1.0 200 OK\r\n\r\nall of it"
    assert told(responses([data])) == [(200, (), None), b"all of it"]
    assert told(responses([data], eof=True)) == [(200, (), None), b"all of it", ()]


def test_the_response_to_head_has_no_body() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    assert told(responses([data], "HEAD")) == [(200, (("content-length", "99"),), 0), ()]


def test_a_response_that_is_cut_short_is_an_error() -> None:
    codec = ClientCodec()
    codec.begin("GET", 0)
    codec.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    with pytest.raises(RemoteProtocolError) as caught:
        codec.receive_data(b"")
    assert caught.value.code == "incomplete_message"


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bool = True) -> bytes:
    return b"\r\n".join((first, *([b"Host: a"] if host else []), *lines, b"", b""))


def chunked(body: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.1") + body


BAD_REQUESTS = {
    # The first line
    "no version": ("bad_request_line", b"GET /\r\n\r\n"),
    "two spaces": ("bad_request_line", b"GET  / HTTP/1.1\r\n\r\n"),
    "tab": ("bad_request_line", b"GET\t/ HTTP/1.1\r\n\r\n"),
    "space behind the version": ("bad_request_line", b"GET / HTTP/1.1 \r\n\r\n"),
    "space in front": ("bad_request_line", b" GET / HTTP/1.1\r\n\r\n"),
    "lower case": ("bad_request_line", b"GET / http/1.1\r\n\r\n"),
    "method with a colon": ("bad_method", b"G:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "long method": ("bad_method", b"G" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no slash": ("bad_target", head(first=b"GET x HTTP/1.1")),
    "control character in the target": ("bad_target", head(first=b"GET /a\x01b HTTP/1.1")),
    "high byte in the target": ("bad_target", head(first=b"GET /\xff HTTP/1.1")),
    "asterisk": ("bad_target", head(first=b"GET * HTTP/1.1")),
    "another scheme": ("bad_target", head(first=b"GET ftp://a/ HTTP/1.1")),
    "user in the authority": ("bad_host", head(first=b"GET http://u@a/ HTTP/1.1")),
    "connect without a port": ("bad_target", head(first=b"CONNECT a HTTP/1.1")),
    "connect with a path": ("bad_target", head(first=b"CONNECT /a:1 HTTP/1.1")),
    "fragment": ("fragment_in_target", head(first=b"GET /#a HTTP/1.1")),
    "version 2": ("unsupported_version", head(first=b"GET / HTTP/2.0")),
    "version 1.2": ("unsupported_version", head(first=b"GET / HTTP/1.2")),
    "version 0.9": ("unsupported_version", head(first=b"GET / HTTP/0.9")),
    "tls": ("tls_on_plain_port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # Lines and fields
    "lf": ("bare_lf", b"GET / HTTP/1.1\nHost: a\n\n"),
    "lf behind a field": ("bare_lf", head(b"A: b\nC: d")),
    "cr": ("bare_cr", head(b"A: b\rC: d")),
    "cr at the end": ("bare_cr", head(b"A: b\r")),
    "nul": ("nul", head(b"A: b\0c")),
    "control character": ("control_character", head(b"A: b\x01c")),
    "delete": ("control_character", head(b"A: b\x7fc")),
    "folded": ("obs_fold", head(b"A: b", b" c")),
    "folded with a tab": ("obs_fold", head(b"A: b", b"\tc")),
    "folded first": ("obs_fold", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "no colon": ("missing_colon", head(b"Abc")),
    "space before the colon": ("space_before_colon", head(b"Content-Length : 5")),
    "tab before the colon": ("space_before_colon", head(b"Transfer-Encoding\t: chunked")),
    "empty name": ("bad_field_name", head(b": a")),
    "name with a space": ("bad_field_name", head(b"A b: c")),
    "name with a high byte": ("bad_field_name", head(b"\xc3\xa9: c")),
    "name with a parenthesis": ("bad_field_name", head(b"A(b): c")),
    # Who it is for
    "no host": ("missing_host", head(host=False)),
    "two hosts": ("several_hosts", head(b"Host: b")),
    "the same host twice": ("several_hosts", head(b"host: a")),
    "host with a path": ("bad_host", head(b"Host: a/b", host=False)),
    "host with a user": ("bad_host", head(b"Host: u@b", host=False)),
    "host with a comma and space": ("bad_host", head(b"Host: a, b", host=False)),
    "host with a long port": ("bad_host", head(b"Host: a:123456", host=False)),
    # Where the body ends
    "length and chunked (CL.TE)": (
        "content_length_and_transfer_encoding",
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.1"),
    ),
    "chunked and length (TE.CL)": (
        "content_length_and_transfer_encoding",
        head(b"Transfer-Encoding: chunked", b"Content-Length: 5", first=b"POST / HTTP/1.1"),
    ),
    "length and something (CL.TE)": (
        "content_length_and_transfer_encoding", head(b"Content-Length: 5", b"Transfer-Encoding: x")
    ),
    "two lengths": ("several_content_lengths", head(b"Content-Length: 5", b"Content-Length: 6")),
    "the same length twice": ("several_content_lengths", head(b"Content-Length: 5", b"Content-Length: 5")),
    "list of lengths": ("bad_content_length", head(b"Content-Length: 5, 5")),
    "plus": ("bad_content_length", head(b"Content-Length: +5")),
    "minus": ("bad_content_length", head(b"Content-Length: -1")),
    "leading zero": ("bad_content_length", head(b"Content-Length: 05")),
    "hexadecimal": ("bad_content_length", head(b"Content-Length: 0x5")),
    "underscore": ("bad_content_length", head(b"Content-Length: 1_0")),
    "space in it": ("bad_content_length", head(b"Content-Length: 5 5")),
    "empty": ("bad_content_length", head(b"Content-Length:")),
    "arabic digits": ("bad_content_length", head(b"Content-Length: \xd9\xa5")),
    "huge": ("bad_content_length", head(b"Content-Length: 1" + b"0" * 18)),
    "xchunked (TE.TE)": ("unknown_transfer_encoding", head(b"Transfer-Encoding: xchunked")),
    "chunked in quotes": ("unknown_transfer_encoding", head(b'Transfer-Encoding: "chunked"')),
    "identity, chunked": ("unknown_transfer_encoding", head(b"Transfer-Encoding: identity, chunked")),
    "chunked, identity": ("unknown_transfer_encoding", head(b"Transfer-Encoding: chunked, identity")),
    "chunked, chunked": ("unknown_transfer_encoding", head(b"Transfer-Encoding: chunked, chunked")),
    "gzip": ("unknown_transfer_encoding", head(b"Transfer-Encoding: gzip")),
    "vertical tab": ("control_character", head(b"Transfer-Encoding: \x0bchunked")),
    "empty coding": ("unknown_transfer_encoding", head(b"Transfer-Encoding:")),
    "two codings (TE.TE)": (
        "several_transfer_encodings", head(b"Transfer-Encoding: chunked", b"Transfer-encoding: x")
    ),
    "chunked in 1.0": (
        "transfer_encoding_in_http10", head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0")
    ),
    "connect with a body": (
        "body_with_connect", head(b"Content-Length: 5", first=b"CONNECT a:1 HTTP/1.1")
    ),
    "upgrade with a length (2026-58055)": (
        "body_with_upgrade",
        head(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 5"),
    ),
    # Chunks
    "chunk without a size": ("bad_chunk_size", chunked(b"\r\nhello")),
    "chunk size with a sign": ("bad_chunk_size", chunked(b"+5\r\nhello\r\n")),
    "chunk size with 0x": ("bad_chunk_size", chunked(b"0x5\r\nhello\r\n")),
    "chunk size with a space": ("bad_chunk_size", chunked(b"5 \r\nhello\r\n")),
    "chunk size with an underscore": ("bad_chunk_size", chunked(b"1_0\r\nhello\r\n")),
    "chunk size of 17 digits": ("bad_chunk_size", chunked(b"0" * 16 + b"5\r\nhello\r\n")),
    "chunk size with lf": ("bad_chunk_size", chunked(b"5\nhello\n")),
    "extension with lf": ("bad_chunk_extension", chunked(b"5;a\nhello\n")),
    "extension with cr": ("bad_chunk_extension", chunked(b"5;a\rb\r\nhello\r\n")),
    "extension with nul": ("bad_chunk_extension", chunked(b"5;\0\r\nhello\r\n")),
    "long extension": ("chunk_line_too_long", chunked(b"5;" + b"a" * 300 + b"\r\nhello\r\n")),
    "chunk too long": ("bad_chunk_end", chunked(b"5\r\nhello!\r\n")),
    "chunk too short": ("bad_chunk_end", chunked(b"5\r\nhell\r\n0\r\n\r\n")),
    "chunk ends in lf": ("bad_chunk_end", chunked(b"5\r\nhello\n0\r\n\r\n")),
    "trailer with lf": ("bare_lf", chunked(b"0\r\nA: b\n\r\n")),
    "folded trailer": ("obs_fold", chunked(b"0\r\nA: b\r\n c\r\n\r\n")),
    "length as a trailer": ("forbidden_trailer", chunked(b"0\r\nContent-Length: 5\r\n\r\n")),
    "host as a trailer": ("forbidden_trailer", chunked(b"0\r\nHost: b\r\n\r\n")),
    "long trailers": ("trailers_too_large", chunked(b"0\r\n" + b"A: " + b"b" * 9000)),
    "many trailers": ("too_many_fields", chunked(b"0\r\n" + b"A:b\r\n" * 101)),
    # Connections
    "connection names the length": ("bad_connection", head(b"Connection: content-length")),
    "connection names the host": ("bad_connection", head(b"Connection: close, Host")),
    "connection names authorization": ("bad_connection", head(b"Connection: authorization")),
    "connection names a cookie": ("bad_connection", head(b"Connection: Cookie")),
    "connection names x-forwarded-for": ("bad_connection", head(b"Connection: X-Forwarded-For")),
    "connection names much": ("bad_connection", head(b"Connection: " + b",".join(b"a%d" % i for i in range(11)))),
    "expectation": ("unknown_expectation", head(b"Expect: the-unexpected")),
    # Too much
    "long target": ("uri_too_long", head(first=b"GET /" + b"a" * 17000 + b" HTTP/1.1")),
    "long target without an end": ("uri_too_long", b"GET /" + b"a" * 17000),
    "long field": ("head_too_large", head(b"A: " + b"b" * 62000)),
    "long field without an end": ("head_too_large", b"GET / HTTP/1.1\r\nA: " + b"b" * 62000),
    "many fields": ("too_many_fields", head(*[b"A: b"] * 100)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests_are_refused_by_name(name: str) -> None:
    rule, data = BAD_REQUESTS[name]
    status, meaning = RULES[rule]
    for how, split in splits(0, 3):
        if how == "byte by byte" and len(data) > 5000:
            continue
        with pytest.raises(RemoteProtocolError) as caught:
            feed(ServerCodec(), split(data))
        assert caught.value.code == rule, how
        assert caught.value.reply.startswith(b"HTTP/1.1 %d " % status)
        assert meaning.encode() in caught.value.reply
        assert b"Connection: close" in caught.value.reply


BAD_RESPONSES = {
    "no http": ("bad_status_line", b"SSH-2.0-OpenSSH\r\n\r\n"),
    "lf": ("bare_lf", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    "status 99": ("bad_status_line", b"HTTP/1.1 099 No\r\n\r\n"),
    "four digits": ("bad_status_line", b"HTTP/1.1 2000 OK\r\n\r\n"),
    "version 2": ("bad_status_line", b"HTTP/2 200 OK\r\n\r\n"),
    "cr in the reason": ("bad_status_line", b"HTTP/1.1 200 O\rK\r\n\r\n"),
    "split by lf": ("bare_lf", b"HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c=d\r\n\r\n"),
    "both": ("content_length_and_transfer_encoding",
             b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "two lengths": ("several_content_lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n"),
    "coding": ("unknown_transfer_encoding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "switch": ("unexpected_switch", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "body in 204": ("body_where_none_can_be", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nhi"),
    "body in 100": ("body_where_none_can_be", b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nhi"),
    "interim for ever": ("too_many_interim", b"HTTP/1.1 102 Processing\r\n\r\n" * 17),
    "long": ("head_too_large", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 62000),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_bad_responses_are_refused_by_name(name: str) -> None:
    rule, data = BAD_RESPONSES[name]
    for _, split in splits(0, 3):
        codec = ClientCodec()
        codec.begin("GET", 0)
        with pytest.raises(RemoteProtocolError) as caught:
            feed(codec, split(data))
        assert caught.value.code == rule


def test_every_rule_has_a_test() -> None:
    tested = {rule for rule, _ in (*BAD_REQUESTS.values(), *BAD_RESPONSES.values())}
    elsewhere = {"incomplete_message", "unexpected_response", "underscore_in_name"}
    assert RULES.keys() == tested | elsewhere


def test_what_is_unsolicited_is_no_response() -> None:
    with pytest.raises(RemoteProtocolError, match="answer to no request"):
        ClientCodec().receive_data(b"HTTP/1.1 408 Timeout\r\n\r\n")


def test_an_upstream_that_says_more_than_it_was_asked_is_not_used_again() -> None:
    codec = ClientCodec()
    codec.begin("GET", 0)
    events = codec.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert told(events) == [(200, (("content-length", "0"),), 0), ()]
    assert not codec.done
    assert codec.reading is State.MUST_CLOSE


def test_a_pipelined_request_is_not_read_before_its_turn() -> None:
    codec = ServerCodec()
    assert len(codec.receive_data(GET + b"this is no request")) == 2
    codec.begin(0)
    assert codec.next_cycle() == []
    with pytest.raises(RemoteProtocolError):
        codec.receive_data(b"\r\n\r\n")


def test_what_follows_a_switch_is_left_over() -> None:
    codec = ServerCodec()
    codec.receive_data(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nearly")
    assert codec.switch() == b"early"
    assert told(codec.receive_data(b"more")) == [b"more"]
    client = ClientCodec()
    client.begin("CONNECT", 0)
    (response,) = client.receive_data(b"HTTP/1.1 200 OK\r\n\r\nbytes")
    assert isinstance(response, ResponseHead)
    assert response.tunnel
    assert client.switch() == b"bytes"


def test_connections_go_on_or_not() -> None:
    for data, goes_on in (
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
    ):
        codec = ClientCodec()
        codec.begin("GET", 0)
        codec.receive_data(data)
        assert codec.done is goes_on


def test_bodies_that_are_sent_have_the_length_that_was_announced() -> None:
    codec = ServerCodec()
    codec.receive_data(GET)
    codec.begin(5)
    assert codec.data(b"hel") == b"hel"
    with pytest.raises(LocalProtocolError, match="2 left"):
        codec.data(b"lots")
    with pytest.raises(LocalProtocolError, match="2 bytes of the body are missing"):
        codec.end()
    assert codec.data(b"lo") == b"lo"
    assert codec.end() == b""
    assert codec.done


def test_chunks_are_made_and_none_that_would_end_the_body() -> None:
    codec = ServerCodec()
    codec.receive_data(GET)
    codec.begin(CHUNKED)
    assert codec.data(b"hello world 1234") == b"10\r\nhello world 1234\r\n"
    assert codec.data(b"") == b""
    assert codec.end(EMPTY) == b"0\r\n\r\n"


def test_a_response_until_the_end_is_the_last() -> None:
    codec = ServerCodec()
    codec.receive_data(GET)
    codec.begin(UNTIL_CLOSE)
    assert codec.data(b"x") == b"x"
    codec.end()
    assert not codec.done


def test_events_are_sent_as_they_were_read() -> None:
    for data, _ in (REQUESTS["length"], REQUESTS["chunked"]):
        sender, sent = ClientCodec(), b""
        for event in ServerCodec().receive_data(data):
            sent += sender.send(event)
        assert sent + GET == data
    sender, sent = ServerCodec(), b""
    sender.receive_data(GET)
    for event in responses([RESPONSES["chunked"][0]]):
        sent += sender.send(event)
    assert sent == RESPONSES["chunked"][0]
    assert sender.done


def test_byte_by_byte_stays_linear() -> None:
    """A head is not searched again from its beginning for every byte: 60 KiB would take 60 000 searches of 30 KiB."""
    codec = ServerCodec(Limits(max_fields=10000))
    data = head(*[b"A: " + b"b" * 60] * 900)
    for at in range(len(data) - 1):
        assert codec.receive_data(data[at : at + 1]) == []
        assert codec._searched >= at - 3
    assert len(codec.receive_data(data[-1:])) == 2


@given(st.binary(max_size=400), st.data())
def test_whatever_comes_is_read_or_refused(data: bytes, draw: Any) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    with contextlib.suppress(RemoteProtocolError):
        Requests().feed([part for part in (data[:cut], data[cut:]) if part])


FRAGMENTS = [
    b"GET / HTTP/1.1", b"POST /x HTTP/1.1", b"HTTP/1.1 200 OK", b"\r\n", b"\n", b"\r", b"Host: a", b"Content-Length: 3",
    b"Transfer-Encoding: chunked", b"Connection: close", b"0", b"3", b"abc", b" ", b"\t", b":", b"\0",
    b"Expect: 100-continue",
    b"Upgrade: websocket", b"Connection: Upgrade", b"\xff", b";a=b",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30))
def test_bits_of_http_are_read_the_same_way_whole_and_in_pieces(bits: list[bytes]) -> None:
    def read(chunks: list[bytes]) -> Any:
        codec = Requests()
        events: list[Event] = []
        try:
            for chunk in chunks:
                events += codec.feed([chunk])
        except RemoteProtocolError as error:
            return error.code
        return told(events)

    data = b"".join(bits)
    whole, pieces = read([data] if data else []), read([bytes([byte]) for byte in data])
    if isinstance(whole, str):
        assert isinstance(pieces, str)
    else:
        assert whole == pieces
