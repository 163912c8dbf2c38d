"""Produce requests of one batch: recognised by the bytes around it, and then not walked again.

A producer sends the same request time after time, with another batch in it; librdkafka never puts more than one into a
request. Everything in front of the batch (client id, time limit, topic, partition) is the same bytes each time, and so
is all of the response but three numbers. So a session keeps the bytes of such a request, its **head**, when it has
walked one, and those of its response. The next request that begins with them needs three things read: its correlation
id, how long the records are, and the batch's header. That is a third of the work, for half of what Kafka carries.

Nothing is taken on trust: sizes, lengths and all bytes that are not told are compared. What differs in any of them is
walked like everything else, and tells the same (`tests/protocols/kafka/test_lone.py` holds one against the other).
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

from l4proxy.protocols.kafka.batches import HEADER_SIZE, Summary, lone_summary
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.frames import COLLECT, MAX_FRAME, SIZE
from l4proxy.protocols.kafka.plan import Plan, Plans
from l4proxy.protocols.kafka.session import MAX_IN_FLIGHT, Call, Session, too_many_in_flight
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import encode_uvarint

__all__ = ["REQUEST", "RESPONSE", "Lone", "LoneCall", "LoneSession"]

REQUEST = "acks topic_data(name topic_id partition_data(index records))"
RESPONSE = "throttle_time_ms responses(name topic_id partition_responses(index error_code base_offset))"
"""What has to be read of Produce for it: what is told of a request that was recognised is the same."""

LONES = 64
"""Heads that a connection keeps: of so many partitions that it writes to."""
HEAD = 12
"""Where a request's head begins: behind its size, its API and its correlation id."""
ANSWER = 8
"""Where that of a response begins: behind its size and its correlation id."""
_NONE_YET = 1 << 62

_request_spans = Walker(PRODUCE.request, "topic_data(name@ topic_id@ partition_data(records@))")
_response_spans = Walker(
    PRODUCE.response, "responses(partition_responses(base_offset@ log_append_time_ms@ log_start_offset@))"
)
_begin = struct.Struct(">iIi").unpack_from
_begin_answer = struct.Struct(">ii").unpack_from
_int64 = struct.Struct(">q").unpack_from
_int32 = struct.Struct(">i").pack

P = TypeVar("P", bound=Plan)


class Lone:
    """Requests of one head, which ends at ``at``, where the length of their records stands; and their responses."""

    __slots__ = ("_at", "_behind", "_flexible", "_length", "_rest", "_size", "_start", "_tail", "acks", "answer_head",
                 "answer_size", "answer_tail", "api", "base_at", "client_id", "index", "name", "subject",
                 "throttle", "topic_id")  # fmt: skip

    def __init__(self, call: Call[P], client_id: bytes | None, at: int, tail: bytes) -> None:
        plan = call.plan
        assert call.request is not None
        self.acks, ((self.name, self.topic_id, ((self.index, _),)),) = call.request
        self.client_id = client_id
        self.api = plan.key << 16 | plan.version
        self._flexible = plan.tagged_request
        self._at = at
        self._tail = tail
        self._behind = at + len(tail)
        self._rest = 0
        self._start = 0
        self._size = b""
        self._length = 0
        self.answer_size = 0
        """Bytes of a response, with their size; 0 while none is known."""
        self.answer_head = self.answer_tail = b""
        self.base_at = 0
        self.throttle: int | None = None
        self.subject: Any = None
        """Whatever a session's subclass knows of what they are about."""

    def read(self, data: bytes) -> Summary | None:
        """What the batch of a whole request holds, of which all that is in front of the records is known to be right.
        None: it has to be walked."""
        rest = len(data) - self._behind
        if rest != self._rest:
            self._expect(rest)
        if self._length < HEADER_SIZE or not (data.startswith(self._size, self._at) and data.endswith(self._tail)):
            return None
        return lone_summary(data, self._start, self._length)

    def _expect(self, rest: int) -> None:
        """Records, with the length in front of them, of ``rest`` bytes."""
        self._rest = rest
        size = rest - 4
        self._size = _int32(max(size, 0))
        if self._flexible:
            for taken in range(1, 5):
                size = rest - taken
                self._size = encode_uvarint(max(size, 0) + 1)
                if len(self._size) == taken:
                    break
        self._start = self._at + rest - size
        self._length = size

    def learn_answer(self, call: Call[P], data: bytes) -> None:
        """The response ``data`` was walked: the next one may be like it."""
        plan = call.plan
        if call.response is None or not _is_lone(call.response[1]):
            return
        throttle, ((name, topic_id, ((index, error, _),)),) = call.response
        if error or throttle or (name, topic_id, index) != (self.name, self.topic_id, self.index):
            return
        walk = _response_spans.whole(plan.version)
        ((((told,),),),) = walk(data, ANSWER + plan.tagged_response, len(data))
        told = [span for span in told if span is not None]
        self.base_at = told[0][0]
        self.throttle = throttle
        self.answer_head = data[ANSWER : self.base_at]
        self.answer_tail = data[told[-1][1] :]
        self.answer_size = len(data)


