"""``topic_rules`` for Kafka: who may do what with which topics, groups and transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from l4proxy.config.types import Network
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.networks import NetworkSet
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.plugins.kafka_proxy.refusing import complete, is_refused_in_part, refuse
from l4proxy.protocols.kafka.apis import APIS
from l4proxy.protocols.kafka.names import GROUP, TOPIC, TRANSACTIONAL_ID, names_of
from l4proxy.protocols.kafka.refusal import (
    CLUSTER_AUTHORIZATION_FAILED,
    GROUP_AUTHORIZATION_FAILED,
    TOPIC_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
from l4proxy.stats import Stats, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["KafkaTopicRules", "KafkaTopicRulesConfig"]

Operation = Literal["read", "write", "create", "delete", "alter", "describe"]
OPERATIONS: dict[str, str] = {
    "Produce": "write", "AddPartitionsToTxn": "write", "InitProducerId": "write", "EndTxn": "write",
    "Fetch": "read", "OffsetCommit": "read", "TxnOffsetCommit": "read", "AddOffsetsToTxn": "read",
    "JoinGroup": "read", "SyncGroup": "read", "Heartbeat": "read", "LeaveGroup": "read",
    "ConsumerGroupHeartbeat": "read", "CreateTopics": "create", "DeleteTopics": "delete", "DeleteRecords": "delete",
    "DeleteGroups": "delete", "OffsetDelete": "delete", "CreatePartitions": "alter", "AlterConfigs": "alter",
    "IncrementalAlterConfigs": "alter", "AlterPartitionReassignments": "alter", "ElectLeaders": "alter",
    "AlterReplicaLogDirs": "alter",
}  # fmt: skip
"""What APIs do; all others describe."""
CODES = {
    TOPIC: TOPIC_AUTHORIZATION_FAILED,
    GROUP: GROUP_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID: TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
LISTINGS = {
    "Metadata", "DescribeTopicPartitions", "ListGroups", "ListTransactions", "OffsetFetch", "DescribeLogDirs",
    "ElectLeaders", "ListPartitionReassignments", "DescribeTransactions", "ListConfigResources", "DescribeAcls",
}  # fmt: skip
"""APIs whose responses may name what was not asked for by name."""
KNOWN_LIMIT = 1000
"""Decisions that are remembered of a connection."""


@dataclass(frozen=True, slots=True)
class TopicPolicy:
    """What is meant: whatever fulfils every option that is written, of each list one item. A star in a pattern stands
    for any text. One with neither ``topics``, ``groups`` nor ``transactional_ids`` is about all of them; else only
    about those that it has patterns for."""

    topics: tuple[str, ...] = ()
    """Topics: `["orders", "logs-*"]`."""
    groups: tuple[str, ...] = ()
    """Consumer groups."""
    transactional_ids: tuple[str, ...] = ()
    """Transactional ids of producers."""
    operations: tuple[Operation, ...] = ()
    """`read`, `write`, `create`, `delete`, `alter`, `describe`. Whoever is allowed one of them may describe, too."""
    principals: tuple[str, ...] = ()
    """Who has authenticated with the brokers; nobody else has a name."""
    client_ids: tuple[str, ...] = ()
    """What clients call themselves."""
    source: tuple[Network, ...] = ()
    """The client's address, or the one that a PROXY header names."""


