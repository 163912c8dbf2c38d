"""One client's connection to one broker, as the proxy follows it.

A client that means a broker whose address is not known, where brokers tell nobody but those who authenticate, is
connected to any other. There it can do what every broker answers alike: ask for versions, authenticate, ask for
Metadata. When it wants more, and still nothing has told where its broker is, the question is asked in its name. Then
the connection turns out to be the right one and goes on, or it is closed; the client comes again, and is led to its
broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.filter import Side
from l4proxy.plugins.kafka_proxy.question import ASK_FOR_BROKERS, METADATA_VERSION, OWN_ID
from l4proxy.plugins.kafka_proxy.shared import Shared
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.relay import Relay, RelayedCall, RelayPlan
from l4proxy.protocols.kafka.sasl import principal
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.endpoint import EndpointSpec
    from l4proxy.filter import Conn
    from l4proxy.plugins.kafka_proxy.places import Places

__all__ = ["ProxySession"]

ProxyCall = RelayedCall[RelayPlan]

ASK_PLAN = METADATA.key << 16 | METADATA_VERSION
# Where a connection is.
UNKNOWN = 0
HERE = 1
ELSEWHERE = 2


class ProxySession(Relay[RelayPlan]):
    """``elsewhere``: the connection may be to another broker than the client has meant. Then ``endpoint`` is set when
    it is there."""

    __slots__ = ("_held", "_principal", "conn", "elsewhere", "ending", "endpoint", "places", "shared")

    def __init__(self, shared: Shared, conn: Conn, places: Places, *, elsewhere: bool) -> None:
        config = shared.config
        super().__init__(
            shared.plans_elsewhere if elsewhere else shared.plans,
            shared.versions,
            places,
            max_frame=config.max_frame,
            max_message=config.max_message,
        )
        self.shared = shared
        self.conn = conn
        self.places = places
        self.elsewhere = elsewhere
        self.endpoint: EndpointSpec | None = None
        self.ending: CloseReason | None = None
        """The connection is to end, behind what has gone to the client."""
        self._held: bytes | None = None
        """The request for which a client that is elsewhere has to be with its own broker."""
        self._principal = ""

    def to_client(self, data: bytes) -> None:
        self.conn.send_client(data)

    def to_broker(self, data: bytes) -> None:
        self.conn.send_upstream(data)

    # Finding the right broker

    def asked(self, call: ProxyCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        if self.elsewhere:
            where = self._where()
            if where == UNKNOWN:
                self._held = data[start:stop]
                self.hold()
                self.conn.pause(Side.CLIENT)
                self.expect(RelayedCall(self.shared.plans[ASK_PLAN], OWN_ID), before=call)
                return ASK_FOR_BROKERS
            if not self._settle(where):
                return b""
        return data[start:stop]

    def answered(self, call: ProxyCall, data: bytes, start: int, pos: int, stop: int) -> None:
        held, self._held = self._held, None
        if held is None:
            self.give(call, data[start:stop])
            return
        self.give(call, b"")
        if self._settle(self._where()):
            self.to_broker(held)
            self.go_on()
            self.conn.resume(Side.CLIENT)

    def _where(self) -> int:
        """Where the connection is, by what is known now."""
        node = self.places.node(self.conn)
        brokers = self.places.brokers
        if node is None or brokers.address(node) is None:
            return UNKNOWN
        assert self.endpoint is not None
        return HERE if brokers.is_at(self.endpoint, node) else ELSEWHERE

    def _settle(self, where: int) -> bool:
        """The connection is with the right broker after all, or it ends."""
        if where == HERE:
            self.elsewhere = False
            self.use_plans(self.shared.plans)
            return True
        self.hold()
        self.hold_responses()
        self.ending = CloseReason("proxy", "relay", "unknown_broker" if where == UNKNOWN else "broker_learnt")
        return False

    # What is seen of the client

    def refused(self, call: ProxyCall, data: bytes, pos: int, stop: int) -> bytes:
        from l4proxy.protocols.kafka.refusal import CLUSTER_AUTHORIZATION_FAILED, encode_error

        plan = call.plan
        self.shared.stats.refused_requests_total.add(plan.name)
        if plan.api is None or not plan.is_known:
            return super().refused(call, data, pos, stop)
        return encode_error(plan.api, plan.version, call.correlation_id, data[pos:stop], CLUSTER_AUTHORIZATION_FAILED)

    def introduced(self, name: bytes, version: bytes) -> None:
        state = self.conn.state
        state["kafka:software"] = f"{_text(name)} {_text(version)}"
        state["kafka:client_id"] = _text(self.client_id)

    def authenticating(self, token: bytes, first: bool) -> None:
        if first:
            self._principal = principal(self.mechanism, token)
            self.conn.state["kafka:mechanism"] = self.mechanism

    def authenticated(self, error: int, last: bool) -> None:
        if error:
            self.shared.stats.authentications_total.add("failure")
            self.conn.log.info("the brokers do not take %s as %r", self.mechanism, self._principal)
        elif last:
            self.shared.stats.authentications_total.add("success")
            self.conn.state["kafka:principal"] = self._principal

    def mechanism_refused(self, mechanism: str) -> None:
        self.shared.stats.authentications_total.add("failure")
        self.conn.log.info("the brokers do not take the mechanism %s", mechanism)


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
