"""One client's requests that are about several clusters: parted, asked of each, and the answers made one.

The part for the cluster that the connection is to goes to its broker, in its place among all other requests; the others
are asked on lines of the proxy's own (`asking`), at the same time. A cluster that is not reached is answered for, with
an error that clients take for passing, so that it does not take the others with it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.config.types import ClusterName
from l4proxy.logging_setup import once_per
from l4proxy.plugins.kafka_proxy.asking import NoAnswer, lines_of
from l4proxy.plugins.kafka_proxy.message import BadMessage, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.routing import ROUTED
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.addresses import rewrite_of
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.merging import merge
from l4proxy.protocols.kafka.metadata_merging import MetadataMerger
from l4proxy.protocols.kafka.names import GROUP, TOPIC, TOPIC_ID, names_of
from l4proxy.protocols.kafka.refusal import TOPIC_AUTHORIZATION_FAILED, encode_error
from l4proxy.protocols.kafka.splice import frame, splice
from l4proxy.protocols.kafka.wire import UNREADABLE, skip_tags
from l4proxy.turns import in_turns

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.plugins.kafka_proxy.session import ProxySession

__all__ = ["Router", "marked"]

TIMEOUT = 30.0
"""Seconds that another cluster may take to answer."""
LOG_PAUSE = 10.0
LEADER_NOT_AVAILABLE = 5
REQUEST_TIMED_OUT = 7
COORDINATOR_NOT_AVAILABLE = 15
INVALID_REPLICA_ASSIGNMENT = 39
_CHANGES = {"AlterConfigs", "CreatePartitions", "CreateTopics", "DeleteTopics", "IncrementalAlterConfigs"}
_UNREACHABLE = {"Metadata": LEADER_NOT_AVAILABLE, "FindCoordinator": COORDINATOR_NOT_AVAILABLE}
_SIZE = 4
_ELEMENTS = {
    "AlterConfigs": "resources", "CreatePartitions": "topics", "CreateTopics": "topics", "DescribeConfigs": "resources",
    "IncrementalAlterConfigs": "resources",
}  # fmt: skip
"""Lists whose elements are each about one cluster, by API."""
_TO_ALL = {"DescribeCluster", "Metadata"}
# Types of resources that have a configuration.
_TOPIC_CONFIG = 2
_BROKER_CONFIGS = {4, 8}
_GROUP_CONFIG = 32

Part = Callable[[str, bytes], bytes | None]


class _Parted:
    """A request of which some parts are not answered yet."""

    def __init__(self, parts: Mapping[int, bytes]) -> None:
        self.missing = set(parts)
        self.bodies: dict[int, bytes] = {}
        """Of responses, by cluster."""


class Router:
    """``respond(request, response)`` is called once for each request that was given to ``forward``."""

    def __init__(self, session: ProxySession, respond: Callable[[KafkaRequest, KafkaResponse], object]) -> None:
        self._session = session
        self._respond = respond
        self._fleet = session.places.fleet
        self._routes = session.shared.routes
        self._here = session.index
        self._waiting: dict[KafkaRequest, _Parted] = {}

    def takes(self, request: KafkaRequest) -> bool:
        return request.kind in ROUTED

    def forward(self, request: KafkaRequest) -> bytes:
        """Return what goes to the client's broker; empty: nothing does."""
        if request.kind == "InitProducerId":
            return request.frame
        parts = self._parts(request)
        if parts is None:
            self._respond(request, KafkaResponse.error(request, INVALID_REPLICA_ASSIGNMENT))
            return b""
        self._waiting[request] = _Parted(parts)
        for index, part in parts.items():
            if index != self._here:
                self._session.conn.spawn(self._ask(request, index, part))
        return parts.get(self._here, b"")

    def answered(self, request: KafkaRequest, response: KafkaResponse) -> None:
        """The client's broker has answered its part."""
        response.request = request
        if request.kind == "InitProducerId":
            self._session.conn.spawn(self._mark(request, response))
        else:
            self._add(request, self._here, response.body)

    def close(self) -> None:
        self._waiting.clear()

    # Parts

    def _parts(self, request: KafkaRequest) -> dict[int, bytes] | None:
        """What is asked of which cluster; None where it cannot be asked of any."""
        if request.kind in _ELEMENTS:
            return self._by_elements(request, _ELEMENTS[request.kind])
        named: set[int] = set()
        for_all = request.kind in _TO_ALL

        def note(kind: str, name: bytes) -> bytes:
            named.add(self._where(kind, name))
            return name

        self._decide(request, note)
        indices = range(len(self._fleet)) if for_all else sorted(named or {self._here})
        if len(indices) == 1 or not named:
            return dict.fromkeys(indices, request.frame)
        return {index: self._decide(request, self._only(index)) for index in indices}

    def _where(self, kind: str, name: bytes) -> int:
        found = self._routes.find(kind, name)
        return self._here if found is None else found

    def _only(self, index: int) -> Part:
        return lambda kind, name: name if kind == TOPIC_ID or self._where(kind, name) == index else None

    def _decide(self, request: KafkaRequest, decide: Part) -> bytes:
        """The request with those names only that stay."""
        data, at = request.frame, request.at
        names = names_of(request.api, request.version, "request")
        named = request.read(lambda: names.decide(data, at, len(data), decide))
        return frame(data, _SIZE, len(data), named.changes)

    def _by_elements(self, request: KafkaRequest, field: str) -> dict[int, bytes] | None:
        api, version = request.api, request.version
        values = request.read(lambda: plain.decode(api.request, version, request.body))
        parted: dict[int, list[Any]] = {}
        for element in values[field] or ():
            index = self._cluster_of(element)
            try:
                local = self._renumbered(element, index)
            except ValueError:
                return None
            parted.setdefault(index, []).append(local)
        if not parted:
            return {self._here: request.frame}
        head = request.frame[: request.at]
        return {
            index: _sized(head, plain.encode(api.request, version, {**values, field: elements}))
            for index, elements in parted.items()
        }

    def _cluster_of(self, element: Mapping[str, Any]) -> int:
        if "resource_type" not in element:
            return self._where(TOPIC, _bytes(element["name"]))
        kind, name = element["resource_type"], element["resource_name"]
        if kind in _BROKER_CONFIGS and name.isdecimal():
            return self._fleet.split(int(name))[0]
        named = {_TOPIC_CONFIG: TOPIC, _GROUP_CONFIG: GROUP}.get(kind, "")
        return self._where(named, _bytes(name))

    def _renumbered(self, element: dict[str, Any], index: int) -> dict[str, Any]:
        """As the cluster numbers its brokers. Raises ValueError where it has none of that number."""
        if element.get("resource_type") in _BROKER_CONFIGS and element["resource_name"].isdecimal():
            return {**element, "resource_name": str(self._fleet.split(int(element["resource_name"]))[1])}
        if not element.get("assignments"):
            return element
        assignments = []
        for one in element["assignments"]:
            places = [self._fleet.split(number) for number in one["broker_ids"]]
            if any(where != index for where, _ in places):
                raise ValueError("a broker of another cluster")
            assignments.append({**one, "broker_ids": [node for _, node in places]})
        return {**element, "assignments": assignments}

    # Answers

    async def _ask(self, request: KafkaRequest, index: int, part: bytes) -> None:
        session, cluster = self._session, self._fleet.clusters[index]
        if cluster.name in session.shared.config.logins and (why := self._not_in_our_name(request)):
            text = f"cluster {cluster.name}: {why}"
            self._add(request, index, self._no_answer(request, part, text, TOPIC_AUTHORIZATION_FAILED))
            return
        try:
            answer = await self._answer_of(cluster, part)
            body = self._rewritten(request, index, answer)
        except (NoAnswer, *UNREADABLE) as error:
            session.shared.stats.unanswered_parts_total.add(cluster.name)
            if times := once_per(LOG_PAUSE, f"router {cluster.name}"):
                session.conn.log.warning("%s of cluster %s: %s (%d times)", request.kind, cluster.name, error, times)
            body = self._no_answer(request, part, f"cluster {cluster.name}: {error}")
        self._add(request, index, body)

    async def _answer_of(self, cluster: Cluster, question: bytes) -> bytes:
        """Raises NoAnswer."""
        config = self._session.shared.config
        login = config.logins.get(ClusterName(cluster.name))
        return await lines_of(cluster, login).ask(question, config.max_message, TIMEOUT)

    def _not_in_our_name(self, request: KafkaRequest) -> str:
        """Why a cluster that knows the proxy by a login of its own is not asked: what it answers is for the proxy, and
        not for whoever may connect to it; empty, where it is."""
        if self._session.conn.state.get("kafka:authentication") != "success":
            return "nobody is asked for clients that have not authenticated"
        if request.kind in _CHANGES:
            return f"{request.kind} is not done in the name of the proxy; connect to that cluster for it"
        return ""

    def _rewritten(self, request: KafkaRequest, index: int, answer: bytes) -> bytes:
        """The body of an answer, with the addresses that clients are told."""
        api, version = request.api, request.version
        pos = skip_tags(answer, 4) if api.response_header(version) else 4
        rewrite = rewrite_of(api, version)
        view = self._session.places.views[index]
        changes = rewrite.changes(answer, pos, len(answer), view) if rewrite is not None else []
        return splice(answer, pos, len(answer), changes)

    def _no_answer(self, request: KafkaRequest, part: bytes, why: str, code: int = 0) -> bytes:
        """What stands in for an answer: an error for each thing that was asked for."""
        api, version = request.api, request.version
        code = code or _UNREACHABLE.get(api.name, REQUEST_TIMED_OUT)
        encoded = encode_error(api, version, request.correlation_id, part[request.at :], code, why)
        return encoded[_body_at(request) :]

    def _add(self, request: KafkaRequest, index: int, body: bytes) -> None:
        parted = self._waiting.get(request)
        if parted is None:
            return
        parted.bodies[index] = body
        parted.missing.discard(index)
        if parted.missing:
            return
        del self._waiting[request]
        if request.kind == "Metadata":
            self._session.conn.spawn(self._merge_metadata(request, parted.bodies))
        else:
            self._guarded(lambda: self._merge(request, parted.bodies))

    def _merge(self, request: KafkaRequest, bodies: dict[int, bytes]) -> None:
        """The first cluster tells what is said once."""
        api, version = request.api, request.version
        body: bytes | None = None
        for index in sorted(bodies):
            one = bodies[index]
            if "resources" in _ELEMENTS.get(request.kind, ""):
                one = self._name_brokers(request, index, one)
            body = one if body is None else merge(api, version, body, one)
        self._respond(request, _response(request, body or b""))

    def _name_brokers(self, request: KafkaRequest, index: int, body: bytes) -> bytes:
        schema, version = request.api.response, request.version
        values = plain.decode(schema, version, body)
        (field,) = (name for name in ("results", "responses") if name in values)
        changed = False
        for element in values[field]:
            if element["resource_type"] in _BROKER_CONFIGS and element["resource_name"].isdecimal():
                element["resource_name"] = str(self._fleet.number(index, int(element["resource_name"])))
                changed = True
        return plain.encode(schema, version, values) if changed else body

    async def _merge_metadata(self, request: KafkaRequest, bodies: dict[int, bytes]) -> None:
        merger = MetadataMerger(request.version)
        try:
            for index in sorted(bodies):
                number = self._session.places.views[index].number
                steps = merger.add(bodies[index], number, self._has(index), is_first=index == min(bodies))
                async for _ in in_turns(steps):
                    pass
            response = _response(request, merger.body())
        except UNREADABLE as error:
            self._session.broken("upstream", BadMessage("upstream", f"Metadata: {error}", code="undecodable"))
            return
        self._respond(request, response)

    def _has(self, index: int) -> Callable[[bytes], bool]:
        find = self._routes.find
        return lambda name: find(TOPIC, name) == index

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (LocalProtocolError, RemoteProtocolError, *UNREADABLE) as error:
            text = f"an answer cannot be read: {error}"
            self._session.broken("upstream", BadMessage("upstream", text, code="undecodable"))

    # Producers

    async def _mark(self, request: KafkaRequest, response: KafkaResponse) -> None:
        """An idempotent producer has its id from one cluster and uses it at all of them (`marked`)."""
        if request.values["transactional_id"] is None:
            producer_id = response.values["producer_id"]
            if producer_id >= 0:
                mark = await self._cluster_id()
                response.values = {**response.values, "producer_id": marked(producer_id, mark)}
        self._respond(request, response)

    async def _cluster_id(self) -> bytes:
        """That which the cluster of this connection has given itself, or what comes nearest to it."""
        cluster = self._fleet.clusters[self._here]
        brokers = self._fleet.brokers[self._here]
        if not brokers.cluster_id:
            try:
                answer = await self._answer_of(cluster, plain.request(METADATA, VERSION_WITH_ID, {"topics": []}))
                told = plain.decode(METADATA.response, VERSION_WITH_ID, answer, 4)
                brokers.cluster_id = _bytes(told["cluster_id"] or "")
            except (NoAnswer, *UNREADABLE):
                return cluster.name.encode()
        return brokers.cluster_id


MARK = 1 << 62
VERSION_WITH_ID = 2
"""The first of Metadata that tells the id of the cluster."""
COUNTED = 48
"""Bits of a producer id that a cluster counts with."""


def marked(producer_id: int, cluster_id: bytes) -> int:
    """The id of an idempotent producer, so that no cluster gives the same to anybody else. Brokers take whatever id
    they are told, and know batches that are sent again by it; two producers with the same would take each other's
    records for their own, and drop them. Clusters count from 0, so their own ids never have the highest bits."""
    return MARK | (zlib.crc32(cluster_id) & 0x3FFF) << COUNTED | producer_id


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _body_at(request: KafkaRequest) -> int:
    return 8 + request.api.response_header(request.version)


def _response(request: KafkaRequest, body: bytes) -> KafkaResponse:
    head = struct.pack(">i", request.correlation_id) + b"\0" * request.api.response_header(request.version)
    return KafkaResponse(frame=struct.pack(">i", len(head) + len(body)) + head + body, at=_SIZE + len(head))


def _sized(head: bytes, body: bytes) -> bytes:
    """A frame with another body; ``head`` has a size, too."""
    return struct.pack(">i", len(head) - _SIZE + len(body)) + head[_SIZE:] + body
