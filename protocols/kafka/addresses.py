"""Where the brokers are: the responses that say so, and how they come to say something else.

A client connects to the addresses that it is told, so a proxy that forgets one of them is passed by. They stand in
Metadata and DescribeCluster, which list all brokers; in FindCoordinator; and, since KIP-951, behind the partitions of
Produce (from version 10), Fetch (16), ShareFetch and ShareAcknowledge whose leader has changed. DescribeQuorum (2)
tells where the controllers listen, whom no client of a proxy can reach: it is told nothing there. (Other APIs with
addresses are for brokers and controllers among themselves.)

A `Directory` learns from these lists and says under which address a broker is to be known, and under which number: of
several clusters that are to look like one, each numbers its brokers itself. A broker that has no address is left out of
lists, as if it were down, which clients know how to wait for.

Nothing is decoded but what is changed. Of a message in one piece, `Rewrite.changes` are the splices. A large one is not
kept: the brokers of Metadata are at its **head**, and when they have come, the rest passes. Of Fetch they are at its
**tail**, behind megabytes of records, when the size of the frame has long been sent. So the tail keeps its size: a
tagged field that nobody knows (KIP-482) fills up what new addresses are shorter; and where they are longer, the
endpoints are left out, and the client asks for Metadata, as it did before they were invented.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.declarations.cluster import DESCRIBE_CLUSTER, DESCRIBE_QUORUM, METADATA
from l4proxy.protocols.kafka.declarations.groups import FIND_COORDINATOR
from l4proxy.protocols.kafka.declarations.records import FETCH, PRODUCE
from l4proxy.protocols.kafka.declarations.share import SHARE_ACKNOWLEDGE, SHARE_FETCH
from l4proxy.protocols.kafka.schema import Schema
from l4proxy.protocols.kafka.splice import Change, Span, encode_count, encode_string, encode_tag, splice
from l4proxy.protocols.kafka.walker import Stream, Walker
from l4proxy.protocols.kafka.wire import Unreadable, decode_uvarint, encode_uvarint

__all__ = ["COORDINATOR_NOT_AVAILABLE", "Broker", "Directory", "Rewrite", "rewrite_of"]

COORDINATOR_NOT_AVAILABLE = 15
CONTROLLERS = 2
"""As the type of endpoints in DescribeCluster."""
ENDPOINTS_TAG = 0
PADDING_TAG = 127
"""Of the tagged field that fills up a tail, and 126 of a second one: the last that take one byte. Kafka numbers its own
from 0."""

Broker = tuple[int, bytes, int]
"""Node id, host and port."""
_int32 = struct.Struct(">i").pack
_int16 = struct.Struct(">h").pack


class Directory(Protocol):
    """Which broker is known under which address."""

    renumbers: bool
    """Whether any number is another one."""

    def learn(self, brokers: Sequence[Broker], *, all: bool) -> None:
        """A response names these, with their own addresses. ``all``: there are no others."""

    def place(self, node: int) -> tuple[int, bytes, int] | None:
        """The number, host and port that clients are told; None: the broker cannot be reached through here."""

    def number(self, node: int) -> int:
        """The number alone."""


class Rewrite:
    """What is changed in the responses of one API and version.

    ``changes(data, pos, stop, directory)`` reads the body ``data[pos:stop]`` and returns what is to be changed in it.
    ``part`` is what of a large message has to be kept for that: all of it, its ``head``, or its ``tail``. A head is
    complete when ``changes`` does not find its end missing. A tail begins where ``to_tail`` ends, a walker for messages
    in pieces; ``tail(data, directory)`` returns it with its size unchanged.

    All of them raise `wire.UNREADABLE`."""

    part: Literal["all", "head", "tail"] = "all"
    is_seldom = False
    """Most of these responses have no addresses."""
    to_tail: Stream

    def changes(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        raise NotImplementedError

    def tail(self, data: bytes, directory: Directory) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Listed:
    """One element of a list of brokers."""

    span: Span
    node: int
    host: bytes
    port: int
    identity: Span
    """Number, host and port, which stand side by side."""


def _listed(elements: Iterable[tuple[Any, ...]] | None) -> list[_Listed]:
    """Of what a walker has read as ``(@ node_id node_id@ host port port@)``."""
    return [
        _Listed(span, node, host or b"", port, (node_span[0], port_span[1]))
        for span, node, node_span, host, port, port_span in elements or ()
    ]


def _element(node: str) -> str:
    """What is read of each broker in a list, for `_listed`."""
    return f"(@ {node} {node}@ host port port@)"


def _learn(directory: Directory, listed: Sequence[_Listed], *, all: bool) -> None:
    directory.learn([(one.node, one.host, one.port) for one in listed], all=all)


def _relist(array: Span, listed: Sequence[_Listed], directory: Directory, *, flexible: bool) -> list[Change]:
    """Tell the places of listed brokers instead of their addresses, and leave those out that have none."""
    changes: list[Change] = []
    left_out = 0
    for one in listed:
        place = directory.place(one.node)
        if place is None:
            left_out += 1
            changes.append((*one.span, b""))
        else:
            changes.append((*one.identity, _identity(place, flexible=flexible)))
    if left_out:
        count = encode_count(len(listed) - left_out, flexible=flexible)
        changes.insert(0, (array[0], listed[0].span[0], count))
    return changes


def _identity(place: tuple[int, bytes, int], *, flexible: bool) -> bytes:
    return _int32(place[0]) + encode_string(place[1], flexible=flexible) + _int32(place[2])


class _Metadata(Rewrite):
    part = "head"

    def __init__(self, version: int) -> None:
        self._flexible = METADATA.is_flexible(version)
        self._walk = _BROKERS.whole(version)

    def changes(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        array, elements = self._walk(data, pos, stop)
        listed = _listed(elements)
        _learn(directory, listed, all=True)
        return _relist(array, listed, directory, flexible=self._flexible)


class _DescribeCluster(Rewrite):
    def __init__(self, version: int) -> None:
        self._walk = _CLUSTER.whole(version)

    def changes(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        endpoint_type, controller, controller_span, array, elements = self._walk(data, pos, stop)
        listed = _listed(elements)
        if endpoint_type == CONTROLLERS:
            return [(*array, encode_count(0, flexible=True))]
        _learn(directory, listed, all=False)
        changes = _relist(array, listed, directory, flexible=True)
        return [*_renumber(controller, controller_span, directory), *changes]


def _renumber(node: int | None, span: Span, directory: Directory) -> list[Change]:
    """The number of a broker on its own."""
    if node is None or node < 0 or (number := directory.number(node)) == node:
        return []
    return [(*span, _int32(number))]


class _FindCoordinator(Rewrite):
    """Up to version 3 it is about one coordinator, which the response is; then about several."""

    def __init__(self, version: int) -> None:
        self._flexible = FIND_COORDINATOR.is_flexible(version)
        self._walk = (_COORDINATOR if version < 4 else _COORDINATORS).whole(version)
        self._is_one = version < 4

    def changes(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        read = self._walk(data, pos, stop)
        changes: list[Change] = []
        for one in [read] if self._is_one else read[0] or ():
            self._coordinator(one, directory, changes)
        return changes

    def _coordinator(self, read: tuple[Any, ...], directory: Directory, changes: list[Change]) -> None:
        node, node_span, host, port, port_span, error_span = read
        if node < 0:  # there is none
            return
        directory.learn([(node, host or b"", port)], all=False)
        place = directory.place(node)
        identity = (node_span[0], port_span[1])
        if place is not None:
            changes.append((*identity, _identity(place, flexible=self._flexible)))
            return
        nobody = _identity((-1, b"", -1), flexible=self._flexible)
        changes += sorted([(*error_span, _int16(COORDINATOR_NOT_AVAILABLE)), (*identity, nobody)])


class _TaggedEndpoints(Rewrite):
    """Produce and Fetch: the endpoints are a tagged field of the whole message."""

    is_seldom = True

    def __init__(self, api: Api, version: int) -> None:
        self.part = "tail" if api is FETCH else "all"
        self._walk = _TAGGED[api.key].whole(version)
        self._leaders = _LEADERS.whole(version) if api is PRODUCE else None
        self.to_tail = _TO_TAIL[api.key].streaming(version)

    def changes(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        span, elements = self._walk(data, pos, stop)
        if span is None:
            return self._renumbered(data, pos, stop, directory)
        _, array_at = decode_uvarint(data, span[0])
        _, array_at = decode_uvarint(data, array_at)
        listed = _listed(elements)
        _learn(directory, listed, all=False)
        changes = _relist((array_at, span[1]), listed, directory, flexible=True)
        endpoints = (*span, encode_tag(ENDPOINTS_TAG, splice(data, array_at, span[1], changes)))
        return [*self._renumbered(data, pos, stop, directory), endpoints]

    def _renumbered(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        """The leaders of partitions, which stand in front of the endpoints. (Where clusters are several, clients are
        not offered versions of Fetch that name leaders.)"""
        if self._leaders is None or not directory.renumbers:
            return []
        changes: list[Change] = []
        (topics,) = self._leaders(data, pos, stop)
        for (partitions,) in topics or ():
            for (leader,) in partitions or ():
                if leader is not None:
                    node, node_span = leader
                    changes += _renumber(node, node_span, directory)
        return changes

    def tail(self, data: bytes, directory: Directory) -> bytes:
        fields = _read_tags(data, 0)
        endpoints = fields.get(ENDPOINTS_TAG)
        if endpoints is None:
            return data
        fields[ENDPOINTS_TAG] = _endpoints(endpoints, directory)
        new = _filled_up(b"", fields, len(data))
        if new is None:
            del fields[ENDPOINTS_TAG]
            new = _filled_up(b"", fields, len(data))
        assert new is not None
        return new


class _Endpoints(Rewrite):
    """ShareFetch and ShareAcknowledge: the endpoints are the last field of the message."""

    is_seldom = True

    def __init__(self, api: Api, version: int) -> None:
        self.part = "tail" if api is SHARE_FETCH else "all"
        self._walk = _UNTAGGED[api.key].whole(version)
        self.to_tail = _TO_TAIL[api.key].streaming(version)

    def changes(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        array, elements = self._walk(data, pos, stop)
        listed = _listed(elements)
        _learn(directory, listed, all=False)
        return _relist(array, listed, directory, flexible=True)

    def tail(self, data: bytes, directory: Directory) -> bytes:
        array, _ = _ENDPOINTS_WALK(data, 0, len(data))
        if array[1] == 1:  # there are none
            return data
        fields = _read_tags(data, array[1])
        new = _filled_up(_endpoints(data[: array[1]], directory), fields, len(data))
        if new is None:
            new = _filled_up(encode_count(0, flexible=True), fields, len(data))
        assert new is not None
        return new


class _DescribeQuorum(Rewrite):
    def __init__(self, version: int) -> None:
        self._walk = _NODES.whole(version)

    def changes(self, data: bytes, pos: int, stop: int, directory: Directory) -> list[Change]:
        (array,) = self._walk(data, pos, stop)
        return [(*array, encode_count(0, flexible=True))]


# Tails


def _endpoints(array: bytes, directory: Directory) -> bytes:
    """The endpoints, an array on its own, with other addresses."""
    span, elements = _ENDPOINTS_WALK(array, 0, len(array))
    listed = _listed(elements)
    _learn(directory, listed, all=False)
    return splice(array, 0, len(array), _relist(span, listed, directory, flexible=True))


def _read_tags(data: bytes, pos: int) -> dict[int, bytes]:
    """The tagged fields that ``data`` ends in, by number."""
    fields: dict[int, bytes] = {}
    count, pos = decode_uvarint(data, pos)
    for _ in range(count):
        tag, pos = decode_uvarint(data, pos)
        size, pos = decode_uvarint(data, pos)
        fields[tag] = data[pos : pos + size]
        pos += size
    if pos != len(data):
        raise Unreadable(f"the tagged fields end at {pos}, the message at {len(data)}", code="trailing_bytes")
    return fields


def _filled_up(head: bytes, fields: dict[int, bytes], size: int) -> bytes | None:
    """``head`` and tagged fields, filled up to ``size`` bytes; None where they are too long, or one byte too short."""
    encoded = [encode_tag(tag, content) for tag, content in fields.items()]
    for count in range(3):
        new = head + encode_uvarint(len(encoded) + count) + b"".join(encoded)
        padding = _padding(size - len(new), count)
        if padding is not None:
            return new + padding
    return None


def _padding(size: int, count: int) -> bytes | None:
    """``count`` tagged fields of ``size`` bytes altogether, if there are such. Of a few sizes there are none, for the
    length of a field's length jumps."""
    if not count:
        return None if size else b""
    if count == 2:
        rest = _padding(size - 2, 1)
        return None if rest is None else encode_tag(PADDING_TAG - 1, b"") + rest
    for width in range(1, 6):
        content = size - 1 - width
        if content >= 0 and len(encode_uvarint(content)) == width:
            return encode_tag(PADDING_TAG, bytes(content))
    return None


