"""One connection between a client and a broker, for somebody in between who may change what is said.

Requests pass as they come, and of each that will be answered it is remembered what it was, in order, for a broker
answers in the order of the requests. So every response is known when its first bytes come. Most pass as well; those
with addresses are rewritten (`addresses`), that with versions is cut down (`versions`), and those that the owner wants
are collected and handed over. A request may be answered here: the answer waits for its turn.

After a SaslHandshake of version 0, frames are bare SASL tokens for a while.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.detect import DETECTORS
from l4proxy.protocols.kafka.addresses import Directory
from l4proxy.protocols.kafka.api import API_VERSIONS
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.frames import MAX_FRAME, SIZE
from l4proxy.protocols.kafka.introductions import Introductions
from l4proxy.protocols.kafka.passage import COLLECT, MAX_MESSAGE, PASS, READ, Passage
from l4proxy.protocols.kafka.relay_plan import (
    ACKS,
    FOLLOWED,
    PARTLY,
    STRAIGHT,
    WHOLE,
    RelayedCall,
    RelayPlan,
    read_acks,
)  # fmt: skip
from l4proxy.protocols.kafka.splice import Change, frame
from l4proxy.protocols.kafka.tails import read_head, read_tail
from l4proxy.protocols.kafka.versions import Versions, cap, encode_refusal
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable, code_of, skip_tags

__all__ = ["SMALL", "Relay"]

SMALL = 32 * 1024
"""Responses up to this size are collected to be rewritten; of larger ones no more is kept than has to be."""
HEADER_LIMIT = 128 * 1024
"""Bytes of a Produce request in front of its ``acks``: two names of up to 32 KiB, and tags that nobody uses."""
RAW_TOKEN = 0x7FFF
"""Stands for a bare token where the key of an API is expected."""
_ACKS = Walker(PRODUCE.request, "acks")

_request_header = struct.Struct(">Iih").unpack_from
_key = struct.Struct(">Ii").unpack_from
_correlation_id = struct.Struct(">i").unpack_from
_int16 = struct.Struct(">h").unpack_from
_REQUEST_HEADER = 10
_RESPONSE_HEADER = 4
_NO_CLIENT_ID = 8


class Relay(Introductions):
    """Fed with what both ends send; returns what goes on. A subclass is its owner, and overrides what it has a part in.

    All that is fed raises RemoteProtocolError for what cannot go on, and is of no use then."""

    __slots__ = ("_calls", "_feeding", "_is_stalled", "_plans", "_requests", "_responses", "directory", "versions")

    def __init__(
        self,
        plans: Mapping[int, RelayPlan],
        versions: Versions,
        directory: Directory,
        *,
        max_frame: int = MAX_FRAME,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        super().__init__()
        self._plans = plans
        self.versions = versions
        self.directory = directory
        limits = {"max_frame": max_frame, "max_message": max_message}
        self._requests = Passage(self._look_request, self._whole_request, **limits)
        self._responses = Passage(self._look_response, self._whole_response, **limits)
        self._calls: deque[RelayedCall] = deque()
        """Those that wait for their answers, oldest first."""
        self._is_stalled = False
        self._feeding = False
        """Within ``server_data``."""

    # What an owner may have a part in

    def to_client(self, data: bytes) -> None:
        """Bytes for the client that come out by themselves. To be overridden."""
        raise NotImplementedError

    def to_broker(self, data: bytes) -> None:
        raise NotImplementedError

    def asked(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        """A request whose plan says ``wanted``: ``data[start:stop]`` is the frame, its body begins at ``pos``. Return
        what goes to the broker now: the frame, another one, or nothing. Then the request is answered (``give``), or it
        is held: until it goes ``to_broker``, or is answered, nothing more must be looked at (``hold``)."""
        return data[start:stop]

    def answered(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> None:
        """The response to such a request, with the addresses that clients are told. Sooner or later ``give``."""
        self.give(call, data[start:stop])

    def stalled(self, stalled: bool) -> None:
        """The broker goes on answering, and what it says has to wait for an answer of the owner's; or no longer."""

    def refused(self, call: RelayedCall, data: bytes, pos: int, stop: int) -> bytes:
        """A request that goes no further (``call.plan.refused``). Return an answer, a whole frame, or raise."""
        plan = call.plan
        text = f"{self.client_id.decode(errors='backslashreplace')} asks for {plan.name} version {plan.version}"
        if plan.api is None:
            raise RemoteProtocolError(text, code="unknown_api")
        raise RemoteProtocolError(text, code="unsupported_version")

    # Bytes

    def client_data(self, data: bytes) -> bytes:
        """The client has sent ``data``; return what goes to the broker."""
        return self._requests.feed(data)

    def server_data(self, data: bytes) -> bytes:
        """The broker has sent ``data``; return what goes to the client."""
        self._feeding = True
        try:
            return self._responses.feed(data)
        finally:
            self._feeding = False

    def close(self) -> None:
        """Let go of everything: the relay and what it feeds refer to each other."""
        self._requests.close()
        self._responses.close()
        self._calls.clear()

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answers."""
        return len(self._calls)

    @property
    def between(self) -> bool:
        """Nothing is under way: neither a part of a frame nor an answer is missing."""
        requests, responses = self._requests, self._responses
        return not (self._calls or requests.left or requests.waiting or responses.left or responses.waiting)

    # What an owner does

    def hold(self) -> None:
        """Look at no more requests until ``go_on``."""
        self._requests.stopped = True

    def go_on(self) -> None:
        if self._requests.stopped and (data := self._requests.go_on()):
            self.to_broker(data)

    def hold_responses(self) -> None:
        """Look at no more responses until ``go_on_responses``."""
        self._responses.stopped = True

    def go_on_responses(self) -> None:
        if self._responses.stopped:
            self._feeding = True
            try:
                data = self._responses.go_on()
            finally:
                self._feeding = False
            if data:
                self.to_client(data)

    def give(self, call: RelayedCall, reply: bytes) -> None:
        """Answer a call, when it is its turn; ``reply`` is a whole frame."""
        call.reply = reply
        if self._calls and self._calls[0] is call:
            if self._feeding or self._responses.left:
                self._responses.after = self._take_replies
            else:
                self.to_client(self._take_replies())
                if self._is_stalled:
                    self._is_stalled = False
                    self.go_on_responses()
                    self.stalled(self._is_stalled)

    def expect(self, call: RelayedCall, *, before: RelayedCall) -> None:
        """The owner asks the broker something itself, in front of a request that is held: from within ``asked``, which
        returns the owner's request, or later. ``answered`` is called with the response; what it gives would go to the
        client, so that will be ``b""``."""
        call.response_way = WHOLE
        call.wanted = True
        try:
            self._calls.insert(self._calls.index(before), call)
        except ValueError:  # it will not be answered
            self._calls.append(call)

    def use_plans(self, plans: Mapping[int, RelayPlan]) -> None:
        """From the next request on."""
        self._plans = plans

    def _take_replies(self) -> bytes:
        """The answers whose turn it is."""
        self._responses.after = None
        calls = self._calls
        replies = []
        while calls and (reply := calls[0].reply) is not None:
            replies.append(reply)
            calls.popleft()
        return b"".join(replies)

    # Requests

    def _look_request(self, data: bytes, pos: int, end: int, size: int) -> int:
        if end - pos < _REQUEST_HEADER and end - pos < size:
            return min(_REQUEST_HEADER, size)
        if self._tokens_to_come:
            return COLLECT
        if size < _REQUEST_HEADER:
            if size < _NO_CLIENT_ID:
                raise RemoteProtocolError(f"a request of {size} bytes", code="short_frame")
            return COLLECT
        key_and_version, correlation_id, id_size = _request_header(data, pos)
        plan = self._plans[key_and_version]
        way = plan.request_way
        if way == WHOLE:
            return COLLECT
        if way == ACKS:
            at = pos + _REQUEST_HEADER + (id_size if id_size > 0 else 0)
            acks = read_acks(data, at, end, plan.version)
            if acks is None:
                return self._more_of(size, end - pos)
            if not acks:
                return PASS
        self._calls.append(RelayedCall(plan, correlation_id))
        return PASS

    @staticmethod
    def _more_of(size: int, there: int) -> int:
        """How much has to be there to look again; so that not every byte is a reason to."""
        if there == size:
            raise RemoteProtocolError("a Produce request ends in its header", code="truncated")
        if there > HEADER_LIMIT:
            raise RemoteProtocolError(f"a Produce request with a header of {there} bytes", code="oversized_header")
        return min(size, 2 * there)

    def _whole_request(self, data: bytes, pos: int, stop: int) -> bytes:
        start = pos - SIZE
        if self._tokens_to_come:
            self._tokens_to_come -= 1
            self._calls.append(RelayedCall(self._plans[RAW_TOKEN << 16], 0))
            self.see_token(data[pos:stop])
            return data[start:stop]
        try:
            (key_and_version, correlation_id) = _key(data, pos)
            plan = self._plans[key_and_version]
            call = RelayedCall(plan, correlation_id)
            if plan.refused and not plan.is_known:
                return self._refuse(call, data, start, stop, stop)
            pos += _NO_CLIENT_ID
            if not plan.without_client_id:
                (id_size,) = _int16(data, pos)
                pos += 2
                if id_size > 0:
                    self.client_id = data[pos : pos + id_size]
                    pos += id_size
            if plan.tagged_request:
                pos = skip_tags(data, pos)
            if pos > stop:
                raise Unreadable("the header is longer than the frame", code="truncated")
            return self._ask(call, data, start, pos, stop)
        except UNREADABLE as error:
            raise RemoteProtocolError(f"a request cannot be read: {error}", code=code_of(error)) from error

    def _ask(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        plan = call.plan
        if plan.key == PRODUCE.key:
            (acks,) = _ACKS.whole(plan.version)(data, pos, stop)
            call.is_answered = acks != 0
        if plan.refused:
            return self._refuse(call, data, start, pos, stop)
        if plan.key in FOLLOWED:
            self.see_request(call, data, pos, stop)
        if call.is_answered:
            self._calls.append(call)
        return self.asked(call, data, start, pos, stop) if plan.wanted else data[start:stop]

    def _refuse(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        plan = call.plan
        if not self._calls and plan.api is None:
            for name, detector in DETECTORS.items():
                if name != "kafka" and detector(data[start:stop]):
                    raise RemoteProtocolError(f"this is {name}, not Kafka", code=name)
        if plan.key == API_VERSIONS:
            reply = encode_refusal(call.correlation_id)
        else:
            reply = self.refused(call, data, pos, stop)
            if not call.is_answered:
                return b""
        self._calls.append(call)
        self.give(call, reply)
        return b""

    # Responses

    def _look_response(self, data: bytes, pos: int, end: int, size: int) -> int:
        if not self._calls:
            raise RemoteProtocolError(f"a response of {size} bytes to no request", code="unexpected_response")
        call = self._calls[0]
        if call.here:
            self._is_stalled = True
            self.hold_responses()
            self.stalled(True)
            return _RESPONSE_HEADER
        if call.plan.key == RAW_TOKEN:
            return COLLECT
        if end - pos < _RESPONSE_HEADER:
            if size < _RESPONSE_HEADER:
                raise RemoteProtocolError(f"a response of {size} bytes", code="short_frame")
            return _RESPONSE_HEADER
        (correlation_id,) = _correlation_id(data, pos)
        if correlation_id != call.correlation_id:
            raise RemoteProtocolError(
                f"a response to {correlation_id}, where {call.correlation_id} is next", code="unexpected_response"
            )
        way = call.response_way
        if way == STRAIGHT:
            self._done()
            return PASS
        if way == PARTLY and size > SMALL:
            rewrite = call.plan.rewrite
            assert rewrite is not None
            read = read_head if rewrite.part == "head" else read_tail
            self._responses.reader = read(rewrite, call.plan.tagged_response, size, self.directory)
            next(self._responses.reader)
            call.plan.rewritten += 1
            self._done()
            return READ
        if (
            call.plan.seldom_rewritten
            and not call.wanted
            and end - pos == size
            and self._stays(call.plan, data, pos, end)
        ):
            self._done()
            return PASS
        return COLLECT

    def _stays(self, plan: RelayPlan, data: bytes, pos: int, stop: int) -> bool:
        """Whether nothing is to be changed in a response, which is there as a whole: then it need not be collected."""
        assert plan.rewrite is not None
        pos += _RESPONSE_HEADER
        try:
            if plan.tagged_response:
                pos = skip_tags(data, pos)
            return not plan.rewrite.changes(data, pos, stop, self.directory)
        except UNREADABLE:
            return False  # that is said when it has been collected

    def _done(self) -> None:
        """The answer to the oldest call goes to the client."""
        self._calls.popleft()
        if self._calls and self._calls[0].reply is not None:
            self._responses.after = self._take_replies

    def _whole_response(self, data: bytes, pos: int, stop: int) -> bytes:
        call = self._calls[0]
        start = pos - SIZE
        plan = call.plan
        if plan.key == RAW_TOKEN:
            self.see_answer(0)
            self._done()
            return data[start:stop]
        pos += _RESPONSE_HEADER
        try:
            if plan.tagged_response:
                pos = skip_tags(data, pos)
            if plan.key in FOLLOWED:
                self.see_response(call, data, pos, stop)
            changes = self._changes(plan, data, pos, stop)
            plan.rewritten += bool(changes)
        except UNREADABLE as error:
            text = f"a response cannot be read: {plan.name} version {plan.version}: {error}"
            raise RemoteProtocolError(text, code=code_of(error)) from error
        if call.wanted:
            if changes:
                pos -= start  # what is in front of the body keeps its size
                data = frame(data, start + SIZE, stop, changes)
                start, stop = 0, len(data)
            call.here = True
            self.answered(call, data, start, pos, stop)
            return b""
        self._done()
        return frame(data, start + SIZE, stop, changes) if changes else data[start:stop]

    def _changes(self, plan: RelayPlan, data: bytes, pos: int, stop: int) -> list[Change]:
        if plan.rewrite is not None:
            return plan.rewrite.changes(data, pos, stop, self.directory)
        if plan.key == API_VERSIONS:
            return cap(plan.version, data, pos, stop, self.versions)
        return []
