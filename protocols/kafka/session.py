"""One connection as a client and a broker speak on it: which response belongs to which request.

Requests carry a correlation id and responses repeat it. A broker answers in the order of the requests, so what waits is
a queue, and its head is nearly always the answer's; an answer out of order is found all the same, and one to nothing is
counted. A Produce request with ``acks=0`` has no response. After a SaslHandshake of version 0, frames are bare SASL
tokens, without headers, until the client is authenticated.

Nothing here decides about bytes: they have passed. What cannot be read is told (``unreadable``), and the next frame is
read again, since sizes still say where it begins. Only when those are broken is the session lost: then
RemoteProtocolError is raised.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.detect import DETECTORS
from l4proxy.protocols.kafka.frames import COLLECT, GAP, MAX_FRAME, SIZE, Frames, Piecemeal
from l4proxy.protocols.kafka.plan import Plan, Plans
from l4proxy.protocols.kafka.resync import LOOK_BACK, find_request, find_response
from l4proxy.protocols.kafka.sasl import rounds
from l4proxy.protocols.kafka.walker import Walk
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable, code_of, more, skip_tags, stream_tags

if TYPE_CHECKING:
    from l4proxy.protocols.kafka.lone import Lone

__all__ = ["MAX_IN_FLIGHT", "Call", "Session", "too_many_in_flight"]

MAX_IN_FLIGHT = 100_000
"""Requests of one connection that may wait for their responses; with more, something is not understood. Brokers take
one request at a time, so these lie in the sockets' buffers."""

PRODUCE = 0
SASL_HANDSHAKE = 17

_request_header = struct.Struct(">Iih").unpack_from
_correlation_id = struct.Struct(">i").unpack_from
_REQUEST_HEADER = 10
_RESPONSE_HEADER = 4

P = TypeVar("P", bound=Plan)


class Call(Generic[P]):
    """A request, and what became of it. ``request`` and ``response`` are what the plan's walkers have read, None where
    they read nothing. Sizes are those on the wire, of whole frames."""

    __slots__ = (
        "at",
        "correlation_id",
        "lone",
        "plan",
        "request",
        "request_size",
        "response",
        "response_size",
        "seconds",
    )

    def __init__(self, plan: P, correlation_id: int, at: float, request_size: int) -> None:
        self.plan = plan
        self.correlation_id = correlation_id
        self.at = at
        """When the last byte of the request had come."""
        self.request_size = request_size
        self.request: tuple[Any, ...] | None = None
        self.response: tuple[Any, ...] | None = None
        self.response_size = 0
        self.seconds = 0.0
        """From then to the first byte of the response."""
        self.lone: Lone | None = None
        """What is known of requests like this one, where there is (`lone`)."""