_BROKERS = Walker(
    Schema(METADATA.response.fields[:2], METADATA.flexible, whole=False), f"brokers@ brokers{_element('node_id')}"
)
_CLUSTER = Walker(
    DESCRIBE_CLUSTER.response, f"endpoint_type controller_id controller_id@ brokers@ brokers{_element('broker_id')}"
)
_FIELDS = "node_id node_id@ host port port@ error_code@"
_COORDINATOR = Walker(FIND_COORDINATOR.response, _FIELDS)
_COORDINATORS = Walker(FIND_COORDINATOR.response, f"coordinators({_FIELDS})")
_ENDPOINTS = f"node_endpoints@ node_endpoints{_element('node_id')}"
_TAGGED = {api.key: Walker(api.response, _ENDPOINTS) for api in (PRODUCE, FETCH)}
_LEADERS = Walker(PRODUCE.response, "responses(partition_responses(current_leader(leader_id leader_id@)))")
_UNTAGGED = {api.key: Walker(api.response, _ENDPOINTS) for api in (SHARE_FETCH, SHARE_ACKNOWLEDGE)}
_TO_TAIL = {
    api.key: Walker(Schema(api.response.fields[:-1], api.response.flexible, whole=False), "")
    for api in (PRODUCE, FETCH, SHARE_FETCH, SHARE_ACKNOWLEDGE)
}
_ENDPOINTS_WALK = Walker(Schema(SHARE_FETCH.response.fields[-1:], 0, whole=False), _ENDPOINTS).whole(1)
_NODES = Walker(DESCRIBE_QUORUM.response, "nodes@")


def rewrite_of(api: Api, version: int) -> Rewrite | None:
    """What has to be done to responses of this API and version; None: they have no addresses."""
    if api is METADATA:
        return _Metadata(version)
    if api is FIND_COORDINATOR:
        return _FindCoordinator(version)
    if api is DESCRIBE_CLUSTER:
        return _DescribeCluster(version)
    if (api is PRODUCE and version >= 10) or (api is FETCH and version >= 16):
        return _TaggedEndpoints(api, version)
    if api in (SHARE_FETCH, SHARE_ACKNOWLEDGE):
        return _Endpoints(api, version)
    if api is DESCRIBE_QUORUM and version >= 2:
        return _DescribeQuorum(version)
    return None