@dataclass(frozen=True, slots=True)
class KafkaTopicRulesConfig:
    example: ClassVar[str] = (
        '{ use = "topic_rules", action = "allow", policies = { l = { topics = ["logs-*"], operations = ["read"] } } }'
    )

    action: Literal["allow", "deny"]
    """`allow`: what fulfils a policy may be done, and nothing else. `deny`: what fulfils one may not. Topics, groups or
    transactional ids that no policy is about are not restricted."""
    policies: Mapping[str, TopicPolicy]
    """By name, tried in order."""
    shadow: bool = False
    """Only count what would be denied."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("policies: write at least one")


class KafkaTopicRulesStats(Stats, subsystem="kafka_topic_rules", labels=("name",)):
    """Names in requests, as they are decided about: once for each on a connection, until the client is another."""

    allowed_total = labelled_counter("Uses of a topic, group or transactional id allowed, by policy.", label="policy")
    denied_total = labelled_counter("Uses denied, by policy (none: no policy allowed it).", label="policy")
    shadow_denied_total = labelled_counter("Uses that would have been denied.", label="policy")
    refused_requests_total = labelled_counter("Requests refused, or in part.", label="api")


class Client(NamedTuple):
    """Who asks."""

    principal: str
    client_id: str
    source: str


class _Policy:
    def __init__(self, name: str, config: TopicPolicy) -> None:
        self.name = name
        lists = {TOPIC: config.topics, GROUP: config.groups, TRANSACTIONAL_ID: config.transactional_ids}
        self.patterns = {kind: Patterns(patterns) for kind, patterns in lists.items() if patterns}
        """What it is about; empty: everything."""
        self._operations = frozenset[str](config.operations)
        self._principals = Patterns(config.principals) if config.principals else None
        self._client_ids = Patterns(config.client_ids) if config.client_ids else None
        self._source = NetworkSet(config.source) if config.source else None

    def is_about(self, kind: str) -> bool:
        return not self.patterns or kind in self.patterns

    def fulfilled(self, kind: str, name: str, operation: str, client: Client, *, allows: bool) -> bool:
        if self._operations and operation not in self._operations and not (allows and operation == "describe"):
            return False
        if self.patterns and not (kind in self.patterns and self.patterns[kind].matches(name)):
            return False
        if self._principals is not None and not (client.principal and self._principals.matches(client.principal)):
            return False
        if self._client_ids is not None and not self._client_ids.matches(client.client_id):
            return False
        return self._source is None or client.source in self._source


class _Rules:
    def __init__(self, config: KafkaTopicRulesConfig, stats: KafkaTopicRulesStats) -> None:
        self.stats = stats
        self._allows = config.action == "allow"
        self._policies = [_Policy(name, policy) for name, policy in config.policies.items()]
        self.kinds = frozenset(kind for kind in CODES if any(policy.is_about(kind) for policy in self._policies))
        """What is restricted."""

    def decide(self, kind: str, name: str, operation: str, client: Client) -> tuple[bool, str]:
        for policy in self._policies:
            if policy.fulfilled(kind, name, operation, client, allows=self._allows):
                return self._allows, policy.name
        return not self._allows, "none"


def wanted_apis() -> frozenset[str]:
    """All that clients use and that name something."""
    return frozenset(
        api.name
        for api in APIS.values()
        if api.is_declared
        and (names_of(api, api.last, "request") or names_of(api, api.first, "request") or api.name in LISTINGS)
    )


class KafkaTopicRules(KafkaFilter[KafkaTopicRulesConfig]):
    """Allow or deny topics, groups and transactional ids, by who asks and what for.

    What is denied gets the error that Kafka's own access control has, in its place, and is left out of lists that
    nobody asked for by name; the rest of a request goes to the broker.
    """

    name = "topic_rules"
    hides = frozenset({"StreamsGroupHeartbeat", "StreamsGroupDescribe"})
    shared: _Rules

    @classmethod
    def provision(cls, config: KafkaTopicRulesConfig, server: Server) -> _Rules:
        return _Rules(config, server.stats.group(KafkaTopicRulesStats, name=config.name))

    @classmethod
    def wanted(cls, config: KafkaTopicRulesConfig) -> frozenset[str]:
        return wanted_apis()

    @classmethod
    def goes_by_names(cls, config: KafkaTopicRulesConfig) -> bool:
        return True

    def __init__(self) -> None:
        self._who: tuple[object, bytes] | None = None
        self._client = Client("", "", "")
        self._known: dict[tuple[str, bytes, str], int] = {}
        """The error codes of what was asked for, with the operation; of the client that is there now."""

    def on_request(self, request: KafkaRequest) -> KafkaRequest | None:
        who = (self.conn.state.get("kafka:principal", ""), request.client_id)
        if who != self._who or len(self._known) > KNOWN_LIMIT:
            self._who = who
            self._client = Client(str(who[0]), request.client_id.decode(errors="replace"), self.conn.client.host)
            self._known.clear()
        operation = OPERATIONS.get(request.kind, "describe")
        if request.kind == "ElectLeaders" and self._is_of_all_topics(request):
            self.shared.stats.refused_requests_total.add(request.kind)
            self.reply(request, KafkaResponse.error(request, CLUSTER_AUTHORIZATION_FAILED))
            return None
        passed = refuse(self, request, lambda kind, name: self._code(kind, name, operation))
        if passed is None or is_refused_in_part(self, request):
            self.shared.stats.refused_requests_total.add(request.kind)
        elif request.kind not in LISTINGS:
            self.ignore_response(request)
        return passed

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        request = response.request
        if request.kind in LISTINGS and not self.config.shadow:
            names = names_of(request.api, request.version, "response")

            def decide(kind: str, name: bytes) -> bytes | None:
                return None if self._code(kind, name, "describe") else name

            data, at = response.frame, response.at
            named = response.read(lambda: names.decide(data, at, len(data), decide))
            if named.changes:
                response.splice(named.changes)
        complete(self, response)
        return response

    def _is_of_all_topics(self, request: KafkaRequest) -> bool:
        return TOPIC in self.shared.kinds and not self.config.shadow and request.values["topic_partitions"] is None

    def _code(self, kind: str, name: bytes, operation: str) -> int:
        """Kafka's error code for what is denied; 0 for what is allowed."""
        key = (kind, name, operation)
        code = self._known.get(key)
        if code is None:
            code = self._known[key] = self._decide(kind, name, operation)
        return code

    def _decide(self, kind: str, name: bytes, operation: str) -> int:
        rules = self.shared
        if kind not in rules.kinds:
            return 0
        allowed, policy = rules.decide(kind, name.decode(errors="replace"), operation, self._client)
        if allowed:
            rules.stats.allowed_total.add(policy)
            return 0
        if self.config.shadow:
            rules.stats.shadow_denied_total.add(policy)
            return 0
        rules.stats.denied_total.add(policy)
        self.conn.log.info("%s of %s %r is denied (policy %s)", operation, kind, name.decode(errors="replace"), policy)
        return CODES[kind]


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(KafkaTopicRules)
