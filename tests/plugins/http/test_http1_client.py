"""A connection to an endpoint by itself: what it writes, whom it tells what, and when it can be used again."""

from __future__ import annotations

from errno import ECONNRESET
from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.http1_client import RESPONSE, Http1Client
from l4proxy.plugins.http.message import HttpRequest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"


class Wire:
    """A stream, and the pool around the connection: both write down what is asked of them."""

    on_data: Any
    on_eof: Any
    on_lost: Any
    on_writable: Any

    def __init__(self) -> None:
        self.out = b""
        self.log: list[str] = []

    def write(self, data: bytes) -> None:
        self.out += data

    write_soon = write

    def __getattr__(self, name: str) -> Any:
        return lambda *told: self.log.append(" ".join([name, *(str(one) for one in told if isinstance(one, int))]))


class Sink:
    def __init__(self) -> None:
        self.told: list[object] = []

    def on_informational(self, response: Any) -> None:
        self.told.append(response.status)

    def on_response(self, response: Any, data: bytes, end: bool) -> None:
        self.told.append((response.status, data, end))

    def on_response_data(self, data: bytes, end: bool) -> None:
        self.told.append((data, end))

    def on_response_trailers(self, trailers: Any) -> None:
        self.told.append(trailers.fields)

    def on_response_reset(self, error: Any) -> None:
        self.told.append((error.detail, error.flag))

    def on_request_writable(self, writable: bool) -> None:
        self.told.append(writable)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def client(wire: Wire) -> Http1Client:
    made = Http1Client(wire, SimpleNamespace(name="up"), wire)  # type: ignore[arg-type]
    assert wire.log.pop() == "start"
    return made


def ask(client: Http1Client, method: str = "GET", length: int | None = 0, **options: Any) -> Sink:
    block = Headers.of([("Host", "a")]).block
    sink = Sink()
    end = options.pop("end", length == 0)
    data = options.pop("data", b"")
    client.request(HttpRequest(method, "/", block, content_length=length, **options), data, end, sink)
    return sink


def test_it_is_free_again_before_anybody_hears_of_the_end(client: Http1Client, wire: Wire) -> None:
    """Whoever hears of it may want to ask the next thing."""
    for _ in range(2):
        sink = ask(client)
        assert (client.capacity, client.active) == (0, 1)
        wire.on_data(OK)
        assert sink.told == [(200, b"ok", True)]
        assert (client.capacity, client.active) == (1, 0)
    assert wire.out == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2
    assert wire.log == ["on_capacity"] * 2


def test_a_response_in_pieces(client: Http1Client, wire: Wire) -> None:
    sink = ask(client)
    for piece in b"HTTP/1.1 103 Hints\r\n\r\n", OK[:-2], b"o":
        wire.on_data(piece)
    assert sink.told == [103, (200, b"", False), (b"o", False)]
    wire.on_data(b"k")
    assert sink.told[3:] == [(b"k", True)]


def test_a_request_and_a_response_in_chunks_with_trailers(client: Http1Client, wire: Wire) -> None:
    sink = ask(client, "POST", None)
    client.send_data(b"body", False)
    client.send_trailers(Headers.of([("X-T", "1")]).block)
    assert wire.out.endswith(b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n")
    wire.on_data(CHUNKED[:-20])
    wire.on_data(CHUNKED[-20:])
    assert sink.told[-1] == (("x-sum", "1"),)
    assert client.capacity == 1


def test_what_is_held_at_the_last_data_is_free_behind_its_trailers(client: Http1Client, wire: Wire) -> None:
    """A slow client holds its own response, not the next one on the same connection."""
    sink = ask(client)
    sink.on_response_data = lambda data, end: client.hold_response()  # type: ignore[method-assign]
    wire.on_data(CHUNKED[:-22])
    wire.on_data(CHUNKED[-22:])
    assert sink.told[-1] == (("x-sum", "1"),)
    assert client.capacity == 1
    assert [line.split()[0] for line in wire.log] == ["hold_reading", "release_reading", "on_capacity"]


def test_who_gives_up_at_the_last_data_hears_of_no_trailers(client: Http1Client, wire: Wire) -> None:
    sink = ask(client)
    sink.on_response_data = lambda data, end: client.reset()  # type: ignore[method-assign]
    wire.on_data(CHUNKED[:-22])
    wire.on_data(CHUNKED[-22:])
    assert sink.told == [(200, b"", False)]
    assert client.capacity == 0


def test_a_response_that_is_earlier_than_the_end_of_its_request(client: Http1Client, wire: Wire) -> None:
    sink = ask(client, "POST", 4)
    client.send_data(b"bo", False)
    wire.on_data(OK)
    assert sink.told == [(200, b"ok", True)]
    assert client.capacity == 0, "the rest of the request has to be sent, or the connection closed"
    client.send_data(b"dy", True)
    assert (client.capacity, wire.log) == (1, ["on_capacity"])


@pytest.mark.parametrize(
    ("answer", "closed"),
    [
        (OK, False),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), True),
        (OK.replace(b"1.1", b"1.0"), True),
        (OK + b"more", True),
    ],
)
def test_who_is_asked_again(client: Http1Client, wire: Wire, answer: bytes, closed: bool) -> None:
    sink = ask(client)
    wire.on_data(answer)
    assert sink.told == [(200, b"ok", True)]
    assert wire.log == (["close", "on_gone"] if closed else ["on_capacity"])
    assert client.capacity == (not closed)


