"""HTTP/1 towards clients by the contract in ``connection``: a host and an exchange that only remember."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.http.config import HttpLimits
from l4proxy.plugins.http.connection import StreamError
from l4proxy.plugins.http.http1_server import Http1Server
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.protocols.http_fields import FieldBlock

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Sink:
    """Remembers what a request is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_request_data(self, data: bytes, end: bool) -> None:
        self.told.append((data, end))

    def on_request_trailers(self, trailers: FieldBlock) -> None:
        self.told.append(trailers)

    def on_request_reset(self, error: StreamError) -> None:
        self.told.append(error.detail)

    def on_response_writable(self, writable: bool) -> None:
        self.told.append(writable)


class Host:
    """Answers nothing by itself, unless ``answer`` is set."""

    scheme = "http"

    def __init__(self) -> None:
        self.config: Any = SimpleNamespace(limits=HttpLimits(), underscores="drop")
        self.timers: Any = SimpleNamespace(call_later=self._call_later)
        self.layer: Any = SimpleNamespace(stats=SimpleNamespace(timeouts_total=SimpleNamespace(add=self._over)))
        self.timer: Any = None
        self.out = b""
        self.requests: list[tuple[HttpRequest, bytes, bool]] = []
        self.sinks: list[Sink] = []
        self.answer: HttpResponse | None = None
        self.log: list[str] = []

    def _call_later(self, _seconds: float, callback: Any) -> Any:
        self.timer = callback
        return SimpleNamespace(cancel=lambda: setattr(self, "timer", None))

    def _over(self, limit: str) -> None:
        self.log.append(f"over {limit}")

    def write(self, data: bytes) -> None:
        self.out += data

    def take_request(self, stream: Any, request: HttpRequest, data: bytes, end: bool) -> Sink:
        self.requests.append((request, data, end))
        self.sinks.append(Sink())
        if self.answer is not None:
            stream.respond(self.answer, b"ok", True)
        return self.sinks[-1]

    def stream_done(self) -> None:
        self.log.append("done")

    def protocol_error(self, error: RemoteProtocolError) -> None:
        self.log.append(error.code)
        self.out += error.reply

    def finish(self, reason: Any) -> None:
        self.log.append(f"finish {getattr(reason, 'detail', reason)}")

    def abort(self, reason: Any) -> None:
        self.log.append(f"abort {reason}")

    def hold_client(self) -> None:
        self.log.append("hold")

    def release_client(self) -> None:
        self.log.append("release")

    @property
    def targets(self) -> list[str]:
        return [request.target for request, _, _ in self.requests]


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def server(host: Host) -> Http1Server:
    return Http1Server(host)  # type: ignore[arg-type]


def response(status: int = 200) -> HttpResponse:
    return HttpResponse(status, b"ok")


def test_a_request_and_its_response(host: Host, server: Http1Server) -> None:
    assert (server.idle, host.log) == (True, [])
    server.receive(GET % 1)
    ((request, data, end),) = host.requests
    assert (request.kind, request.target, request.authority, data, end) == ("GET", "/1", "a", b"", True)
    assert (server.idle, host.log) == (False, [])
    server.respond(response(), b"ok", True)
    assert host.out.startswith(b"HTTP/1.1 200 OK\r\n")
    assert host.out.endswith(b"\r\n\r\nok")
    assert server.idle
    assert host.log == ["done"]


def test_a_pipelined_request_waits_and_its_client_is_held(host: Host, server: Http1Server) -> None:
    server.receive(GET % 1 + GET % 2 + GET % 3)
    assert host.targets == ["/1"]
    assert host.log == ["hold"]
    server.respond(response(), b"ok", True)
    assert host.targets == ["/1", "/2"]
    server.respond(response(), b"ok", True)
    assert host.targets == ["/1", "/2", "/3"]
    assert host.log == ["hold", "done", "done", "release"]
    server.respond(response(), b"ok", True)
    assert host.out.count(b"HTTP/1.1 200 OK") == 3


def test_requests_that_are_answered_at_once_do_not_nest(host: Host, server: Http1Server) -> None:
    host.answer = response()
    server.receive(b"".join(GET % at for at in range(5000)))
    assert host.targets == [f"/{at}" for at in range(5000)]


def test_a_body_in_pieces_with_trailers(host: Host, server: Http1Server) -> None:
    server.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    ((request, data, end),) = host.requests
    assert (request.content_length, data, end) == (None, b"ab", False)
    server.receive(b"1\r\nc\r\n")
    server.receive(b"0\r\nX: y\r\n\r\n")
    piece, trailers = host.sinks[0].told
    assert piece == (b"c", False)
    assert trailers.fields == (("x", "y"),)


