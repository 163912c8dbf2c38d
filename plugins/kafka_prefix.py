"""``prefix`` for Kafka: tenants that share a cluster and each believe that it is theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.protocols.kafka.apis import APIS, BY_NAME
from l4proxy.protocols.kafka.consumer_protocol import CONSUMER, rename_assignment, rename_subscription
from l4proxy.protocols.kafka.names import (
    COORDINATOR,
    GROUP,
    MESSAGE,
    TOPIC,
    TOPIC_PATTERN,
    TRANSACTIONAL_ID,
    TRANSACTIONAL_ID_PATTERN,
    Decide,
    names_of,
)
from l4proxy.protocols.kafka.splice import Change, Span, encode_bytes
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.stats import Stats, counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["KafkaPrefix", "KafkaPrefixConfig"]

PRINCIPAL = "{principal}"
LEGAL = re.compile(r"[A-Za-z0-9._-]+")
"""What names of topics are made of."""
HIDDEN = frozenset(
    {
        "CreateAcls", "DeleteAcls", "DescribeAcls", "DescribeQuorum", "DescribeTopicPartitions", "ElectLeaders",
        "ShareGroupHeartbeat", "ShareGroupDescribe", "DescribeShareGroupOffsets", "AlterShareGroupOffsets",
        "DeleteShareGroupOffsets", "StreamsGroupHeartbeat", "StreamsGroupDescribe", "WriteTxnMarkers",
    }
)  # fmt: skip
"""What is about the whole cluster, or cannot be told apart by names; clients do without."""
_ANCHOR = re.compile(rb"\\.|\[\^?\]?[^\]]*\]|\^", re.DOTALL)
"""An escape, a set in brackets, or what stands for the beginning of a name."""


def _without_anchor(found: re.Match[bytes]) -> bytes:
    """In a pattern that stands behind a prefix, the beginning of a name is there already."""
    return b"" if found[0] == b"^" else found[0]


@dataclass(frozen=True, slots=True)
class KafkaPrefixConfig:
    prefix: str
    """What the names of a tenant begin with in the cluster: `"billing."`, or `"{principal}."` for whoever has
    authenticated."""
    topics: bool = True
    """Whether topics have it."""
    groups: bool = True
    """Whether consumer groups have it."""
    transactional_ids: bool = True
    """Whether transactional ids have it."""
    common_topics: tuple[str, ...] = ()
    """Topics that all tenants share, under their own names: `["reference-*"]`."""

    def __post_init__(self) -> None:
        text = self.prefix.replace(PRINCIPAL, "x", 1)
        if not LEGAL.fullmatch(text):
            raise ValueError("prefix: names have letters, digits, '.', '_' and '-'")
        if self.prefix.endswith(PRINCIPAL):
            raise ValueError(f"prefix: something has to come behind {PRINCIPAL}, so that a does not see what is ab's")


class KafkaPrefixStats(Stats, subsystem="kafka_prefix"):
    """Names that were given a prefix."""

    requests_total = counter("Requests in which names were changed.")
    hidden_total = counter("Names of others left out of responses.")
    no_tenant_total = counter("Connections closed because the client has no name that can be a prefix.")


class _Shared:
    def __init__(self, config: KafkaPrefixConfig, stats: KafkaPrefixStats) -> None:
        self.stats = stats
        switches = {TOPIC: config.topics, GROUP: config.groups, TRANSACTIONAL_ID: config.transactional_ids}
        self.kinds = frozenset(kind for kind, on in switches.items() if on)
        self.common = Patterns(config.common_topics)
        self._before, self._by_principal, self._behind = config.prefix.partition(PRINCIPAL)

    def prefix(self, principal: str) -> bytes | None:
        """The prefix of a client's names; None where there is none. Of no two principals does one begin as the
        other."""
        if not self._by_principal:
            return self._before.encode()
        if not LEGAL.fullmatch(principal) or set(principal) & set(self._behind):
            return None
        return f"{self._before}{principal}{self._behind}".encode()


class _Names:
    """The names of one tenant."""

    def __init__(self, shared: _Shared, prefix: bytes) -> None:
        self.prefix = prefix
        self._kinds = shared.kinds
        self._common = shared.common
        self._stats = shared.stats
        self._pattern = b"\\Q" + prefix + b"\\E(?:"
        """How a pattern begins that only matches names with the prefix (RE2)."""

    def add(self, kind: str, name: bytes) -> bytes:
        """What the cluster calls it."""
        if kind in self._kinds:
            return name if kind == TOPIC and self._is_common(name) else self.prefix + name
        if name and ((kind == TOPIC_PATTERN and TOPIC in self._kinds)
                     or (kind == TRANSACTIONAL_ID_PATTERN and TRANSACTIONAL_ID in self._kinds)):  # fmt: skip
            return self._pattern + _ANCHOR.sub(_without_anchor, name) + b")"
        return name

    def strip(self, kind: str, name: bytes) -> bytes | None:
        """What the tenant calls it; None: it is another's."""
        if kind in self._kinds:
            if name.startswith(self.prefix):
                return name[len(self.prefix) :]
            if kind == TOPIC and self._is_common(name):
                return name
            self._stats.hidden_total += 1
            return None
        if kind in (TOPIC_PATTERN, TRANSACTIONAL_ID_PATTERN):
            return name[len(self._pattern) : -1] if name.startswith(self._pattern) else name
        if kind == MESSAGE:
            return name.replace(self.prefix, b"")
        return name

    def _is_common(self, name: bytes) -> bool:
        return self._common.matches(name.decode(errors="replace"))


