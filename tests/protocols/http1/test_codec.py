"""Both roles of a connection: what bytes mean, however they come, and what is refused by which name."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http1_corpus import BAD_REQUESTS, BAD_RESPONSES, GET, REQUESTS, RESPONSES, head
from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.http1 import ClientCodec, Data, End, Limits, RequestHead, ResponseHead, ServerCodec
from l4proxy.protocols.http1.codec import CHUNKED, UNTIL_CLOSE
from l4proxy.protocols.http1.errors import RULES
from l4proxy.protocols.http1.events import Event
from l4proxy.protocols.http1.states import State
from l4proxy.protocols.http_fields import EMPTY
from l4proxy.testing.splits import splits


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


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_the_same_however_they_come(name: str) -> None:
    data, expected = REQUESTS[name]
    for how, split in splits(0, 20):
        chunks = split(data)
        assert told(Requests().feed(chunks)) == expected, how
        events = Requests().feed(chunks)
        raw = b"".join(event.raw for event in events)
        assert raw == data.removeprefix(b"\r\n"), how


def test_what_a_value_may_consist_of_is_the_same_for_names_that_are_known() -> None:
    assert told(Requests().feed([b"GET / HTTP/1.1\r\nHost: a\r\nX-Known: -\r\n\r\n"]))
    for byte in range(256):
        for name in b"X-Known", b"X-New-%d" % byte:
            data = b"GET / HTTP/1.1\r\nHost: a\r\n%b: <%c>\r\n\r\n" % (name, byte)
            if byte == 9 or 32 <= byte <= 126 or byte >= 128:
                ((_, _, fields), _) = told(Requests().feed([data]))
                assert fields[1] == (name.decode().lower(), f"<{chr(byte)}>")
            else:
                with pytest.raises(RemoteProtocolError):
                    Requests().feed([data])


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_are_the_same_however_they_come(name: str) -> None:
    data, expected = RESPONSES[name]
    for how, split in splits(0, 20):
        events = responses(split(data))
        assert told(events) == expected, how
        assert b"".join(event.raw for event in events) == data, how


@pytest.mark.parametrize("method", ["GET", "HEAD", "CONNECT", "UPGRADE"])
@pytest.mark.parametrize("name", RESPONSES)
def test_whole_responses_that_are_known_are_the_same_without_events(name: str, method: str) -> None:
    data = RESPONSES[name][0]
    for _ in range(3):  # it is known from the second time on
        expected, codec = ClientCodec(), ClientCodec()
        for one in expected, codec:
            one.begin(method, 0, upgrade=method == "UPGRADE")
        try:
            events = expected.receive_data(data)
        except RemoteProtocolError:
            assert codec.receive_whole(data) is None
            continue
        whole = codec.receive_whole(data)
        if whole is None:
            assert told(codec.receive_data(data)) == told(events)
        else:
            assert told([whole[0], Data(whole[1], whole[1]), End()]) == told(events)
            assert (codec.reading, codec.sending, codec.buffer) == (expected.reading, expected.sending, b"")
            assert codec.next_cycle() == []


def test_only_a_whole_response_to_a_request_is_taken_without_events() -> None:
    data = b"HTTP/1.1 200 OK\r\nServer: whole\r\nContent-Length: 2\r\n\r\nok"
    codec = ClientCodec()
    assert codec.receive_whole(data) is None
    for known in False, False, True, True:
        codec.begin("GET", 0)
        whole = codec.receive_whole(data)
        assert (whole is not None) == known
        if whole is None:
            codec.receive_data(data)
        else:
            assert told([whole[0]]) == [(200, (("server", "whole"), ("content-length", "2")), 2)]
            assert whole[1] == b"ok"
        assert codec.done
        codec.next_cycle()
    codec.begin("GET", 0)
    for other in (data[:-1], data + b"x", data[:20], b""):
        assert codec.receive_whole(other) is None
    codec.receive_data(data[:20])
    assert codec.receive_whole(data[20:]) is None
    assert told(codec.receive_data(data[20:]))[1:] == [b"ok", ()]
    for limits in Limits(max_head=40), Limits(max_fields=1):
        codec = ClientCodec(limits)
        codec.begin("GET", 0)
        assert codec.receive_whole(data) is None


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
    elsewhere = {"incomplete_message", "unexpected_response", "underscore_in_name", "https_on_plain_port"}
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
    server, sent = ServerCodec(), b""
    server.receive_data(GET)
    for event in responses([RESPONSES["chunked"][0]]):
        sent += server.send(event)
    assert sent == RESPONSES["chunked"][0]
    assert server.done


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


def test_a_small_limit_holds_for_heads_that_others_have_sent_before() -> None:
    """What is remembered is shared by listeners whose limits differ."""
    data = head(b"A: " + b"b" * 1500)
    for _ in range(3):
        ServerCodec().receive_data(data)
    with pytest.raises(RemoteProtocolError) as caught:
        ServerCodec(Limits(max_head=1024)).receive_data(data)
    assert caught.value.code == "head_too_large"
    with pytest.raises(RemoteProtocolError) as caught:
        ServerCodec(Limits(max_fields=1)).receive_data(data)
    assert caught.value.code == "too_many_fields"
