"""One Metadata response out of those of several clusters.

Brokers have been renumbered already where they are listed (`addresses`). Here it is done where partitions name them:
in place, as a number keeps its size. Clusters of a thousand topics make messages of hundreds of kilobytes, so the work
comes in steps, one for each topic, between which others may have their turn.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.schema import Schema
from l4proxy.protocols.kafka.splice import encode_count
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import Unreadable, decode_uvarint, skip_tags

__all__ = ["FIRST", "LAST", "MetadataMerger"]

FIRST = 1
LAST = 12
"""The versions that can be merged: in 0 no controller is named, and 13 ends in an error of the whole."""
Name = bytes | None
_HEAD = Walker(
    Schema(METADATA.response.fields[:4], METADATA.flexible, whole=False),
    "throttle_time_ms@ brokers(@) cluster_id cluster_id@ controller_id controller_id@",
)
_int32 = struct.Struct(">i")
_int16 = struct.Struct(">h")


class MetadataMerger:
    """``add`` the bodies of responses; the first tells what is said once: cluster id, controller and permissions."""

    def __init__(self, version: int) -> None:
        if not FIRST <= version <= LAST:
            raise ValueError(f"version {version} of Metadata is none of {FIRST} to {LAST}")
        self._version = version
        self._flexible = METADATA.is_flexible(version)
        self._has_epoch = version >= 7
        self._arrays = 3 if version >= 5 else 2
        self._start = b""
        self._middle = b""
        self._end = b""
        self._brokers: list[bytes] = []
        self._topics: list[bytes] = []
        self._ids: set[bytes] = set()
        """Of topics that some cluster knows by name."""
        self._nameless: dict[bytes, bytes] = {}
        """What was said to ids that a cluster does not know (from version 12 on), by id."""
        self.cluster_id: bytes | None = None
        """That of the first response; None in version 1."""

    def add(
        self, body: bytes, number: Callable[[int], int], belongs: Callable[[bytes], bool], *, is_first: bool
    ) -> Iterator[None]:
        """Take what a cluster has said: its brokers, and its topics where ``belongs(name)``. (Who asks by ids asks all
        clusters; one of them knows which topic it is.) Yields behind each topic, so it has to be iterated to its end.
        Raises `wire.UNREADABLE`."""
        throttle, brokers, cluster_id, cluster_span, controller, controller_span = _HEAD.whole(self._version)(
            body, 0, len(body)
        )
        self._brokers += [body[slice(*span)] for (span,) in brokers or ()]
        renumbered = bytearray(body)
        count, pos = self._count(body, controller_span[1])
        for _ in range(count):
            start = pos
            name, topic_id, pos = self._topic(body, pos, renumbered, number)
            if name is None:
                self._nameless[topic_id] = bytes(renumbered[start:pos])
            elif belongs(name):
                self._ids.add(topic_id)
                self._topics.append(bytes(renumbered[start:pos]))
            yield
        if pos > len(body):
            raise Unreadable("the message ends within a topic", code="truncated")
        if is_first:
            self.cluster_id = cluster_id
            self._start = body[slice(*throttle)] if throttle is not None else b""
            told = _int32.pack(number(controller) if controller >= 0 else controller)
            self._middle = (body[slice(*cluster_span)] if cluster_span is not None else b"") + told
            self._end = body[pos:]

    def body(self) -> bytes:
        """The message of all that was added."""
        topics = [*self._topics, *(said for one, said in self._nameless.items() if one not in self._ids)]
        counts = [encode_count(len(those), flexible=self._flexible) for those in (self._brokers, topics)]
        return b"".join([self._start, counts[0], *self._brokers, self._middle, counts[1], *topics, self._end])

    def _count(self, data: bytes, pos: int) -> tuple[int, int]:
        if self._flexible:
            size, pos = decode_uvarint(data, pos)
            return size - 1, pos
        (size,) = _int32.unpack_from(data, pos)
        return size, pos + 4

    def _topic(self, data: bytes, pos: int, out: bytearray, number: Callable[[int], int]) -> tuple[Name, bytes, int]:
        """Renumber the brokers of a topic; return its name, its id, and where it ends."""
        version, flexible = self._version, self._flexible
        pos += 2  # error
        if flexible:
            size, pos = decode_uvarint(data, pos)
            size -= 1
        else:
            (size,) = _int16.unpack_from(data, pos)
            pos += 2
        name = data[pos : pos + size] if size >= 0 else None
        pos += max(size, 0)
        topic_id = data[pos : pos + 16] if version >= 10 else b""
        pos += len(topic_id) + 1  # whether it is internal
        count, pos = self._count(data, pos)
        for _ in range(count):
            pos += 6  # error and index
            (leader,) = _int32.unpack_from(data, pos)
            if leader >= 0:
                _int32.pack_into(out, pos, number(leader))
            pos += 8 if self._has_epoch else 4
            for _ in range(self._arrays):
                nodes, pos = self._count(data, pos)
                if nodes > 0:
                    numbers = struct.Struct(f">{nodes}i")
                    numbers.pack_into(out, pos, *map(number, numbers.unpack_from(data, pos)))
                    pos += 4 * nodes
            if flexible:
                pos = skip_tags(data, pos)
        if version >= 8:
            pos += 4
        if flexible:
            pos = skip_tags(data, pos)
        return name, topic_id, pos
