"""One direction of a body, by hand: an exchange that only remembers, and filters that hold, change and pace."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.plugins.http.body import Body
from l4proxy.plugins.http.flow import BUFFER, Flow, RequestFlow, ResponseFlow
from l4proxy.plugins.http.headers import Headers
from l4proxy.protocols.http_fields import FieldBlock


class Exchange(SimpleNamespace):
    """What a flow asks of an exchange. ``sent`` is what the receiver got: pieces, "end", or trailers."""

    def __init__(self, *, ready: bool) -> None:
        message = SimpleNamespace(_body=None, trailers=None, headers=Headers(FieldBlock(())), _place=0)
        message.content_length = None
        message.exchange = self
        super().__init__(
            request=message, response=message, finished=False, request_full=False, response_full=False, log=[], kept=[],
            held=0, sent=0, ended=False, responded=ready, stream=self, upstream=self if ready else None,
        )  # fmt: skip
        self.message = message
        self.hold_client = self.hold_upstream = lambda: setattr(self, "held", True)
        self.release_client = self.release_upstream = lambda: setattr(self, "held", False)
        self.keep_for_retry = self.kept.append
        self.response_ended = lambda: setattr(self, "ended", True)
        self.is_over = lambda: self.finished

    def send_data(self, data: bytes, end: bool) -> None:
        self.log += [*([data] if data else []), *(["end"] if end else [])]

    def send_trailers(self, trailers: FieldBlock) -> None:
        self.log.append(trailers)

    def body(self) -> Body:
        message: Any = self.message
        message._body = body = Body(message)
        return body

    def now_ready(self) -> None:
        self.responded, self.upstream = True, self


BOTH = pytest.mark.parametrize("kind", [RequestFlow, ResponseFlow])


def made(kind: type[Flow], *, ready: bool = False) -> tuple[Any, Flow]:
    exchange: Any = Exchange(ready=ready)
    return exchange, kind(exchange)


@BOTH
def test_what_waits_goes_on_joined_as_soon_as_there_is_a_receiver(kind: type[Flow]) -> None:
    exchange, flow = made(kind)
    for piece in (b"a", b"b", b""):
        flow.add(piece, False)
    flow.add(b"c", True)
    assert (exchange.log, flow.empty) == ([], False)
    exchange.now_ready()
    flow.run()
    assert (exchange.log, flow.empty) == ([b"abc", "end"], True)
    flow.run()
    assert exchange.log == [b"abc", "end"]


def test_a_request_without_a_body_has_ended_with_its_head() -> None:
    exchange, flow = made(RequestFlow, ready=True)
    exchange.message.content_length = 0
    flow.add(b"", True)
    assert flow.empty
    assert exchange.log == []


@BOTH
def test_an_end_without_a_piece_goes_on_once(kind: type[Flow]) -> None:
    exchange, flow = made(kind, ready=True)
    flow.add(b"", True)
    flow.run()
    assert exchange.log == ["end"]


@BOTH
def test_a_sender_is_held_while_too_much_waits(kind: type[Flow]) -> None:
    exchange, flow = made(kind)
    flow.add(bytes(BUFFER), False)
    assert not exchange.held
    flow.add(b"x", False)
    assert exchange.held
    exchange.now_ready()
    flow.run()
    assert not exchange.held
    assert exchange.log == [bytes(BUFFER) + b"x"]


@BOTH
def test_trailers_take_the_place_of_the_end(kind: type[Flow]) -> None:
    exchange, flow = made(kind, ready=True)
    exchange.message.trailers = trailers = FieldBlock([("a", "b")])
    flow.add(b"a", False)
    flow.add(b"b", True)
    assert exchange.log == [b"a", b"b", trailers]
    assert exchange.ended == (kind is ResponseFlow)


@BOTH
def test_a_filter_gathers_what_waits(kind: type[Flow]) -> None:
    exchange, flow = made(kind)
    body: Body = exchange.body()
    got: list[bytes | None] = []
    body.gather(3, got.append)
    flow.add(b"ab", False)
    assert got == []
    assert not exchange.held
    flow.add(b"c", True)
    assert got == [b"abc"]
    exchange.now_ready()
    flow.run()
    assert exchange.log == [b"abc", "end"]


@BOTH
def test_more_than_a_filter_gathers_is_told_and_goes_on_all_the_same(kind: type[Flow]) -> None:
    exchange, flow = made(kind)
    body: Body = exchange.body()
    got: list[bytes | None] = []
    body.gather(3, got.append)
    flow.add(b"abcd", False)
    assert got == [None]
    assert exchange.held
    exchange.now_ready()
    flow.run()
    assert exchange.log == [b"abcd"]


@BOTH
def test_a_filter_changes_pieces(kind: type[Flow]) -> None:
    exchange, flow = made(kind, ready=True)
    exchange.body().change(bytes.upper, lambda: b"!")
    flow.add(b"a", False)
    flow.add(b"b", True)
    assert exchange.log == [b"A", b"B!", "end"]


@BOTH
def test_a_filter_pauses(kind: type[Flow]) -> None:
    exchange, flow = made(kind, ready=True)
    body = exchange.body()
    body.flow_by(flow.run)
    body.pause()
    flow.add(bytes(BUFFER + 1), False)
    assert (exchange.log, exchange.held) == ([], True)
    body.resume()
    assert (exchange.log, exchange.held) == ([bytes(BUFFER + 1)], False)


class Allowance:
    """So many bytes, and no more until it is raised."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> int:
        taken = min(size, self.left)
        self.left -= taken
        return taken

    def put_back(self, size: int) -> None:
        self.left += size


@BOTH
def test_a_paced_body_passes_bit_by_bit_and_its_end_last(kind: type[Flow]) -> None:
    exchange, flow = made(kind, ready=True)
    pace = Allowance(2)
    exchange.body().pace(pace)
    flow.add(b"abcde", True)
    assert exchange.log == [b"ab"]
    pace.left = 2
    flow.run()
    pace.left = 2
    flow.run()
    assert exchange.log == [b"ab", b"cd", b"e", "end"]


@BOTH
def test_chunks_stop_when_the_receiver_is_full(kind: type[Flow]) -> None:
    exchange, flow = made(kind, ready=True)
    exchange.body().in_chunks(2)
    exchange.request_full = exchange.response_full = True
    flow.add(b"abcdef", True)
    assert exchange.log == [b"ab"]
    exchange.request_full = exchange.response_full = False
    flow.run()
    assert exchange.log == [b"ab", b"cd", b"ef", "end"]


@BOTH
def test_nothing_goes_on_when_the_exchange_is_over(kind: type[Flow]) -> None:
    exchange, flow = made(kind, ready=True)
    exchange.finished = True
    flow.add(b"a", True)
    assert exchange.log == []


def test_what_went_to_an_endpoint_is_kept_and_goes_once_more() -> None:
    exchange, flow = made(RequestFlow, ready=True)
    flow.add(b"a", False)
    flow.add(b"b", True)
    assert exchange.kept == [b"a", b"b"]
    exchange.log.clear()
    flow.put_back([b"a", b"b"])
    flow.run()
    assert exchange.log == [b"ab", "end"]
