"""One connection of a client with a broker, as the observer hears it: counts, and hands on to who knows the API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from l4proxy.filter import Side
from l4proxy.inspector import Conversation, Link
from l4proxy.plugins.kafka.calls import produce_unacknowledged, records_in
from l4proxy.plugins.kafka.exchange import KafkaExchange
from l4proxy.plugins.kafka.plan import ObserverPlan
from l4proxy.plugins.kafka.stats import MechanismStats, PrincipalStats, SoftwareStats
from l4proxy.protocols.kafka.errors import error_name
from l4proxy.protocols.kafka.lone import Lone, LoneCall, LoneSession
from l4proxy.protocols.kafka.sasl import principal, rounds
from l4proxy.protocols.kafka.session import Call
from l4proxy.protocols.kafka.wire import code_of

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.clients import Client
    from l4proxy.plugins.kafka.groups import Group
    from l4proxy.plugins.kafka.inspector import KafkaInspector
    from l4proxy.plugins.kafka.topics import Partition

__all__ = ["KafkaConversation", "ObservedCall"]

ObservedCall = Call[ObserverPlan]

_FOLLOWER = re.compile(rb"broker-\d+-fetcher-\d+")
"""The client id of a broker that replicates from another one."""


class KafkaConversation(LoneSession[ObserverPlan], Conversation):
    """Counts what every request and response has. What the single APIs say is for `calls`."""

    __slots__ = (
        "_failures",
        "_folded",
        "_pending_principal",
        "_principal",
        "_rounds",
        "client",
        "errors",
        "fetched_records",
        "inspector",
        "is_follower",
        "link",
        "produced_records",
        "request_bytes",
        "response_bytes",
        "view",
    )  # fmt: skip

    def __init__(self, inspector: KafkaInspector, link: Link) -> None:
        view = inspector.view
        super().__init__(view.plans, max_frame=inspector.config.max_frame, collect=inspector.collect)
        self.inspector = inspector
        self.view = view
        self.link = link
        self.client: Client = view.clients.nobody
        self.is_follower = False
        self.errors = 0
        self.produced_records = 0
        self.fetched_records = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self._folded = (0, 0, 0)
        """Of requests and bytes, so many are counted for the client, and the principal, already."""
        self._failures: list[int] = []
        """The error codes in the response that is being read."""
        self._principal: PrincipalStats | None = None
        self._pending_principal = ""
        self._rounds = 0
        view.conversations.add(self)
        if link.midway:
            self.seek_requests()
            self.seek_responses()

    # What the session hears

    def called(self, call: ObservedCall) -> None:
        plan = call.plan
        size = call.request_size
        plan.requests += 1
        plan.request_bytes += size
        self.request_bytes += size
        if plan.on_call is not None and call.request is not None:
            plan.on_call(self, call, call.request)

    def answered(self, call: ObservedCall) -> None:
        plan = call.plan
        size = call.response_size
        plan.response_bytes += size
        self.response_bytes += size
        plan.record_seconds(call.seconds)
        response = call.response
        if response is not None:
            if plan.has_throttle and response[0]:
                self._throttled(plan, response[0])
            plan.on_answer(self, call, response)
        if self.inspector.on_exchange is not None:
            self.tell(call)
        if self._failures:
            self._failures.clear()

    def stored(self, call: LoneCall[ObserverPlan], lone: Lone, base_offset: int) -> None:
        """What `answered` does for such a response, in fewer steps."""
        if self.inspector.on_exchange is not None:
            super().stored(call, lone, base_offset)
            return
        plan = call.plan
        size = call.response_size
        plan.response_bytes += size
        self.response_bytes += size
        plan.record_seconds(call.seconds)
        partition: Partition | None = lone.subject
        if partition is None or partition.topic.forgotten:
            partition = lone.subject = self.view.topics.find(lone.name, lone.topic_id).partition(lone.index)
        records = partition.produced(call.summary, base_offset)
        self.produced_records += records
        self.client.stats.produced_records_total += records

    def silent(self, call: ObservedCall) -> None:
        if call.request is not None:
            produce_unacknowledged(self, call, call.request)
        self.tell(call)

    def fold(self) -> None:
        """Count for the client what was counted for the connection."""
        requests, request_bytes, response_bytes = self._folded
        self._folded = (self.requests, self.request_bytes, self.response_bytes)
        stats = self.client.stats
        stats.requests_total += self.requests - requests
        stats.request_bytes_total += self.request_bytes - request_bytes
        stats.response_bytes_total += self.response_bytes - response_bytes
        if self._principal is not None:
            self._principal.requests_total += self.requests - requests

    def tell(self, call: ObservedCall) -> None:
        """Whoever wants exchanges is given this one."""
        on_exchange = self.inspector.on_exchange
        if on_exchange is not None:
            error = error_name(self._failures[0]) if self._failures else ""
            on_exchange(KafkaExchange(self, call, error))

    def notice(self, kind: str, text: str) -> None:
        self.inspector.notice(self.link, self.now, kind, text)

    def failed(self, call: ObservedCall, code: int) -> None:
        """A response has this error code in it."""
        name = error_name(code)
        call.plan.stats.errors_total.add(name)
        self.client.stats.errors_total += 1
        self.errors += 1
        if self._principal is not None:
            self._principal.errors_total += 1
        if len(self._failures) < 10:
            self._failures.append(code)

    def _throttled(self, plan: ObserverPlan, milliseconds: int) -> None:
        plan.stats.throttled_total += 1
        plan.stats.throttled_seconds_total += milliseconds / 1000
        self.client.stats.throttled_total += 1

    def element(self, call: ObservedCall, element: tuple[Any, ...]) -> None:
        call.plan.on_element(self, call, element)

    def identified(self) -> None:
        view = self.view
        client_id = self.client_id or b""
        view.seen(self.now)
        self.fold()
        host = self.link.client.host
        if self.client is view.clients.nobody and view.storms.opened(host, self.now):
            view.stats.connection_storms_total += 1
            self.notice("connection_storm", f"{host} opens more than {view.storms.limit} connections in ten seconds")
        view.clients.leave(self.client, self.now)
        self.client = view.clients.enter(client_id, self.now)
        self.client.host = self.link.client.host
        self.is_follower = _FOLLOWER.match(client_id) is not None
        self.link.state["kafka:client_id"] = self.client.name

    def unreadable(self, call: ObservedCall | None, is_response: bool, error: Exception) -> None:
        code = code_of(error)
        self.view.stats.undecodable_frames_total.add(code)
        if call is not None:
            what = f"a {'response' if is_response else 'request'}: {call.plan.name} version {call.plan.version}"
            self.inspector.notice(self.link, self.now, "undecodable", f"{what}: {error}", error=code)

    def missed(self, call: ObservedCall) -> None:
        self._unanswered(call)

    def unknown_response(self, correlation_id: int, size: int) -> None:
        self.view.stats.unknown_responses_total += 1

    def rebalanced(self, group: Group) -> None:
        """A group has a new generation."""
        self.link.state["kafka:group"] = group.name
        text = f"{group.name}: generation {group.generation}, {len(group.members)} members ({group.reason})"
        self.notice("rebalance", text)

    # Who is it?

    def introduced(self, name: bytes, version: bytes) -> None:
        """The client has told its software."""
        software, number = name.decode(errors="backslashreplace"), version.decode(errors="backslashreplace")
        self.view.registry.group(SoftwareStats, name=software, version=number).connections_total += 1
        self.client.software = self.link.state["kafka:software"] = f"{software} {number}"

    def token(self, data: bytes, is_response: bool) -> None:
        if is_response:
            self.authenticated(0)
        else:
            self.authenticating(data)

    def authenticating(self, token: bytes) -> None:
        """The client sends a token; the first one says who it wants to be."""
        if not self._rounds:
            self._pending_principal = principal(self.mechanism, token)
            self.link.state["kafka:mechanism"] = self.mechanism
        self._rounds += 1

    def authenticated(self, error: int) -> None:
        """The broker has answered a token."""
        if error:
            self._authentication_ended("failure")
        elif self._rounds >= rounds(self.mechanism):
            self._authentication_ended("success")
            self.fold()
            name = self._pending_principal
            self._principal = self.view.registry.group(PrincipalStats, principal=name)
            self._principal.connections_total += 1
            self.client.principal = self.link.state["kafka:principal"] = name

    def refused(self, mechanism: bytes) -> None:
        """The broker does not take this mechanism."""
        self.mechanism = mechanism.decode(errors="backslashreplace")
        self._authentication_ended("failure")

    def _authentication_ended(self, outcome: str) -> None:
        self._rounds = 0
        mechanisms = self.view.registry.group(MechanismStats, mechanism=self.mechanism)
        mechanisms.authentications_total.add(outcome)

    # The end

    def _unanswered(self, call: ObservedCall) -> None:
        self.view.stats.unanswered_requests_total += 1
        self.view.stats.unanswered_records_total += records_in(call)

    def skipped(self, side: Side, size: int) -> None:
        if side is Side.CLIENT:
            self.skipped_request(size)
        else:
            self.skipped_response(size)

    def lost(self, side: Side, size: int | None, at: float) -> bool:
        if side is Side.CLIENT:
            self.lost_requests(size)
        else:
            self.lost_responses(size)
        return True

    def close(self, at: float) -> None:  # type: ignore[override]
        view = self.view
        view.seen(at)
        self.fold()
        if self._rounds:
            self._authentication_ended("failure")
        for call in self.waiting:
            self._unanswered(call)
        view.clients.leave(self.client, at)
        view.conversations.discard(self)
        state = self.link.state
        state["kafka:requests"] = self.requests
        state["kafka:errors"] = self.errors
        state["kafka:produced_records"] = self.produced_records
        state["kafka:fetched_records"] = self.fetched_records
        super().close()