@pytest.mark.parametrize(
    ("lines", "closes"),
    [(b"", False), (b"Connection: close\r\n", True), (b"Connection: keep-alive\r\n", False)],
)
def test_who_asks_for_the_end_of_the_connection_gets_it(
    host: Host, server: Http1Server, lines: bytes, closes: bool
) -> None:
    server.receive(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    server.respond(response(), b"ok", True)
    assert (b"Connection: close\r\n" in host.out) == closes
    assert ("finish connection_close" in host.log) == closes


def test_http_1_0_says_that_it_stays_or_ends_with_the_connection(host: Host, server: Http1Server) -> None:
    server.receive(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    server.respond(response(), b"ok", True)
    assert b"Connection: keep-alive\r\n" in host.out
    server.receive(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    unknown = response()
    unknown.content_length = None
    unknown.headers.discard("content-length")
    unknown.seal()
    server.respond(unknown, b"ok", False)
    server.send_data(b"more", True)
    assert host.out.endswith(b"Connection: close\r\n\r\nokmore")
    assert host.log[-1] == "finish connection_close"


def test_an_early_response_gives_the_request_up(host: Host, server: Http1Server) -> None:
    server.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    server.respond(response(413), b"ok", True)
    assert b"Connection: close\r\n" in host.out
    server.abandon()
    assert host.log[-1] == "finish request_not_wanted"


def test_a_response_that_is_broken_off(host: Host, server: Http1Server) -> None:
    server.receive(GET % 1)
    server.respond(response(), b"o", False)
    server.reset(StreamError("connection_lost"))
    assert host.log == ["abort connection_lost"]


def test_1xx_only_for_those_who_know_them(host: Host, server: Http1Server) -> None:
    server.receive(GET % 1)
    server.inform(HttpResponse(103, headers={"Link": "</a>"}))
    assert host.out == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server.respond(response(), b"ok", True)
    host.out = b""
    server.receive(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    server.inform(HttpResponse(103))
    assert host.out == b""


def test_an_error_behind_a_response_that_has_begun_is_not_answered(host: Host, server: Http1Server) -> None:
    server.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.respond(response(), b"o", False)
    host.out = b""
    server.receive(b"rubbish\r\n")
    assert host.sinks[0].told == ["protocol_error"]
    assert (host.log, host.out) == (["bad_chunk_size"], b"")


def test_what_begins_has_to_be_whole_in_time(host: Host, server: Http1Server) -> None:
    server.receive(b"GET / HT")
    host.timer()
    assert host.log == ["head_timeout"]
    assert host.out.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_came_in_time_is_not_late(host: Host, server: Http1Server) -> None:
    server.receive(b"GET / HT")
    late = host.timer
    server.receive(b"TP/1.1\r\nHost: a\r\n\r\n")
    late()
    assert host.log == []


def test_a_client_that_ends_its_side(host: Host, server: Http1Server) -> None:
    server.receive(GET % 1)
    server.receive_eof()
    assert host.log == [], "it waits for the response"
    server.respond(response(), b"ok", True)
    assert host.log == ["done", "finish connection_close"]


def test_a_client_that_ends_its_side_is_not_waited_for_for_ever(host: Host, server: Http1Server) -> None:
    server.receive(GET % 1)
    server.receive_eof()
    host.timer()
    assert host.log == ["over half_close_timeout", "finish eof"]


def test_a_response_that_has_begun_is_finished_for_a_client_that_has_ended_its_side(
    host: Host, server: Http1Server
) -> None:
    server.receive(GET % 1)
    server.receive_eof()
    server.respond(HttpResponse(200, headers={"Content-Length": "4"}), b"ok", False)
    host.timer()
    assert host.log == []


@pytest.mark.parametrize("begun", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"])
def test_a_client_that_ends_within_a_request(host: Host, server: Http1Server, begun: bytes) -> None:
    server.receive(begun)
    server.receive_eof()
    assert host.log == ["incomplete_message"]
    assert [sink.told for sink in host.sinks] == [["protocol_error"]] * len(host.requests)


def test_draining(host: Host, server: Http1Server) -> None:
    server.receive(GET % 1)
    server.drain()
    assert host.log == []
    server.respond(response(), b"ok", True)
    assert b"Connection: close\r\n" in host.out
    assert host.log == ["done", "finish connection_close"]


def test_a_tunnel(host: Host, server: Http1Server) -> None:
    server.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n")
    ((request, _, end),) = host.requests
    assert (request.upgrade, request.content_length, end) == ("websocket", None, False)
    server.receive(b"early")
    assert host.sinks[0].told == [], "nothing before it is agreed on"
    agreed = HttpResponse(101)
    agreed.tunnel = True
    server.respond(agreed, b"hello", False)
    assert host.out == b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
    server.receive(b"more")
    server.receive_eof()
    assert host.sinks[0].told == [(b"early", False), (b"more", False), (b"", True)]
    server.send_data(b"bye", True)
    assert host.out.endswith(b"hellobye")
    assert host.log[-1] == "finish tunnel_closed"


def test_what_was_sent_for_a_tunnel_that_is_refused_closes_the_connection(host: Host, server: Http1Server) -> None:
    server.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + GET % 2)
    server.respond(response(), b"ok", True)
    assert host.targets == ["/"]
    assert host.log[-1] == "finish connection_close"


def test_exchanges_are_told_that_the_client_is_gone(host: Host, server: Http1Server) -> None:
    server.receive(GET % 1)
    server.on_writable(False)
    server.closed("reset")  # type: ignore[arg-type]
    assert host.sinks[0].told == [False, "client_reset"]
