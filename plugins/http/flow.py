"""A body that cannot go straight on: what waits of it, and who is held back meanwhile.

Most bodies never come here. An exchange makes a flow for one direction when something has to wait there: for a filter
that holds the message, for a connection, or because a filter sees, changes or slows the pieces. All of the body then
goes through it, in order::

    sender ─► Exchange ─► Flow: waits ─► Body: filters ─► receiver

- Before there is a receiver (``ready``), pieces wait, and a filter may gather them.
- Then they go on as far as the filters let them, joined.
- The sender is held while more than ``BUFFER`` waits, or as much as a filter gathers. That the receiver is full is a
  reason of its own, which the exchange keeps: pieces that have come are sent on all the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.plugins.http.body import Body
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.message import HttpRequest, HttpResponse

__all__ = ["BUFFER", "Flow", "RequestFlow", "ResponseFlow"]

BUFFER = 64 * 1024
"""Bytes of a body that may wait before its sender is held."""


class Flow(ABC):
    """One direction of an exchange."""

    __slots__ = ("_ended", "_passed", "_pieces", "_size", "exchange")

    def __init__(self, exchange: Exchange, data: bytes = b"", end: bool = False) -> None:
        """With what has come so far."""
        self.exchange = exchange
        self._pieces = [data] if data else []
        self._size = len(data)
        self._ended = end
        """The last piece has come,"""
        self._passed = False
        """and gone on."""

    # What differs between the two

    @property
    @abstractmethod
    def _message(self) -> HttpRequest | HttpResponse: ...

    @property
    @abstractmethod
    def _ready(self) -> bool:
        """There is a receiver."""

    @property
    @abstractmethod
    def _full(self) -> bool:
        """It takes no more for now."""

    @abstractmethod
    def _hold(self) -> None:
        """Hold the sender."""

    @abstractmethod
    def _release(self) -> None: ...

    @abstractmethod
    def _send(self, data: bytes, end: bool) -> None:
        """Send a piece, or the end, on; the end with the message's trailers, if it has any."""

    # For the exchange

    @property
    def empty(self) -> bool:
        """Nothing waits."""
        return not self._pieces and self._passed == self._ended

    @property
    def waiting(self) -> bytes:
        """All that waits, joined."""
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def add(self, data: bytes, end: bool) -> None:
        """A piece has come."""
        if data:
            self._pieces.append(data)
            self._size += len(data)
        self._ended = self._ended or end
        self.run()

    def take(self) -> tuple[bytes, bool]:
        """All that waits, and whether that is the end, for who sends it on himself."""
        data = self.waiting
        self._pieces, self._size = [], 0
        self._passed = self._ended
        return data, self._ended

    def put_back(self, pieces: list[bytes]) -> None:
        """What has gone on is to go on once more, and so is the end if it has."""
        self._pieces = [*pieces, *self._pieces]
        self._size = sum(map(len, self._pieces))
        self._passed = False

    def run(self) -> None:
        """Send on what waits, as far as nobody holds it."""
        if self.exchange.finished:
            return
        body = self._message._body
        if not self._ready:
            self._gather(body)
            return
        if body is None:
            self._pass(None)
        else:
            while not body.paused and self._pass(body):
                pass
        self._hold_above(BUFFER)

    def _gather(self, body: Body | None) -> None:
        """The message is held, or its receiver is not there yet."""
        if body is None:
            self._hold_above(BUFFER)
            return
        body.flow_by(self.run)
        self._hold_above(body.gathering(BUFFER))
        body.gathered(self._pieces, self._size, self._ended)

    def _hold_above(self, limit: int) -> None:
        if self._size > limit and not self._ended:
            self._hold()
        else:
            self._release()

    def _pass(self, body: Body | None) -> bool:
        """Send on as much as may pass now. Return whether there is more that may."""
        if self.empty and (body is None or not body.again):
            return False
        data, end = self.take()
        more = False
        if body is not None:
            if body.paced and (size := body.may_pass(len(data))) < len(data):
                self._pieces, self._size = [data[size:]], len(data) - size
                data, end, more = data[:size], False, size > 0
                self._passed = False
            data = body.pass_on(data, end)
            if self.exchange.is_over() or body.broken:
                return False
            if body.again:
                data, body.again = body.again + data, b""
        if data or end:
            self._send(data, end)
        return more and not self._full and not self.exchange.finished


class RequestFlow(Flow):
    """From the client to an endpoint."""

    __slots__ = ()

    @property
    def _message(self) -> HttpRequest:
        return self.exchange.request

    @property
    def _ready(self) -> bool:
        return self.exchange.upstream is not None

    @property
    def _full(self) -> bool:
        return self.exchange.request_full

    def _hold(self) -> None:
        self.exchange.hold_client()

    def _release(self) -> None:
        self.exchange.release_client()

    def _send(self, data: bytes, end: bool) -> None:
        exchange = self.exchange
        upstream, trailers = exchange.upstream, exchange.request.trailers
        assert upstream is not None
        if data:
            exchange.keep_for_retry(data)
        elif exchange.request.content_length == 0:
            return  # the end went with the head
        if not (end and trailers):
            upstream.send_data(data, end)
            return
        if data:
            upstream.send_data(data, False)
        upstream.send_trailers(trailers)


class ResponseFlow(Flow):
    """From an endpoint, or a filter, to the client."""

    __slots__ = ()

    @property
    def _message(self) -> HttpResponse:
        response = self.exchange.response
        assert response is not None
        return response

    @property
    def _ready(self) -> bool:
        return self.exchange.responded

    @property
    def _full(self) -> bool:
        return self.exchange.response_full

    def _hold(self) -> None:
        self.exchange.hold_upstream()

    def _release(self) -> None:
        self.exchange.release_upstream()

    def _send(self, data: bytes, end: bool) -> None:
        exchange = self.exchange
        stream, trailers = exchange.stream, self._message.trailers
        exchange.sent += len(data)
        if not (end and trailers):
            stream.send_data(data, end)
        else:
            if data:
                stream.send_data(data, False)
            stream.send_trailers(trailers)
        if end:
            exchange.response_ended()
