"""Drives the message filters of one client connection: requests one way, responses the other, each request answered
once.

The network filter that speaks the protocol owns both ends. It decodes the client's bytes into requests and gives them
to ``chain.request``, sends on what comes out at ``forward``, gives each upstream answer to ``chain.respond``, and
encodes for the client what comes out at ``deliver``.

This chain is for protocols whose requests are independent of each other (HTTP). Where responses have the order of the
requests, ``l4proxy.ordered_chain`` puts its queues around it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from l4proxy.message import CANCELLED, DELIVERED, GIVEN, NEW, MessageConn, MessageFilter, Request, Response
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.filter import Conn
    from l4proxy.message_filters import MessageFilters, MessageFilterUse

__all__ = ["MessageChain"]

log = logging.getLogger("l4proxy.message")

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Response)
Steps = tuple[tuple[int, Callable[[Any], Any]], ...]
"""Who sees a message: positions in the list, and bound callbacks, in the order in which they are called."""


class MessageChain(Generic[Q, R]):
    """``forward(request)`` and ``deliver(response)`` are where messages come out, each at most once."""

    __slots__ = ("_bypassed", "_conn", "_deliver", "_end", "_filters", "_forward", "_held", "_instances", "_steps_of",
                 "ended")  # fmt: skip

    def __init__(
        self,
        filters: MessageFilters,
        conn: Conn,
        *,
        forward: Callable[[Q], object],
        deliver: Callable[[R], object],
    ) -> None:
        """``conn`` is the network filter's own. Runs ``on_connect`` of the filters."""
        self.ended = False
        self._filters = filters
        self._conn = conn
        self._forward = forward
        self._deliver = deliver
        self._end = filters.length
        self._steps_of: dict[str | tuple[int, str], tuple[Steps, Steps, Steps]] = {}
        self._bypassed: set[MessageFilterUse] = set()
        self._held: dict[int, Q | R] = {}
        self._instances = {use: self._instantiate(use, at) for at, use in enumerate(filters.uses)}
        for use in filters.uses:
            if use.connects:
                self._guard(use, self._instances[use].on_connect)

    def _instantiate(self, use: MessageFilterUse, position: int) -> MessageFilter[Any, Q, R]:
        instance = use.cls()
        instance.conn = MessageConn(self._conn, self, position, use)
        instance.config = use.config
        instance.shared = use.shared
        return instance

    def _instance(self, use: MessageFilterUse, position: int) -> MessageFilter[Any, Q, R]:
        """The filter of this connection. That of a variant is made for the first request that meets it."""
        instance = self._instances.get(use)
        if instance is None:
            instance = self._instances[use] = self._instantiate(use, position)
            if use.connects:
                self._guard(use, instance.on_connect)
        return instance

    # For the network filter

    def is_forwarded(self, request: Q) -> bool:
        """Whether a request has come out at ``forward``, and has no response yet."""
        return request._place == self._end and request._response is None

    def watchers(self, request: Q) -> int:
        """How many filters are to see the response to a request."""
        return len(self._steps(request)[1])

    def request(self, request: Q) -> None:
        """A request has come from the client."""
        if not self.ended:
            self._pass_request(request, 0)

    def respond(self, request: Q, response: R) -> None:
        """The answer to a request that was forwarded. Without effect when the client has given it up. Raises
        RuntimeError when it has an answer already, or expects none."""
        if self.ended or request._place == CANCELLED:
            return
        if request._place != self._end or request._response is not None or not request.expects_response:
            raise RuntimeError(f"{request.kind} is not waiting for a response")
        self._answer(request, response)

    def cancel(self, request: Q) -> None:
        """The client gave up a request before its response was delivered; the filters that saw it are told."""
        response = request._response
        last = request if response is None else response
        place = last._place
        if self.ended or place in (CANCELLED, DELIVERED):
            return
        request._place = last._place = CANCELLED
        self._held.pop(id(last), None)
        for position, on_cancel in self._steps(request)[2]:
            if position <= place:
                self._guard(self._use(request, position), on_cancel, request)

    def close(self, reason: CloseReason) -> None:
        """The connection is over: tell the filters. For the network filter's own ``on_close``."""
        self.ended = True
        for use, instance in self._instances.items():
            if use.closes:
                self._guard(use, instance.on_close, reason)
        self._instances.clear()  # filters and chain refer to each other, as do the chain and its owner
        self._steps_of.clear()
        self._held.clear()
        del self._forward, self._deliver

    # For the filters

    def reply(self, position: int, request: Q, response: R) -> None:
        if self.ended or request._place == CANCELLED:
            return
        if self._has_moved(request, position):
            raise RuntimeError(f"reply: {request.kind} is not at this filter, or has been answered")
        self._answer(request, response)

    def release(self, position: int, message: Q | R) -> None:
        if self.ended or message._place == CANCELLED:
            return
        if self._has_moved(message, position):
            raise RuntimeError("release: the message is not at this filter, or has been answered")
        self._held.pop(id(message), None)
        if isinstance(message, Request):
            self._pass_request(message, position + 1)
        else:
            self._pass_response(message.request, message, position)

    def end(self, name: str, detail: str, *, flush: bool = True, message: str = "") -> None:
        """Close the connection in the name of a filter; nothing passes any more."""
        if not self.ended:
            self.ended = True
            self._conn.close(
                CloseReason("filter", "relay", detail, name, message=message), flush=flush, reset=not flush
            )

    def failed(self, use: MessageFilterUse, error: Exception) -> bool:
        """A filter raised. Return True when it has been taken out of the chain and the connection goes on."""
        use.stats.errors_total += 1
        goes_on = use.bypass and not self.ended
        outcome = "it is taken out of the chain" if goes_on else "the connection is closed"
        log.error("message filter %s failed on connection %d (%s)", use.name, self._conn.id, outcome, exc_info=error)
        if not goes_on:
            self.end(use.name, "filter_error", flush=False, message=repr(error))
            return False
        use.stats.bypassed_total += 1
        self._bypassed.add(use)
        self._steps_of.clear()
        for message in [message for message in self._held.values() if self._holder(message) is use]:
            self.release(message._place, message)
        return True

    def failed_at(self, request: Q, position: int, error: Exception) -> bool:
        """The same, of the filter that a request meets at ``position``."""
        return self.failed(self._use(request, position), error)

    def _use(self, request: Request, position: int) -> MessageFilterUse:
        use = self._filters.variants[request._variant][position]
        assert use is not None
        return use

    def _holder(self, message: Q | R) -> MessageFilterUse:
        return self._use(message if isinstance(message, Request) else message.request, message._place)

    # Passing messages through the filters

    def _pass_request(self, request: Q, start: int) -> None:
        """Show a request to the filters from position ``start`` on, and forward it if it comes through."""
        steps = self._steps(request)[0]
        if self.ended:  # by a filter that was made for this request
            return
        for position, on_request in steps:
            if position < start:
                continue
            request._place = position
            try:
                result = on_request(request)
                if result is not None and result is not request:
                    raise RuntimeError("on_request returns its own request, changed in place, or None")
                if result is not None and self._has_moved(request, position):
                    raise RuntimeError("on_request answered or released the request: then it returns None")
            except Exception as error:
                if not self.failed(self._use(request, position), error):
                    return
                result = request
            if self.ended or self._has_moved(request, position):
                return
            if result is None:
                self._held[id(request)] = request
                return
        request._place = self._end
        self._forward(request)

    def _pass_response(self, request: Request, response: Any, below: int) -> None:
        """Show a response to the filters in front of position ``below``, last to first; deliver it if it comes
        through."""
        for position, on_response in self._steps(request)[1]:
            if position >= below:
                continue
            response._place = position
            try:
                result = on_response(response)
                if result is not None and response._place != position:
                    raise RuntimeError("on_response released the response: then it returns None")
                if result is not None and result is not response:
                    self._give(request, result)
            except Exception as error:
                if not self.failed(self._use(request, position), error):
                    return
                result = response
            if self.ended or response._place != position:
                return
            if result is None:
                self._held[id(response)] = response
                return
            response = result
        response._place = DELIVERED
        self._deliver(response)

    def _has_moved(self, message: Request | Response, position: int) -> bool:
        """Whether a message is not, or no longer, at a filter: released, answered, or given up by the client."""
        return message._place != position or (isinstance(message, Request) and message._response is not None)

    def _answer(self, request: Q, response: R) -> None:
        self._give(request, response)
        if self._held:
            self._held.pop(id(request), None)
        self._return(request)

    def _give(self, request: Request, response: Response) -> None:
        if response._place != NEW:
            raise RuntimeError("a response answers one request: make a new one for each")
        response._place = GIVEN
        response.request = request
        request._response = response

    def _return(self, request: Request) -> None:
        """Send a request's response back through the filters that saw the request."""
        if request.expects_response:
            self._pass_response(request, request._response, request._place)

    def _guard(self, use: MessageFilterUse, callback: Callable[..., Any], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self.failed(use, error)

    def _steps(self, request: Request) -> tuple[Steps, Steps, Steps]:
        """Who is to see this request, its response and its cancellation."""
        kind, variant = request.kind, request._variant
        known = kind if kind in self._filters.kinds else ""
        key = (variant, known) if variant else known
        steps = self._steps_of.get(key)
        if steps is None:
            steps = self._steps_of[key] = self._make_steps(variant, known)
        return steps

    def _make_steps(self, variant: int, kind: str) -> tuple[Steps, Steps, Steps]:
        requests, responses, cancels = [], [], []
        for at, use in enumerate(self._filters.variants[variant]):
            if use is None or not use.sees(kind):
                continue
            instance = self._instance(use, at)
            if use in self._bypassed:
                continue
            if use.reads_requests:
                requests.append((at, instance.on_request))
            if use.reads_responses:
                responses.append((at, instance.on_response))
            if use.cancels:
                cancels.append((at, instance.on_cancel))
        return tuple(requests), tuple(reversed(responses)), tuple(reversed(cancels))