@pytest.mark.parametrize(
    ("begun", "told"),
    [
        (b"", [("connection_closed", "UC")]),
        (b"HTTP/1.1 200 OK\r\n", [("response_cut_short", "UC")]),
        (OK[:-1], [(200, b"o", False), ("response_cut_short", "UC")]),
        (CHUNKED[:-1], [(200, b"ok", False), ("response_cut_short", "UC")]),
        (b"HTTP/1.1 200 OK\r\n\r\nok", [(200, b"ok", False), (b"", True)]),
    ],
)
def test_an_endpoint_that_ends_the_connection(client: Http1Client, wire: Wire, begun: bytes, told: list[Any]) -> None:
    sink = ask(client)
    if begun:
        wire.on_data(begun)
    wire.on_eof()
    assert sink.told == told
    assert wire.log[-2:] == ["close", "on_gone"]
    assert client.capacity == 0


def test_what_nobody_asked_for(client: Http1Client, wire: Wire) -> None:
    wire.on_data(OK)
    assert wire.log == ["close", "on_gone"]
    assert client.capacity == 0


def test_nonsense_and_resets_have_names(client: Http1Client, wire: Wire) -> None:
    sink = ask(client)
    wire.on_data(b"nonsense\r\n\r\n")
    assert sink.told == [("bad_status_line", "UPE")]
    other = Http1Client(wire, SimpleNamespace(name="up"), wire)  # type: ignore[arg-type]
    sink = ask(other)
    wire.on_lost(ConnectionResetError(ECONNRESET, "reset"))
    assert sink.told == [("connection_reset", "UC")]


def test_a_request_that_is_not_wanted_any_more_ends_the_connection(client: Http1Client, wire: Wire) -> None:
    sink = ask(client)
    client.reset()
    client.reset()
    assert (wire.log, sink.told) == (["close", "on_gone"], [])


def test_draining(client: Http1Client, wire: Wire) -> None:
    sink = ask(client)
    client.drain()
    assert wire.log == []
    wire.on_data(OK)
    assert sink.told == [(200, b"ok", True)]
    assert wire.log == ["close", "on_gone"]


def test_a_response_that_was_held_leaves_no_hold_behind(client: Http1Client, wire: Wire) -> None:
    """The next request would wait for ever."""
    sink = ask(client)
    wire.on_data(OK[:-2])
    client.hold_response()
    wire.on_data(b"ok")
    assert sink.told[-1] == (b"ok", True)
    assert wire.log == [f"hold_reading {RESPONSE}", f"release_reading {RESPONSE}", "on_capacity"]


def test_a_switch_of_protocols(client: Http1Client, wire: Wire) -> None:
    sink = ask(client, upgrade="websocket", end=False)
    assert wire.out.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    wire.on_data(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
    client.send_data(b"GET / HTTP/1.1\r\n\r\n", False)
    wire.on_data(OK)
    wire.on_eof()
    client.send_data(b"", True)
    assert wire.out.endswith(b"GET / HTTP/1.1\r\n\r\n")
    assert sink.told == [(101, b"hello", False), (OK, False), (b"", True)]
    assert wire.log == ["write_eof"]


def test_whoever_sends_hears_that_the_endpoint_is_full(client: Http1Client, wire: Wire) -> None:
    wire.on_writable(False)
    sink = ask(client, "POST", 10)
    wire.on_writable(False)
    wire.on_writable(True)
    assert sink.told == [False, True]