class Session(Generic[P]):
    """Fed with what both ends sent. A subclass overrides what it wants to hear of; all of it is called from within
    ``client_data`` and ``server_data``."""

    __slots__ = ("_calls", "_large_request", "_large_response", "_plans", "_raw", "_requests", "_responses",
                 "_sought_request", "_sought_response", "_tokens", "client_id", "mechanism", "now",
                 "requests")  # fmt: skip

    def __init__(self, plans: Plans[P], *, max_frame: int = MAX_FRAME, collect: int = COLLECT) -> None:
        self._plans = plans
        self._requests = Frames(
            self._request, self._begin_request, self._finish_request, limit=max_frame, collect=collect
        )
        self._responses = Frames(
            self._response, self._begin_response, self._finish_response, limit=max_frame, collect=collect
        )
        self._calls: deque[Call[P]] = deque()
        self._sought_request: bytes | None = None
        """While a request is looked for, what may be the beginning of one."""
        self._sought_response: bytes | None = None
        self._large_request: Call[P] | None = None
        self._large_response: Call[P] | None = None
        self.now = 0.0
        """When the chunk came that is being read."""
        self.mechanism = ""
        """Of SASL; empty before it is settled."""
        self._raw = 0
        """Frames of the client that will be bare SASL tokens."""
        self._tokens = 0
        """Bare tokens that the broker has not answered."""
        self.client_id: bytes | None = None
        """Of the last request; None before the first, empty where it has none."""
        self.requests = 0

    # What a subclass hears

    def called(self, call: Call[P]) -> None:
        """A request was read; its response is still to come, unless ``silent`` follows."""

    def silent(self, call: Call[P]) -> None:
        """That request, a Produce request with ``acks=0``, has no response."""

    def answered(self, call: Call[P]) -> None:
        """A response was read."""

    def identified(self) -> None:
        """``client_id`` is another than that of the request before."""

    def unreadable(self, call: Call[P] | None, is_response: bool, error: Exception) -> None:
        """A frame whose end is known could not be read. ``called`` or ``answered`` follow without what is in it."""

    def missed(self, call: Call[P]) -> None:
        """The response was among bytes that were not seen."""

    def unknown_response(self, correlation_id: int, size: int) -> None:
        """A response to no request that was seen."""

    def token(self, data: bytes, is_response: bool) -> None:
        """A bare SASL token of ``mechanism`` (SaslHandshake version 0)."""

    def element(self, call: Call[P], element: tuple[Any, ...]) -> None:
        """An element of an array that is read one at a time, where its message does not lie in one piece."""

    # Bytes

    def client_data(self, data: bytes, at: float) -> int:
        """The client sent ``data``, which came at ``at``, in seconds. Return how many of the bytes that it sends next
        need not be shown. Raises RemoteProtocolError, and is lost then."""
        self.now = at
        if self._sought_request is not None:
            data = self._seek_request(data)
        return self._requests.feed(data)

    def skipped_request(self, size: int) -> None:
        """The next ``size`` bytes of the client, no more than ``client_data`` has said, pass without being shown."""
        self._requests.skipped(size)

    def skipped_response(self, size: int) -> None:
        self._responses.skipped(size)

    def server_data(self, data: bytes, at: float) -> int:
        """The broker sent ``data``."""
        self.now = at
        if self._sought_response is not None:
            data = self._seek_response(data)
        return self._responses.feed(data)

    def close(self) -> None:
        """Let go of everything: the session and what it feeds refer to each other."""
        self._requests.close()
        self._responses.close()
        self._calls.clear()

    @property
    def waiting(self) -> Iterable[Call[P]]:
        """Requests that wait for their responses, oldest first."""
        return self._calls

    @property
    def in_flight(self) -> int:
        """Requests that wait for their responses."""
        return len(self._calls)

    # In the middle of things

    def seek_requests(self) -> None:
        """What the client sends next may be the middle of anything: look for a request."""
        self._requests.reset()
        self._sought_request = b""

    def seek_responses(self) -> None:
        """What the broker sends next may be the middle of anything: look for a response."""
        self._responses.reset()
        self._sought_response = b""

    def lost_requests(self, size: int | None) -> None:
        """``size`` bytes of the client were not seen; None: it is not known how many."""
        if size is None or not self._requests.skip(size):
            self.seek_requests()

    def lost_responses(self, size: int | None) -> None:
        if size is None or not self._responses.skip(size):
            self.seek_responses()

    def _seek_request(self, data: bytes) -> bytes:
        assert self._sought_request is not None
        data = self._sought_request + data
        pos = find_request(data, self._requests.limit, self._is_request)
        if pos is None:
            self._sought_request = data[-LOOK_BACK:]
            return b""
        self._sought_request = None
        return data[pos:]

    def _is_request(self, data: bytes, pos: int, stop: int) -> bool:
        key_and_version, _, id_size = _request_header(data, pos)
        plan = self._plans[key_and_version]
        pos += _REQUEST_HEADER + max(id_size, 0)
        return _reads(plan.walk_request, plan.tagged_request, data, pos, stop)

    def _seek_response(self, data: bytes) -> bytes:
        assert self._sought_response is not None
        data = self._sought_response + data
        waiting = {call.correlation_id: call.plan for call in self._calls}

        def is_response(data: bytes, pos: int, stop: int) -> bool:
            plan = waiting[_correlation_id(data, pos)[0]]
            return _reads(plan.walk_response, plan.tagged_response, data, pos + _RESPONSE_HEADER, stop)

        pos = find_response(data, self._responses.limit, waiting, is_response)
        if pos is None:
            self._sought_response = data[-2 * SIZE :]
            return b""
        self._sought_response = None
        (found,) = _correlation_id(data, pos + SIZE)
        while self._calls[0].correlation_id != found:  # answers come in order: these were missed
            self.missed(self._calls.popleft())
        return data[pos:]

    # Requests

    def _request(self, data: bytes, pos: int, stop: int) -> None:
        if self._raw:
            self._raw_token(data[pos:stop])
            return
        if stop - pos < _REQUEST_HEADER:
            raise RemoteProtocolError(f"a request of {stop - pos} bytes", code="short_frame")
        key_and_version, correlation_id, id_size = _request_header(data, pos)
        plan = self._plans.get(key_and_version) or self._plans[key_and_version]  # quicker than the latter alone
        start = pos
        pos += _REQUEST_HEADER
        client_id = b""
        if plan.without_client_id:
            pos = start + 8
        elif id_size > 0:
            client_id = data[pos : pos + id_size]
            pos += id_size
        call = Call(plan, correlation_id, self.now, stop - start + SIZE)
        try:
            if pos > stop:
                raise Unreadable("the header is longer than the frame", code="truncated")
            if plan.walk_request is not None:
                if plan.tagged_request:
                    pos = skip_tags(data, pos) if data[pos] else pos + 1
                call.request = plan.walk_request(data, pos, stop)
        except UNREADABLE as error:
            self._recognise(plan, data[max(start - SIZE, 0) : stop])
            self.unreadable(call, False, error)
        if not self.requests and plan.api is None:
            self._recognise(plan, data[max(start - SIZE, 0) : stop])
        if client_id != self.client_id:
            self.client_id = client_id
            self.identified()
        self._ask(call)

    def _ask(self, call: Call[P]) -> None:
        """A request is there. Does it have a response?"""
        self.requests += 1
        request = call.request
        self.called(call)
        if call.plan.key == PRODUCE and request is not None and not request[0]:
            self.silent(call)
            return
        self._calls.append(call)
        if len(self._calls) > MAX_IN_FLIGHT:
            raise too_many_in_flight()

    def _recognise(self, plan: P, head: bytes) -> None:
        """The first request makes no sense. Is it one?"""
        if self.requests:
            return
        for name, detector in DETECTORS.items():
            if name != "kafka" and detector(head):
                raise RemoteProtocolError(f"this is {name}, not Kafka", code=name)
        if plan.api is None:
            raise RemoteProtocolError(f"the first request is for the API {plan.key}", code="not_kafka")

    def _begin_request(self, size: int) -> Piecemeal:
        """Reads a request that is too large to be collected."""
        data, pos, end = yield 0
        data, pos, end = yield from more(data, pos, end, _REQUEST_HEADER)
        if self._raw:
            raise RemoteProtocolError(f"a SASL token of {size} bytes", code="oversized_frame")
        key_and_version, correlation_id, id_size = _request_header(data, pos)
        plan = self._plans[key_and_version]
        call = self._large_request = Call(plan, correlation_id, self.now, size + SIZE)
        if not self.requests and plan.api is None:
            raise RemoteProtocolError(f"the first request is for the API {plan.key}", code="not_kafka")
        pos += _REQUEST_HEADER
        client_id = b""
        if id_size > 0:
            data, pos, end = yield from more(data, pos, end, id_size)
            client_id = data[pos : pos + id_size]
            pos += id_size
        if client_id != self.client_id:
            self.client_id = client_id
            self.identified()
        if plan.tagged_request:
            data, pos, end = yield from stream_tags(data, pos, end)
        if plan.stream_request is not None:
            each = partial(self.element, call)
            call.request, data, pos, end = yield from plan.stream_request(data, pos, end, each)
            if pos < end or self._requests.left:
                raise Unreadable("bytes behind the end of the message", code="trailing_bytes")

    def _finish_request(self, error: Exception | None) -> None:
        call, self._large_request = self._large_request, None
        if call is None:
            if error is None or code_of(error) != GAP:
                raise RemoteProtocolError(f"a request without a header: {error}", code="short_frame")
            self.unreadable(None, False, error)
            return
        call.at = self.now
        if error is not None:
            self.unreadable(call, False, error)
        self._ask(call)

    # Responses

    def _response(self, data: bytes, pos: int, stop: int) -> None:
        if self._tokens:
            self._raw_answer(data[pos:stop])
            return
        if stop - pos < _RESPONSE_HEADER:
            raise RemoteProtocolError(f"a response of {stop - pos} bytes", code="short_frame")
        (correlation_id,) = _correlation_id(data, pos)
        calls = self._calls
        if calls and calls[0].correlation_id == correlation_id:
            call = calls.popleft()
        elif (found := self._find(correlation_id)) is not None:
            call = found
        else:
            self.unknown_response(correlation_id, stop - pos + SIZE)
            return
        plan = call.plan
        call.response_size = stop - pos + SIZE
        call.seconds = self.now - call.at
        if plan.walk_response is not None:
            pos += _RESPONSE_HEADER
            try:
                if plan.tagged_response:
                    pos = skip_tags(data, pos) if data[pos] else pos + 1
                call.response = plan.walk_response(data, pos, stop)
            except UNREADABLE as error:
                self.unreadable(call, True, error)
        self._answer(call)

    def _find(self, correlation_id: int) -> Call[P] | None:
        for call in self._calls:
            if call.correlation_id == correlation_id:
                self._calls.remove(call)
                return call
        return None

    def _answer(self, call: Call[P]) -> None:
        if call.plan.key == SASL_HANDSHAKE:
            self._shook_hands(call)
        self.answered(call)

    def _begin_response(self, size: int) -> Piecemeal:
        """Reads a response that is too large to be collected."""
        data, pos, end = yield 0
        data, pos, end = yield from more(data, pos, end, _RESPONSE_HEADER)
        if self._tokens:
            raise RemoteProtocolError(f"a SASL token of {size} bytes", code="oversized_frame")
        (correlation_id,) = _correlation_id(data, pos)
        call = self._large_response = self._find(correlation_id)
        if call is None:
            self.unknown_response(correlation_id, size + SIZE)
            return
        plan = call.plan
        call.response_size = size + SIZE
        call.seconds = self.now - call.at
        if plan.stream_response is None:
            return
        pos += _RESPONSE_HEADER
        if plan.tagged_response:
            data, pos, end = yield from stream_tags(data, pos, end)
        each = partial(self.element, call)
        call.response, data, pos, end = yield from plan.stream_response(data, pos, end, each)
        if pos < end or self._responses.left:
            raise Unreadable("bytes behind the end of the message", code="trailing_bytes")

    def _finish_response(self, error: Exception | None) -> None:
        call, self._large_response = self._large_response, None
        if call is not None:
            if error is not None:
                self.unreadable(call, True, error)
            self._answer(call)
        elif error is not None and self._calls:
            self.missed(self._calls.popleft())

    # SASL tokens without a header

    def _shook_hands(self, call: Call[P]) -> None:
        """The mechanism is settled. In version 0 the tokens follow bare; later they come in SaslAuthenticate."""
        if call.request is not None and call.response is not None and not call.response[0]:
            self.mechanism = call.request[0].decode(errors="replace")
            if not call.plan.version:
                self._raw = rounds(self.mechanism)

    def _raw_token(self, token: bytes) -> None:
        self._raw -= 1
        self._tokens += 1
        self.token(token, False)

    def _raw_answer(self, token: bytes) -> None:
        self._tokens -= 1
        self.token(token, True)


def too_many_in_flight() -> RemoteProtocolError:
    return RemoteProtocolError(f"{MAX_IN_FLIGHT} requests without a response", code="too_many_in_flight")


def _reads(walk: Walk | None, tagged: bool, data: bytes, pos: int, stop: int) -> bool:
    """Whether a message can be read."""
    try:
        if tagged:
            pos = skip_tags(data, pos)
        if walk is not None:
            walk(data, pos, stop)
    except UNREADABLE:
        return False
    return pos <= stop
