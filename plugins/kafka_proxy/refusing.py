"""Refusing a part of a request: the rest goes to the broker, and the response tells of both.

For message filters that decide by names. What is refused is taken out of the request, bytes and all; and what a broker
would say to it is made, with the error in each place where clients look for it. When nothing is left, nobody is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.plugins.kafka_proxy.message import KafkaResponse
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.merging import merge
from l4proxy.protocols.kafka.names import names_of
from l4proxy.protocols.kafka.refusal import encode_error
from l4proxy.protocols.kafka.splice import Change, splice
from l4proxy.protocols.kafka.walker import Walker

if TYPE_CHECKING:
    from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest

__all__ = ["CodeOf", "complete", "is_refused_in_part", "refuse", "refuse_part"]

CodeOf = Callable[[str, bytes], int]
"""``code(kind, name)``: Kafka's error code for what is refused, 0 for what is not (`l4proxy.protocols.kafka.names`)."""

FETCH_SESSION_ID_NOT_FOUND = 70
SESSIONS = 7
"""The version of Fetch from which on there are sessions."""
NO_SESSION = b"\xff\xff\xff\xff"
"""As the epoch of a fetch session: this is a fetch of its own."""
_AS_A_WHOLE = {"ConsumerGroupHeartbeat", "ShareGroupHeartbeat"}
"""APIs whose responses have no place for an error of a single topic."""
_EVEN_FOR_NOTHING = {"Metadata"}
"""APIs that are asked even where nothing is left: their responses tell more."""
_STATE = "refusing:refusals"
_SESSION = Walker(BY_NAME["Fetch"].request, "session_id session_epoch session_epoch@")


def refuse(filter: KafkaFilter[Any], request: KafkaRequest, code_of: CodeOf) -> KafkaRequest | None:
    """Refuse what ``code_of`` has a code for. For ``on_request``, which returns what this returns; ``on_response`` of
    the same filter calls `complete`."""
    api, version = request.api, request.version
    names = names_of(api, version, "request")
    codes: dict[tuple[str, bytes], int] = {}

    def decide(kind: str, name: bytes) -> bytes | None:
        code = codes[kind, name] = code_of(kind, name)
        return None if code else name

    named = request.read(lambda: names.decide(request.frame, request.at, len(request.frame), decide))
    if not named.dropped:
        return request
    if not request.expects_response:
        return _in_silence(filter, request, named.changes if named.kept and named.refused is None else None)
    if named.refused is not None or api.name in _AS_A_WHOLE:
        filter.reply(request, KafkaResponse.error(request, codes[named.refused or named.dropped[0]]))
        return None
    refusals = [
        _refusal(request, {one for one in named.dropped if codes[one] == code}, code)
        for code in sorted({codes[one] for one in named.dropped})
    ]
    kept = bool(named.kept) or (api.name in _EVEN_FOR_NOTHING and version > 0)
    return refuse_part(filter, request, named.changes if kept else None, refusals)


def refuse_part(
    filter: KafkaFilter[Any], request: KafkaRequest, changes: Sequence[Change] | None, refusals: list[bytes]
) -> KafkaRequest | None:
    """Let a request go on with ``changes``, without what ``refusals`` are the responses to, whole frames; None: nothing
    is left of it."""
    if not request.expects_response:
        return _in_silence(filter, request, changes)
    if changes is None:
        response = KafkaResponse(frame=refusals[0], at=_body_at(request))
        response.request = request
        _merge_into(response, refusals[1:])
        filter.reply(request, response)
        return None
    request.splice(changes)
    if request.api.name == "Fetch" and request.version >= SESSIONS and not _leave_session(filter, request):
        return None
    request.state[_STATE] = [*request.state.get(_STATE, ()), (filter, refusals)]
    return request


def is_refused_in_part(filter: KafkaFilter[Any], request: KafkaRequest) -> bool:
    """Whether this filter has refused a part of a request that goes on."""
    return any(who is filter for who, _ in request.state.get(_STATE, ()))


def complete(filter: KafkaFilter[Any], response: KafkaResponse) -> None:
    """Add to a response what was refused of its request."""
    for who, refusals in response.request.state.get(_STATE, ()):
        if who is filter:
            _merge_into(response, refusals)


def _in_silence(
    filter: KafkaFilter[Any], request: KafkaRequest, changes: Sequence[Change] | None
) -> KafkaRequest | None:
    """A producer that wants no answers learns that something is wrong as it does from brokers: they close the
    connection."""
    filter.conn.call_later(0.0, lambda: filter.conn.close("refused_without_response"))
    if changes is None:
        filter.reply(request, KafkaResponse())
        return None
    request.splice(changes)
    return request


def _refusal(request: KafkaRequest, wanted: set[tuple[str, bytes]], code: int) -> bytes:
    """What is said to a request for these names and nothing else."""
    names = names_of(request.api, request.version, "request")
    data, at = request.frame, request.at
    body = request.read(lambda: splice(data, at, len(data), names.only(data, at, len(data), wanted)))
    return request.read(lambda: encode_error(request.api, request.version, request.correlation_id, body, code))


def _body_at(request: KafkaRequest) -> int:
    return 8 + request.api.response_header(request.version)


def _merge_into(response: KafkaResponse, refusals: list[bytes]) -> None:
    request = response.request
    for refusal in refusals:
        api, version, body = request.api, request.version, response.body
        merged = response.read(lambda: merge(api, version, body, refusal[_body_at(request) :]))  # noqa: B023
        response.splice([(response.at, len(response.frame), merged)])


def _leave_session(filter: KafkaFilter[Any], request: KafkaRequest) -> bool:
    """A client whose fetches are refused in part gets no fetch session (KIP-227): in one it would ask only once for
    what is refused, and never again hear of it. Return False where it has one: then it is told that it has not."""
    data, at = request.frame, request.at
    session_id, epoch, span = request.read(lambda: _SESSION.whole(request.version)(data, at, len(data)))
    if session_id and epoch > 0:
        filter.reply(request, KafkaResponse({"error_code": FETCH_SESSION_ID_NOT_FOUND, "responses": []}))
        return False
    if epoch == 0:
        request.splice([(*span, NO_SESSION)])
    return True
