"""Message filters for protocols that answer in the order of their requests (Kafka, Redis).

Two queues go around the filters. ``_waiting`` holds the requests behind one that a filter holds. ``_unanswered``
holds every request whose response has not been delivered, oldest first: a response, be it from an upstream or a
filter's reply, enters the filters when its request is the oldest. So upstreams may answer in any order, and filters
see, and clients get, the order of the protocol.

One loop (``_settle``) moves both queues, and is never entered twice: what a callback does (reply, release, respond, a
further request) is noted, and done by the loop that is running.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from l4proxy.message import DELIVERED, GIVEN, Request, Response
from l4proxy.message_chain import MessageChain

if TYPE_CHECKING:
    from l4proxy.filter import Conn
    from l4proxy.message_filters import MessageFilters
    from l4proxy.reason import CloseReason

__all__ = ["MAX_UNANSWERED", "OrderedMessageChain"]

MAX_UNANSWERED = 1000
"""Requests of one connection that may be without a response before the client is not read."""

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Response)


class OrderedMessageChain(MessageChain[Q, R]):
    """``on_blocked(True)`` says that the client should not be read for now, because a message is held or too many
    requests are unanswered, and ``on_blocked(False)`` that it should be again. What was read before may still be
    handed over."""

    __slots__ = ("_blocked", "_current", "_max_unanswered", "_on_blocked", "_settling", "_unanswered", "_waiting")

    def __init__(
        self,
        filters: MessageFilters,
        conn: Conn,
        *,
        forward: Callable[[Q], object],
        deliver: Callable[[R], object],
        on_blocked: Callable[[bool], object],
        max_unanswered: int = MAX_UNANSWERED,
    ) -> None:
        self._on_blocked = on_blocked
        self._max_unanswered = max_unanswered
        self._waiting: deque[Q] = deque()
        self._unanswered: deque[Q] = deque()
        self._current: Q | None = None
        self._settling = False
        self._blocked = False
        super().__init__(filters, conn, forward=forward, deliver=deliver)

    def request(self, request: Q) -> None:
        """A request has come from the client, behind all that came before."""
        if not self.ended:
            self._waiting.append(request)
            self._settle()

    def release(self, position: int, message: Q | R) -> None:
        settling = self._settling
        self._settling = True
        try:
            super().release(position, message)
        finally:
            self._settling = settling
        if message is self._current and message._place == self._end:
            self._current = None
        self._settle()

    def finish(self, response: R) -> None:
        """The rest of a response that was not complete has been written, or has been dropped because a filter put
        another response in its place: the next one may be delivered."""
        response.complete = True
        if not self.ended:
            self._settle()

    def pass_by(self, request: Q) -> None:
        """For ``forward``: the response to this request will not be given here. It goes by, in its place among all
        others, and nobody is to see it."""
        if self._unanswered and self._unanswered[-1] is request:
            self._unanswered.pop()

    def cancel(self, request: Q) -> None:
        raise NotImplementedError("in an ordered protocol a client cannot give up one request")

    def close(self, reason: CloseReason) -> None:
        super().close(reason)
        self._waiting.clear()
        self._unanswered.clear()
        self._current = None
        del self._on_blocked

    def _return(self, request: Request) -> None:
        if self._current is request:
            self._current = None
        self._settle()

    def _settle(self) -> None:
        """Move whatever can move, until nothing can."""
        if self._settling:
            return
        self._settling = True
        try:
            while not self.ended:
                if self._unanswered and self._settle_response():
                    continue
                if self._current is not None or not self._waiting:
                    break
                self._settle_request()
        finally:
            self._settling = False
        if not self.ended:
            self._tell_blocked()

    def _settle_response(self) -> bool:
        """Pass on the response to the oldest request, if it has come. Return whether that request is done with."""
        request = self._unanswered[0]
        response = request._response
        if response is not None and response._place == GIVEN:
            self._pass_response(request, response, request._place)
            response = request._response  # a filter may have put another one in its place
        if response is None or response._place != DELIVERED or not response.complete:
            return False
        self._unanswered.popleft()
        return True

    def _settle_request(self) -> None:
        """Pass on the next request."""
        request = self._current = self._waiting.popleft()
        if request.expects_response:
            self._unanswered.append(request)
        self._pass_request(request, 0)
        if self._current is request and request._place == self._end:
            self._current = None

    def _tell_blocked(self) -> None:
        oldest = self._unanswered[0]._response if self._unanswered else None
        response_held = oldest is not None and oldest._place != DELIVERED
        too_many = len(self._unanswered) >= self._max_unanswered
        blocked = self._current is not None or response_held or too_many
        if blocked is not self._blocked:
            self._blocked = blocked
            self._on_blocked(blocked)
