"""One client's connection to one broker, as the proxy follows it.

A client that means a broker whose address is not known, where brokers tell nobody but those who authenticate, is
connected to any other. There it can do what every broker answers alike: ask for versions, authenticate, ask for
Metadata. When it wants more, and still nothing has told where its broker is, the question is asked in its name. Then
the connection turns out to be the right one and goes on, or it is closed; the client comes again, and is led to its
broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.filter import Side
from l4proxy.plugins.kafka_proxy.front import Front
from l4proxy.plugins.kafka_proxy.pinned import CLUSTER
from l4proxy.plugins.kafka_proxy.question import ASK_FOR_BROKERS, METADATA_VERSION, OWN_ID
from l4proxy.plugins.kafka_proxy.shared import ANYWHERE, Shared
from l4proxy.protocols.detect import DETECTORS
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.relay import Relay
from l4proxy.protocols.kafka.relay_plan import RelayedCall
from l4proxy.protocols.kafka.sasl import principal
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.endpoint import EndpointSpec
    from l4proxy.filter import Conn
    from l4proxy.plugins.kafka_proxy.places import Places

__all__ = ["CROWDED", "ProxySession"]

OTHER_PROTOCOLS = {"http", "ssh", "proxy_protocol", *DETECTORS} - {"kafka", "tls"}
"""What is recognised where Kafka is expected."""
ASK_PLAN = METADATA.key << 16 | METADATA_VERSION
# Why a client is not read.
CROWDED = 1
ASKING = 2
FILTERS = 4
# Where a connection is.
UNKNOWN = 0
HERE = 1
ELSEWHERE = 2


class ProxySession(Relay):
    """``elsewhere``: the connection may be to another broker than the client has meant. Then ``endpoint`` is set when
    it is there."""

    __slots__ = (
        "_front",
        "_held",
        "_paused",
        "_principal",
        "conn",
        "elsewhere",
        "ending",
        "endpoint",
        "index",
        "places",
        "shared",
    )

    def __init__(self, shared: Shared, conn: Conn, places: Places, index: int, *, elsewhere: bool) -> None:
        config = shared.config
        super().__init__(
            shared.plans_elsewhere if elsewhere else shared.plans,
            shared.versions,
            places.views[index],
            max_frame=config.max_frame,
            max_message=config.max_message,
        )
        self.shared = shared
        self.conn = conn
        self.places = places
        self.index = index
        """Which of the clusters the connection is to."""
        self.elsewhere = elsewhere
        self.endpoint: EndpointSpec | None = None
        self.ending: CloseReason | None = None
        """The connection is to end, behind what has gone to the client."""
        self._paused = 0
        """Why the client is not read."""
        if shared.config.routes:
            conn.state[CLUSTER] = index
        self._front = Front(self, shared.filters) if shared.filters else None
        self._held: tuple[RelayedCall, bytes, int] | None = None
        """The request for which a client that is elsewhere has to be with its own broker."""
        self._principal = ""

    def to_client(self, data: bytes) -> None:
        self.conn.send_client(data)

    def to_broker(self, data: bytes) -> None:
        self.conn.send_upstream(data)

    # Keeping the client waiting

    def pause(self, why: int) -> None:
        """Do not read the client for now; but for `CROWDED`, look at nothing more that it has sent."""
        if not self._paused:
            self.conn.pause(Side.CLIENT)
        self._paused |= why
        if why != CROWDED:
            self.hold()

    def resume(self, why: int) -> None:
        """That is no reason any more."""
        if not self._paused & why:
            return
        self._paused &= ~why
        if not self._paused & ~CROWDED and self.ending is None:
            try:
                self.go_on()
            except RemoteProtocolError as error:
                self.broken("client", error)
        if not self._paused:
            self.conn.resume(Side.CLIENT)

    def filters_blocked(self, blocked: bool) -> None:
        """A message filter holds something, or there is enough that it waits for."""
        if blocked:
            self.pause(FILTERS)
        else:
            self.resume(FILTERS)

    def stalled(self, stalled: bool) -> None:
        if stalled:
            self.conn.pause(Side.UPSTREAM)
        else:
            self.conn.resume(Side.UPSTREAM)

    # Finding the right broker

    def asked(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        if self.elsewhere and call.plan.key not in ANYWHERE:
            where = self._where()
            if where == UNKNOWN:
                self._held = (call, data[start:stop], pos - start)
                self.pause(ASKING)
                self.expect(RelayedCall(self.shared.plans[ASK_PLAN], OWN_ID), before=call)
                return ASK_FOR_BROKERS
            if not self._settle(where):
                return b""
        return self._show(call, data, start, pos, stop)

    def answered(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> None:
        if self._front is not None and call.subject is not None:
            self._front.answered(call, data, start, pos, stop)
            return
        if self._held is None or call.correlation_id != OWN_ID:
            self.give(call, data[start:stop])
            return
        (held, request, at), self._held = self._held, None
        self.give(call, b"")
        if self._settle(self._where()):
            self.to_broker(self._show(held, request, 0, at, len(request)))
            self.resume(ASKING)

    def _show(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        """A request goes to the broker, unless message filters have something to say to it."""
        if self._front is None or not self.shared.shows(call.plan.key):
            return data[start:stop]
        return self._front.asked(call, data, start, pos, stop)

    def _where(self) -> int:
        """Where the connection is, by what is known now."""
        number = self.places.node(self.conn)
        if number is None:
            return UNKNOWN
        index, node = self.places.fleet.split(number)
        brokers = self.places.fleet.brokers[index]
        if brokers.address(node) is None:
            return UNKNOWN
        assert self.endpoint is not None
        return HERE if index == self.index and brokers.is_at(self.endpoint, node) else ELSEWHERE

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

    # The end

    def broken(self, who: str, error: RemoteProtocolError) -> None:
        """What ``who`` (``client``, ``upstream``) has sent cannot go on."""
        self.shared.stats.protocol_errors_total.add(error.code)
        self.conn.log.warning("%s: %s", who, error)
        other = error.code in OTHER_PROTOCOLS
        reason = CloseReason(who, "relay", "not_kafka" if other else error.code, message=str(error))
        self.conn.close(reason, reset=who == "upstream")

    def closed(self, reason: CloseReason) -> None:
        """The connection is over."""
        if self._front is not None:
            self._front.close(reason)
            self._front = None
        self.close()

    # What is seen of the client

    def refused(self, call: RelayedCall, data: bytes, pos: int, stop: int) -> bytes:
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
            self._authenticated("failure")
            self.conn.log.info("the brokers do not take %s as %r", self.mechanism, self._principal)
        elif last:
            self._authenticated("success")
            self.conn.state["kafka:principal"] = self._principal

    def mechanism_refused(self, mechanism: str) -> None:
        self._authenticated("failure")
        self.conn.log.info("the brokers do not take the mechanism %s", mechanism)

    def _authenticated(self, outcome: str) -> None:
        self.shared.stats.authentications_total.add(outcome)
        self.conn.state["kafka:authentication"] = outcome


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