class LoneCall(Call[P]):
    """A request that was recognised. What its walker would have read is put together for who asks for it."""

    __slots__ = ("summary",)

    lone: Lone

    def __init__(self, plan: P, correlation_id: int, at: float, size: int, lone: Lone, summary: Summary) -> None:
        self.plan = plan
        self.correlation_id = correlation_id
        self.at = at
        self.request_size = size
        self.response = None
        self.lone = lone
        self.summary = summary

    @property
    def request(self) -> tuple[Any, ...]:  # type: ignore[override]
        lone = self.lone
        return lone.acks, [(lone.name, lone.topic_id, [(lone.index, self.summary)])]


class LoneSession(Session[P]):
    """A session that recognises lone batches. Of those, a subclass hears ``called`` as of all others, and ``stored``
    in place of ``answered``. Its plans read `REQUEST` and `RESPONSE`, or nothing is recognised."""

    __slots__ = ("_beyond", "_least", "_length_at", "_lones")

    def __init__(self, plans: Plans[P], *, max_frame: int = MAX_FRAME, collect: int = COLLECT) -> None:
        super().__init__(plans, max_frame=max_frame, collect=collect)
        self._lones: dict[bytes, Lone] = {}
        """By their heads. Where those end is known by the byte at ``_length_at``, the topic's length."""
        self._least = _NONE_YET
        self._length_at = self._beyond = 0

    def stored(self, call: LoneCall[P], lone: Lone, base_offset: int) -> None:
        """The response to a lone batch was read: it is at ``base_offset``."""
        partition = (lone.index, 0, base_offset)
        call.response = (lone.throttle, [(lone.name, lone.topic_id, [partition])])
        self.answered(call)

    def client_data(self, data: bytes, at: float) -> int:
        requests = self._requests
        if requests.left or requests.have:
            return super().client_data(data, at)
        size = len(data)
        if size > self._least:
            lone = self._lones.get(data[HEAD : data[self._length_at] + self._beyond])
            if lone is not None:
                length, api, correlation_id = _begin(data)
                if (
                    length + SIZE == size
                    and api == lone.api
                    and lone.client_id is self.client_id
                    and (summary := lone.read(data)) is not None
                ):
                    self.now = at
                    call = LoneCall(self._plans[api], correlation_id, at, size, lone, summary)
                    self.requests += 1
                    self.called(call)
                    calls = self._calls
                    calls.append(call)
                    if len(calls) > MAX_IN_FLIGHT:
                        raise too_many_in_flight()
                    return 0
        spare = super().client_data(data, at)
        if self._calls and (last := self._calls[-1]).plan.reads_lone and last.request_size == size:
            self._learn(last, data)
        return spare

    def server_data(self, data: bytes, at: float) -> int:
        calls, responses = self._calls, self._responses
        call = calls[0] if calls else None
        if call is None or call.lone is None or responses.left or responses.have:
            return super().server_data(data, at)
        lone = call.lone
        if len(data) == lone.answer_size and type(call) is LoneCall:
            length, correlation_id = _begin_answer(data)
            if (
                correlation_id == call.correlation_id
                and length + SIZE == len(data)
                and data.startswith(lone.answer_head, ANSWER)
                and data.endswith(lone.answer_tail)
                and not self._tokens
                and self._sought_response is None
            ):
                self.now = at
                calls.popleft()
                call.response_size = length + SIZE
                call.seconds = at - call.at
                self.stored(call, lone, _int64(data, lone.base_at)[0])
                return 0
        spare = super().server_data(data, at)
        if not lone.answer_size and call.response_size == len(data) and data[4:8] == _int32(call.correlation_id):
            lone.learn_answer(call, data)
        return spare

    def seek_requests(self) -> None:
        self._forget()
        super().seek_requests()

    def _shook_hands(self, call: Call[P]) -> None:
        super()._shook_hands(call)
        if self._raw:
            self._forget()

    def _forget(self) -> None:
        """Requests may not begin where chunks do."""
        self._lones.clear()
        self._least = _NONE_YET

    def _learn(self, call: Call[P], data: bytes) -> None:
        """The chunk ``data`` is as long as the request that was just walked. If it is that one, the next may be like
        it."""
        if len(self._lones) >= LONES or self._sought_request is not None:
            return
        plan = call.plan
        size = len(data)
        if _begin(data) != (size - SIZE, plan.key << 16 | plan.version, call.correlation_id):
            return
        if call.request is None or not call.request[0] or not _is_lone(call.request[1]):
            return
        ((_, _, ((_, summary),)),) = call.request[1]
        begin = HEAD + 2 + len(self.client_id or b"")
        if summary is None or (plan.tagged_request and data[begin]):
            return
        walk = _request_spans.whole(plan.version)
        ((name, topic_id, (((at, stop),),)),) = walk(data, begin + plan.tagged_request, size)[0]
        lone = Lone(call, self.client_id, at, data[stop:])
        if lone.read(data) != summary:
            return
        call.lone = self._lones[data[HEAD:at]] = lone
        self._length_at = name[0] + (not plan.tagged_request) if name is not None else topic_id[0] - 1
        self._least = self._length_at
        self._beyond = at - data[self._length_at]


def _is_lone(topics: list[tuple[object, object, list[object] | None]] | None) -> bool:
    """Whether they have one partition."""
    return bool(topics and len(topics) == 1 and topics[0][2] and len(topics[0][2]) == 1)
