"""Requests and responses, as message filters of Kafka see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from l4proxy.codec import RemoteProtocolError
from l4proxy.message import MessageFilter, Request, Response
from l4proxy.protocols.kafka.frames import SIZE
from l4proxy.protocols.kafka.splice import Change, frame
from l4proxy.protocols.kafka.wire import UNREADABLE

if TYPE_CHECKING:
    from l4proxy.protocols.kafka.api import Api
    from l4proxy.protocols.kafka.relay_plan import RelayedCall

__all__ = ["BadMessage", "KafkaFilter", "KafkaRequest", "KafkaResponse"]

C = TypeVar("C")
T = TypeVar("T")


class BadMessage(RemoteProtocolError):
    """A message cannot be read, so its sender is at fault: ``client`` or ``upstream``."""

    def __init__(self, who: str, message: str, *, code: str) -> None:
        super().__init__(message, code=code)
        self.who = who


class _Framed:
    """What requests and responses have in common: a frame, of which some bytes can be changed."""

    __slots__ = ()

    _frame: bytes
    _at: int
    _values: dict[str, Any] | None

    @property
    def frame(self) -> bytes:
        """The bytes to be sent: those that came, unless something was changed."""
        return self._frame

    @property
    def at(self) -> int:
        """Where in ``frame`` the body begins."""
        return self._at

    @property
    def body(self) -> bytes:
        return self.frame[self.at :]

    def splice(self, changes: Sequence[Change]) -> None:
        """Change some bytes of the body, and nothing else; places are those in ``frame``."""
        whole = self.frame
        self._frame = frame(whole, SIZE, len(whole), changes)  # type: ignore[misc]  # the slots are the subclasses'
        self._values = None  # type: ignore[misc]

    def splice_if(self, changes: Sequence[Change]) -> bool:
        """The same, if there are any changes; return whether there are."""
        if changes:
            self.splice(changes)
        return bool(changes)

    def read(self, reading: Callable[[], T]) -> T:
        """Call what reads ``frame`` (a walker's function, say); what is not such a message ends the connection."""
        try:
            return reading()
        except UNREADABLE as error:
            raise self._bad(error) from error

    def _bad(self, error: Exception) -> BadMessage:
        raise NotImplementedError


class KafkaRequest(_Framed, Request):
    """A request. ``kind`` is the name of its API: ``Produce``, ``Fetch``, ``CreateTopics``."""

    __slots__ = ("_at", "_frame", "_ignored", "_values", "api", "call", "client_id", "correlation_id", "version")

    def __init__(
        self,
        api: Api,
        version: int,
        correlation_id: int,
        client_id: bytes,
        frame: bytes,
        at: int,
        *,
        expects_response: bool = True,
        call: RelayedCall | None = None,
    ) -> None:
        """``frame`` with its size; its body begins at ``at``."""
        super().__init__(api.name, expects_response=expects_response)
        self.api = api
        self.version = version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.call = call
        """How the relay knows it."""
        self._frame = frame
        self._at = at
        self._values: dict[str, Any] | None = None
        self._ignored = 0

    @property
    def values(self) -> dict[str, Any]:
        """Everything in it, decoded: a dict of fields by their names in Kafka's definitions, in snake_case. What is
        assigned here is sent instead. Decoding takes tens of microseconds, and more where there is more in it."""
        if self._values is None:
            from l4proxy.protocols.kafka.messages import decode_request

            self._values = self.read(lambda: decode_request(self.api, self.version, self.body))
        return self._values

    @values.setter
    def values(self, values: Mapping[str, Any]) -> None:
        from l4proxy.protocols.kafka.messages import encode_body

        body = encode_body(self.api, self.version, "request", values)
        self.splice([(self._at, len(self._frame), body)])

    def _bad(self, error: Exception) -> BadMessage:
        return BadMessage("client", f"{self.kind} version {self.version} cannot be read: {error}", code="undecodable")


class KafkaResponse(_Framed, Response):
    """A response: that of a broker, or one of a filter's."""

    __slots__ = ("_at", "_frame", "_values")

    def __init__(self, values: Mapping[str, Any] | None = None, *, frame: bytes = b"", at: int = 0) -> None:
        """``values`` as decoded; fields that are not given have their default values."""
        super().__init__()
        self._values = None if values is None else dict(values)
        self._frame = frame
        self._at = at

    @classmethod
    def error(cls, request: KafkaRequest, code: int, message: str | None = None) -> KafkaResponse:
        """The response that says no, in each place where clients look for an error of this API: for every topic,
        partition, group or resource that was asked for. ``code`` is Kafka's."""
        from l4proxy.protocols.kafka.refusal import encode_error

        api, version = request.api, request.version
        encoded = request.read(lambda: encode_error(api, version, request.correlation_id, request.body, code, message))
        return cls(frame=encoded, at=_body_of(api, version))

    @property
    def values(self) -> dict[str, Any]:
        """Everything in it, decoded. What is assigned here is sent instead."""
        if self._values is None:
            from l4proxy.protocols.kafka.messages import decode_response

            api, version = self.request.api, self.request.version
            self._values = self.read(lambda: decode_response(api, version, self.body))
        return self._values

    @values.setter
    def values(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self._frame = b""

    request: KafkaRequest

    @property
    def frame(self) -> bytes:
        if not self._frame:
            from l4proxy.protocols.kafka.messages import encode_response

            request = self.request
            self._frame = encode_response(request.api, request.version, request.correlation_id, **self._values or {})
            self._at = _body_of(request.api, request.version)
        return self._frame

    @property
    def at(self) -> int:
        return self._at if self._frame else _body_of(self.request.api, self.request.version)

    def _bad(self, error: Exception) -> BadMessage:
        request = self.request
        text = f"the response to {request.kind} version {request.version} cannot be read: {error}"
        return BadMessage("upstream", text, code="undecodable")


def _body_of(api: Api, version: int) -> int:
    """Where the body of a response begins that has no tagged fields in its header."""
    return SIZE + 4 + api.response_header(version)


class KafkaFilter(MessageFilter[C, KafkaRequest, KafkaResponse]):
    """Base of the message filters of Kafka: ``class Audit(KafkaFilter[AuditConfig])``.

    They see requests and responses as clients do: addresses are those of the proxy. Who the client is stands in
    ``conn.state["kafka:principal"]``, where brokers have authenticated it (SASL). A request is changed by assigning
    ``values``, or where it lies (``splice``).

    Requests that a filter ``wants`` are collected before they go on, and so are their responses where it has an
    ``on_response``; that of a request which it calls ``ignore_response`` for passes as it comes.
    """

    protocol = "kafka"
    hides: ClassVar[frozenset[str]] = frozenset()
    """APIs that clients are not offered where this filter is used, because it could not do what it promises."""

    @classmethod
    def goes_by_names(cls, config: C) -> bool:
        """Whether clients have to name topics in their requests, because this filter goes by their names. Newer
        versions, which number topics (KIP-516), are not offered then, nor are share groups, which have no others."""
        return False

    def key(self, name: str) -> str:
        """A key for ``request.state`` that is this filter's alone, also where a list has it twice."""
        return f"{self.name}:{self.conn.position}:{name}"

    def ignore_response(self, request: KafkaRequest) -> None:
        """Say, within ``on_request``, that this filter does not need the response. If another one does, ``on_response``
        is called all the same."""
        request._ignored += 1
