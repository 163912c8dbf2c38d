"""Message filters in front of a session, where a configuration has some.

As everywhere, what nobody wants costs little: commands that no filter wants go by the filters, straight to the session,
in the pipelines that they came in. One that is wanted goes through them, one command at a time. So that neither
commands nor replies overtake each other, a client changes from one way to the other only when it has all its replies;
until then what it sends waits."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from l4proxy.ordered_chain import OrderedMessageChain
from l4proxy.plugins.redis.message import RedisRequest, RedisResponse
from l4proxy.plugins.redis.replies import ABORTED
from l4proxy.protocols.redis.request import Run, encode_command, one_by_one

if TYPE_CHECKING:
    from l4proxy.message_filters import MessageFilters
    from l4proxy.plugins.redis.session import Session
    from l4proxy.reason import CloseReason

__all__ = ["Front"]

DISCARD = encode_command(b"DISCARD")
ENDS = frozenset(("EXEC", "DISCARD"))
"""What ends a transaction."""
TRANSACTION = ENDS | {"MULTI", "RESET"}
"""Where they begin and end."""
WAITING_LIMIT = 1 << 20
"""Bytes that wait at which the client is not read."""


class Front:
    """The filters of one client."""

    def __init__(self, session: Session, filters: MessageFilters) -> None:
        self._session = session
        self._filters = filters
        seen = filters.seen
        self._looked_at = None if seen is None else seen | TRANSACTION
        """What does not simply go by; None: all."""
        self._waiting: deque[Run] = deque()
        """What is to come next, and cannot yet."""
        self._waiting_size = 0
        """Bytes that have come since nothing waited."""
        self._held = False
        """Filters hold something, or enough."""
        self._under_way = 0
        """Requests whose responses have not been delivered."""
        self._last = 0
        """The number of the last request."""
        self._forwarded = 0
        """Requests that came through."""
        self._begin: tuple[int, int] | None = None
        """Where the transaction under way has begun: these two, then."""
        self._queued = 0
        """Commands in it that have come through."""
        self._end = 0
        """The number of the last request that would end one. If the transaction goes on, a filter has answered it."""
        self._taking = False
        self._chain: OrderedMessageChain[RedisRequest, RedisResponse] = OrderedMessageChain(
            filters,
            session.conn,
            forward=self._forward,
            deliver=self._deliver,
            on_blocked=self._blocked,
        )

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._under_way)

    def lets_by(self, runs: list[Run]) -> bool:
        """What the client has sent. The hot path: whether all of it may go by the filters. Else it has been taken."""
        if self._looked_at is not None and not (self._waiting or self._under_way or self._begin):
            looked_at, queued = self._looked_at, self._queued
            for head, count, _ in runs:
                if head.name in looked_at:
                    break
                queued += count
            else:
                self._queued = queued
                return True
        self._waiting.extend(runs)
        self.go_on()
        if self._waiting:
            self._waiting_size += sum(len(run[2]) for run in runs)
            self._tell_blocked()
        return False

    def go_on(self) -> None:
        """Take what can be taken. Called when there is more, and when the session has nothing outstanding."""
        if self._taking:
            return
        self._taking = True
        try:
            while self._waiting and not self._chain.ended:
                run = self._waiting[0]
                if not self._under_way and not self._is_wanted(run):
                    self._waiting.popleft()
                    self._end_transaction(self._last + 1)
                    self._note(run[0].name, self._last, self._forwarded, run[1])
                    self._session.accept(run)
                elif self._goes_by(run) or not (self._under_way or self._session.is_idle):
                    break
                else:
                    self._take_requests()
        finally:
            self._taking = False
        if self._waiting_size and not self._waiting:
            self._waiting_size = 0
            self._tell_blocked()

    def _blocked(self, held: bool) -> None:
        self._held = held
        self._tell_blocked()

    def _tell_blocked(self) -> None:
        self._session.filters_blocked(self._held or self._waiting_size > WAITING_LIMIT)

    def _goes_by(self, run: Run) -> bool:
        """Whether it is a part of a command that is not held until it is whole: no filter is to see it."""
        return not run[1] and not self._is_wanted(run)

    def _is_wanted(self, run: Run) -> bool:
        """Whether it has to go through the filters; so does the end of a transaction that is to be aborted."""
        name = run[0].name
        return self._filters.wants(name) or (name == "EXEC" and self._is_spoilt(self._last + 1))

    def _take_requests(self) -> None:
        """All that waits goes through the filters; then the session works on what came through."""
        table = self._session.hub.table
        while self._waiting and not (self._chain.ended or self._goes_by(self._waiting[0])):
            run = self._waiting.popleft()
            if not run[1]:
                self._session.too_long()
                return
            for raw in one_by_one(run):
                request = RedisRequest(run[0], raw, table)
                request.number = self._last = self._last + 1
                if request.kind in ENDS:
                    self._end = request.number
                self._under_way += 1
                self._chain.request(request)
        self._session.work()

    def _forward(self, request: RedisRequest) -> None:
        self._end_transaction(request.number)
        session = self._session
        head, raw = request.head, request.raw
        if request.changed:
            head = session.hub.table.inline_head(request.arguments)
        if head.name == "EXEC" and self._is_spoilt(request.number):
            request.aborted = True
            head, raw = session.hub.table.inline_head([b"DISCARD"]), DISCARD
        self._forwarded += 1
        if self._begin is not None:
            request.queued = self._queued
        self._note(head.name, request.number, self._forwarded)
        session.accept((head, 1, raw, request), more=self._taking)

    def _end_transaction(self, number: int) -> None:
        """Where a filter has answered the ``EXEC`` of a transaction, it is over behind it all the same, as on a server
        that refuses one. Before the request of this number: nobody was in need of it until then."""
        if self._begin is None or not self._begin[0] < self._end < number:
            return
        table = self._session.hub.table
        discard = RedisRequest(table.inline_head([b"DISCARD"]), DISCARD, table)
        discard.own = True
        self._under_way += 1
        self._begin = None
        self._session.accept((discard.head, 1, DISCARD, discard), more=self._taking)

    def _note(self, name: str, number: int, forwarded: int, count: int = 1) -> None:
        """Commands have come through: does a transaction begin, or end?"""
        self._queued += count
        if name == "MULTI" and self._begin is None:
            self._begin, self._queued = (number, forwarded), 0
        elif name in ("EXEC", "DISCARD", "RESET"):
            self._begin = None

    def _is_spoilt(self, number: int) -> bool:
        """Whether a filter has answered a command between the beginning of the transaction and the request of this
        number: then fewer have been forwarded."""
        return self._begin is not None and self._forwarded - self._begin[1] < number - 1 - self._begin[0]

    # Replies

    def respond(self, request: RedisRequest, data: bytes) -> None:
        """The reply to a command that was forwarded; nothing, where the client wants none."""
        beginning = request.beginning
        if request.own:
            self._ended()
        elif beginning is None:
            data = ABORTED if request.aborted else request.collected + data
            self._chain.respond(request, RedisResponse(raw=data))
        else:
            self._add(beginning, data)
            self._chain.finish(beginning)
            if beginning.delivered:
                self._ended()

    def respond_part(self, request: RedisRequest, data: bytes) -> None:
        """A part of a reply that goes on."""
        if request.beginning is None:
            request.beginning = RedisResponse(raw=data, complete=False)
            self._chain.respond(request, request.beginning)
        else:
            self._add(request.beginning, data)

    def collect(self, request: RedisRequest, data: bytes) -> None:
        """One of several replies to a command; the last of them responds."""
        request.collected += data

    def _add(self, beginning: RedisResponse, data: bytes) -> None:
        if beginning.delivered:
            self._session.give(data)
        else:
            beginning.rest.append(data)

    def _deliver(self, response: RedisResponse) -> None:
        session = self._session
        response.delivered = True
        for data in (response.encode(session.identity.protocol), *response.rest):
            if data:
                session.give(data)
        if response.complete:
            self._ended()

    def _ended(self) -> None:
        self._under_way -= 1
        self.go_on()

    def close(self, reason: CloseReason) -> None:
        self._waiting.clear()
        self._chain.close(reason)