class KafkaPrefix(KafkaFilter[KafkaPrefixConfig]):
    """Give the topics, groups and transactional ids of a tenant a prefix in the cluster, of which it knows nothing.

    Names get it in requests and lose it in responses, wherever they stand, and what is another tenant's is in no list.
    """

    name = "prefix"
    hides = HIDDEN
    shared: _Shared

    @classmethod
    def provision(cls, config: KafkaPrefixConfig, server: Server) -> _Shared:
        return _Shared(config, server.stats.group(KafkaPrefixStats))

    @classmethod
    def wanted(cls, config: KafkaPrefixConfig) -> frozenset[str]:
        return _WANTED

    @classmethod
    def goes_by_names(cls, config: KafkaPrefixConfig) -> bool:
        return config.topics

    def __init__(self) -> None:
        self._principal: str | None = None
        self._names: _Names | None = None

    def on_request(self, request: KafkaRequest) -> KafkaRequest | None:
        names = self._tenant()
        if names is None:
            self.shared.stats.no_tenant_total += 1
            self.conn.log.warning("the principal %r can be no prefix of names", self._principal)
            self.conn.close("no_tenant")
            return None
        request.state[self.key("names")] = names
        kinds: set[str] = set()

        def add(kind: str, name: bytes) -> bytes:
            kinds.add(kind)
            return names.add(kind, name)

        changed = request.splice_if(_renamed(request, "request", add))
        if request.kind == "FindCoordinator" and kinds:
            request.state[self.key("coordinator")] = kinds.pop()
        if request.kind in _EMBEDDED["request"]:
            changed |= request.splice_if(_embedded(request, "request", names.add))
        self.shared.stats.requests_total += changed
        if not names_of(request.api, request.version, "response") and request.kind not in _EMBEDDED["response"]:
            self.ignore_response(request)
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        request = response.request
        names: _Names = request.state[self.key("names")]
        coordinator = request.state.get(self.key("coordinator"), "")

        def strip(kind: str, name: bytes) -> bytes | None:
            return names.strip(coordinator if kind == COORDINATOR else kind, name)

        response.splice_if(_renamed(response, "response", strip))
        if request.kind in _EMBEDDED["response"]:
            response.splice_if(_embedded(response, "response", strip))
        return response

    def _tenant(self) -> _Names | None:
        principal = str(self.conn.state.get("kafka:principal", ""))
        if principal != self._principal:
            self._principal = principal
            prefix = self.shared.prefix(principal)
            self._names = None if prefix is None else _Names(self.shared, prefix)
        return self._names


def _renamed(message: KafkaRequest | KafkaResponse, kind: str, decide: Decide) -> list[Change]:
    request = message if isinstance(message, KafkaRequest) else message.request
    names = names_of(request.api, request.version, kind)
    data, at = message.frame, message.at
    return message.read(lambda: names.decide(data, at, len(data), decide)).changes


def _embedded(message: KafkaRequest | KafkaResponse, kind: str, decide: Decide) -> list[Change]:
    """What members of classic groups tell each other has names in it, too."""
    request = message if isinstance(message, KafkaRequest) else message.request
    data, at = message.frame, message.at
    walker = _EMBEDDED[kind][request.kind]
    read = message.read(lambda: walker.whole(request.version)(data, at, len(data)))
    flexible = request.api.is_flexible(request.version)
    changes: list[Change] = []
    for is_assignment, span, content in _contents(request.kind, kind, read):
        if content:
            new = (rename_assignment if is_assignment else rename_subscription)(content, decide)
            if new != content:
                changes.append((*span, encode_bytes(new, flexible=flexible)))
    return changes


def _contents(name: str, kind: str, read: tuple[Any, ...]) -> Iterator[tuple[bool, Span, bytes]]:
    """Whether it is an assignment, where it lies, and its bytes: one after the other."""
    if name == "DescribeGroups":
        for protocol_type, members in read[0] or ():
            for metadata_span, metadata, assignment_span, assignment in members if protocol_type == CONSUMER else ():
                yield False, metadata_span, metadata
                yield True, assignment_span, assignment
    elif read[0] not in (None, CONSUMER):  # old versions do not say; what is no subscription stays as it is
        return
    elif (name, kind) == ("SyncGroup", "response"):
        yield True, read[1], read[2]
    else:
        for span, content in read[1] or ():
            yield name == "SyncGroup", span, content


_MEMBER = "member_metadata@ member_metadata member_assignment@ member_assignment"
_EMBEDDED = {
    "request": {
        "JoinGroup": Walker(BY_NAME["JoinGroup"].request, "protocol_type protocols(metadata@ metadata)"),
        "SyncGroup": Walker(BY_NAME["SyncGroup"].request, "protocol_type assignments(assignment@ assignment)"),
    },
    "response": {
        "JoinGroup": Walker(BY_NAME["JoinGroup"].response, "protocol_type members(metadata@ metadata)"),
        "SyncGroup": Walker(BY_NAME["SyncGroup"].response, "protocol_type assignment@ assignment"),
        "DescribeGroups": Walker(BY_NAME["DescribeGroups"].response, f"groups(protocol_type members({_MEMBER}))"),
    },
}
_WANTED = frozenset(
    api.name
    for api in APIS.values()
    if api.is_declared
    and any(names_of(api, version, kind) for version in (api.first, api.last) for kind in ("request", "response"))
)
"""All that name something."""


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(KafkaPrefix)
