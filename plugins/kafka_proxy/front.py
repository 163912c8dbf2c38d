"""Message filters in front of a session, where a configuration has some.

What nobody wants does not come here: the relay passes it on as it comes. A request that a filter wants goes through the
filters before the broker gets it, and what is behind it waits until it has gone on or has been answered. The relay
knows the order of all responses, so one that a filter gives, or holds, is sent when it is its turn among those that
have never been seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.ordered_chain import OrderedMessageChain
from l4proxy.plugins.kafka_proxy.message import BadMessage, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.router import Router
from l4proxy.protocols.kafka.declarations.records import FETCH
from l4proxy.protocols.kafka.relay_plan import RelayedCall
from l4proxy.protocols.kafka.walker import Walker

if TYPE_CHECKING:
    from l4proxy.message_filters import MessageFilters, MessageFilterUse
    from l4proxy.plugins.kafka_proxy.session import ProxySession
    from l4proxy.reason import CloseReason

__all__ = ["Front"]

FETCH_LIMITED = 3
"""From this version on, requests say how much they want altogether."""
ROOM = 64 * 1024
"""For what is in a response beside records, as far as it can be foreseen."""
_LIMIT = Walker(FETCH.request, "max_bytes max_bytes@")


class Front:
    """The filters of one client."""

    def __init__(self, session: ProxySession, filters: MessageFilters) -> None:
        self._session = session
        self._router = Router(session, self._routed) if session.shared.config.routes else None
        self._asking = False
        self._forwarded: list[bytes] = []
        """What goes to the broker for the request that is just being shown."""
        self._chain = _Chain(
            filters, session, forward=self._forward, deliver=self._deliver, on_blocked=session.filters_blocked
        )

    def asked(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        """The client has sent a request (`Relay.asked`)."""
        plan = call.plan
        assert plan.api is not None
        request = KafkaRequest(
            plan.api,
            plan.version,
            call.correlation_id,
            self._session.client_id,
            data[start:stop],
            pos - start,
            expects_response=call.is_answered,
            call=call,
        )
        call.subject = request
        call.here = True
        self._asking = True
        try:
            self._chain.request(request)
        finally:
            self._asking = False
        forwarded, self._forwarded = self._forwarded, []
        return b"".join(forwarded)

    def answered(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> None:
        """The broker has answered it (`Relay.answered`)."""
        request: KafkaRequest = call.subject
        response = KafkaResponse(frame=data[start:stop], at=pos - start)
        if self._router is not None and self._router.takes(request):
            self._router.answered(request, response)
        else:
            self._chain.respond(request, response)

    def close(self, reason: CloseReason) -> None:
        self._chain.close(reason)
        if self._router is not None:
            self._router.close()

    def _forward(self, request: KafkaRequest) -> None:
        call = request.call
        assert call is not None
        if self._router is not None and self._router.takes(request):
            frame = self._router.forward(request)
            call.here = not frame
            self._send(frame)
            return
        call.here = False
        if request.expects_response and request._ignored >= self._chain.watchers(request):
            self._chain.pass_by(request)
            call.pass_by()
        elif request.kind == "Fetch" and request.version >= FETCH_LIMITED:
            self._limit(request)
        self._send(request.frame)

    def _send(self, frame: bytes) -> None:
        if self._asking:
            self._forwarded.append(frame)
        elif frame:
            self._session.to_broker(frame)

    def _routed(self, request: KafkaRequest, response: KafkaResponse) -> None:
        """All clusters that a request is about have answered."""
        if not self._chain.ended:
            self._chain.respond(request, response)

    def _limit(self, request: KafkaRequest) -> None:
        """A response that filters see must not be larger than what they may see."""
        data, at = request.frame, request.at
        most = self._session.shared.config.max_message - ROOM
        size, span = request.read(lambda: _LIMIT.whole(request.version)(data, at, len(data)))
        if size > most > 0:
            request.splice([(*span, most.to_bytes(4, "big"))])

    def _deliver(self, response: KafkaResponse) -> None:
        call = response.request.call
        assert call is not None
        call.subject = None  # the two refer to each other
        self._session.give(call, response.frame)


class _Chain(OrderedMessageChain[KafkaRequest, KafkaResponse]):
    """What a filter cannot read is not its fault."""

    __slots__ = ("_session",)

    def __init__(self, filters: MessageFilters, session: ProxySession, **callbacks: object) -> None:
        self._session = session
        super().__init__(filters, session.conn, **callbacks)  # type: ignore[arg-type]

    def failed(self, use: MessageFilterUse, error: Exception) -> bool:
        if not isinstance(error, RemoteProtocolError):
            return super().failed(use, error)
        self.ended = True
        self._session.broken(error.who if isinstance(error, BadMessage) else "upstream", error)
        return False
