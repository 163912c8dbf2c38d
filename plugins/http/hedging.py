"""Hedging: a second try beside a slow one. Whichever answers first is taken, the others are given up.

An exchange without hedging has one try at a time and is itself what its endpoint's stream calls. With hedging each try
has an object of its own in between, which knows whether its answer is still wanted. As soon as one is taken, everything
is as it always was: the exchange has one stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.plugins.http.stats import CLASSES

if TYPE_CHECKING:
    import asyncio

    from l4proxy.plugins.http.connection import ClientConnection, ClientStream, StreamError
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.message import HttpResponse
    from l4proxy.protocols.http_fields import FieldBlock

__all__ = ["Hedging"]


class Hedging:
    """The tries of one exchange, each of which has so many seconds before the next one begins.

    That time is measured exactly, by a timer of the loop: limits of requests elsewhere are a tenth of a second late,
    which is as much as hedging is to win.
    """

    __slots__ = ("_seconds", "_timer", "exchange", "tries")

    def __init__(self, exchange: Exchange, seconds: float) -> None:
        self.exchange = exchange
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.tries: list[Try] = []
        """Those that have no answer yet, the last one last. Empty when one was taken."""

    @property
    def hopeful(self) -> bool:
        """More than one may still answer."""
        return len(self.tries) + self.exchange.waits_for_connection > 1

    def begin(self, connection: ClientConnection) -> Try:
        """The exchange is about to send the request on this connection."""
        made = Try(self, connection)
        self.tries.append(made)
        return made

    def watch(self) -> None:
        """A try begins, with the search for a connection."""
        self._stop()
        self._timer = self.exchange.layer.server.loop.call_later(self._seconds, self._slow)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _slow(self) -> None:
        self._timer = None
        exchange = self.exchange
        if exchange.request_done_at:
            exchange.layer.try_too_slow(exchange)
        if self._timer is None and not (exchange.finished or exchange.responded) and self._any:
            self.watch()

    @property
    def _any(self) -> bool:
        """There is a try under way."""
        return bool(self.tries) or self.exchange.waits_for_connection

    def drop(self) -> None:
        """Nobody wants an answer any more. The exchange's present stream is the exchange's to reset."""
        for one in self.tries:
            if one.upstream is not None and one.upstream is not self.exchange.upstream:
                one.upstream.reset()
        self.tries.clear()
        self._stop()

    def take(self, taken: Try) -> None:
        """This one has the answer."""
        exchange = self.exchange
        self.tries.remove(taken)
        self._stop()
        if self.tries or exchange.upstream is not taken.upstream:
            if exchange.upstream is taken.upstream:
                exchange.upstream = None
            exchange.stop_trying()
            exchange.upstream, exchange.connection = taken.upstream, taken.connection
            exchange.endpoint = taken.connection.endpoint

    def leave(self, failed: Try) -> bool:
        """This one has failed. Return whether another one may still answer."""
        exchange = self.exchange
        if len(self.tries) == 1 and not exchange.waits_for_connection:
            return False
        self.tries.remove(failed)
        if exchange.upstream is failed.upstream:
            exchange.upstream = None
        return True


class Try:
    """One of them: what its stream calls (a `ResponseSink`)."""

    __slots__ = ("connection", "hedging", "upstream")

    def __init__(self, hedging: Hedging, connection: ClientConnection) -> None:
        self.hedging = hedging
        self.connection = connection
        self.upstream: ClientStream | None = None

    @property
    def _exchange(self) -> Exchange:
        return self.hedging.exchange

    @property
    def _open(self) -> bool:
        """It has no answer yet, and may be one of several."""
        return self in self.hedging.tries

    def on_informational(self, response: HttpResponse) -> None:
        self._exchange.on_informational(response)

    def on_response(self, response: HttpResponse, data: bytes, end: bool) -> None:
        hedging, exchange = self.hedging, self._exchange
        pool, action = exchange.pool, exchange.action
        assert pool is not None
        assert action is not None
        why = action.retry.reason(response) if action.retry is not None and self._open else ""
        if why and hedging.leave(self):
            pool.responses[CLASSES[response.status // 100]] += 1
            exchange.layer.note_attempt(exchange, why)
            if self.upstream is not None and not end:
                self.upstream.reset()
            return
        if self._open:
            hedging.take(self)
        exchange.on_response(response, data, end)

    def on_response_data(self, data: bytes, end: bool) -> None:
        self._exchange.on_response_data(data, end)

    def on_response_trailers(self, trailers: FieldBlock) -> None:
        self._exchange.on_response_trailers(trailers)

    def on_response_reset(self, error: StreamError) -> None:
        exchange = self._exchange
        if self._open and self.hedging.leave(self):
            assert exchange.pool is not None
            exchange.pool.stats.failures_total.add(error.detail)
            exchange.layer.note_attempt(exchange, error.detail)
        else:
            if self._open:
                self.hedging.take(self)
            exchange.on_response_reset(error)

    def on_request_writable(self, writable: bool) -> None:
        if self.upstream is self._exchange.upstream:
            self._exchange.on_request_writable(writable)
