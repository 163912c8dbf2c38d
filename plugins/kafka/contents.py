"""Keys, headers and values of records, for `l4proxy sniff kafka --show`: opened only where somebody asks to see them.

A walker tells of records how many there are, and that is all the observer keeps. While something is to be shown, it
keeps the message, too, and a view that prints the exchange decodes it then. Larger messages than ``collect`` pass
without being kept, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from l4proxy.plugins.kafka.plan import ObserverPlan
from l4proxy.protocols.kafka.batches import batches
from l4proxy.protocols.kafka.plan import Reading
from l4proxy.protocols.kafka.records import Record, records
from l4proxy.protocols.kafka.walker import Walk
from l4proxy.protocols.kafka.wire import UNREADABLE
from l4proxy.stats_registry import StatsRegistry

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.exchange import KafkaExchange

__all__ = ["COLLECT_TO_SHOW", "Contents", "KeepingPlan", "contents_of"]

COLLECT_TO_SHOW: Final = 1024 * 1024
"""Bytes of a message whose records are shown."""
LINE_RECORDS = 5
"""So many records stand in a line for people; JSON has all of them."""
SHOWN_TEXT = 64
"""So much of a key or a value stands there."""
_IN_REQUESTS = {"Produce"}
_IN_RESPONSES = {"Fetch", "ShareFetch"}

TopicText = Callable[[bytes | None, bytes | None], str]


class Kept(tuple[Any, ...]):
    """What a walker has read of a message, and the message."""

    body: bytes


def _keeping(walk: Walk) -> Walk:
    def walk_and_keep(data: bytes, pos: int, end: int) -> Kept:
        kept = Kept(walk(data, pos, end))
        kept.body = data[pos:end]
        return kept

    return walk_and_keep


class KeepingPlan(ObserverPlan):
    """Keeps the messages that have records in them."""

    __slots__ = ()

    def __init__(self, key: int, version: int, reading: Reading, registry: StatsRegistry) -> None:
        super().__init__(key, version, reading, registry)
        if self.name in _IN_REQUESTS and self.walk_request is not None:
            self.walk_request = _keeping(self.walk_request)
            self.reads_lone = False
        if self.name in _IN_RESPONSES and self.walk_response is not None:
            self.walk_response = _keeping(self.walk_response)


class Contents:
    """The records of one exchange, and why some of them are not here."""

    def __init__(self, show: frozenset[str]) -> None:
        self.show = show
        self.records: list[Mapping[str, Any]] = []
        self.missing: list[str] = []

    def add(self, topic: str, partition: int, base: int, record: Record) -> None:
        shown: dict[str, Any] = {"topic": topic, "partition": partition, "offset": base + record.offset}
        if record.timestamp >= 0:
            shown["timestamp"] = record.timestamp
        if "keys" in self.show:
            shown["key"] = _text(record.key)
        if "headers" in self.show:
            shown["headers"] = [[_text(name), _text(value)] for name, value in record.headers]
        if "values" in self.show:
            shown["value"] = _text(record.value)
        self.records.append(shown)

    def fields(self) -> Mapping[str, Any]:
        """For programs. ``not_shown`` has the reasons where something is missing."""
        if not self.records and not self.missing:
            return {}
        return {"contents": self.records, **({"not_shown": self.missing} if self.missing else {})}

    def text(self) -> str:
        """For people: ``{orders/0@17 key=a value=b}``."""
        lines = [_line(record) for record in self.records[:LINE_RECORDS]]
        if len(self.records) > LINE_RECORDS:
            lines.append(f"and {len(self.records) - LINE_RECORDS} more")
        return " ".join([*lines, *(f"({why})" for why in self.missing)])


def contents_of(exchange: KafkaExchange, show: frozenset[str], topic_text: TopicText) -> Contents:
    """Decode the records of an exchange that has any, as far as it was kept and can be read."""
    from l4proxy.protocols.kafka.messages import decode_request, decode_response

    found = Contents(show)
    is_request = exchange.kind in _IN_REQUESTS
    read = exchange.request if is_request else exchange.response
    if exchange.kind not in _IN_REQUESTS | _IN_RESPONSES or exchange.api is None or read is None:
        return found
    if not isinstance(read, Kept):
        found.missing.append(f"more than {COLLECT_TO_SHOW >> 20} MiB, not shown")
        return found
    decode = decode_request if is_request else decode_response
    offsets = _base_offsets(exchange) if is_request else {}
    try:
        message = decode(exchange.api, exchange.version, read.body)
    except UNREADABLE as error:
        found.missing.append(str(error))
        return found
    for name, topic_id, index, data in _fields_with_records(message):
        base = offsets.get((name or topic_id, index), 0)
        _open(found, topic_text(name, topic_id), index, base, data)
    return found


def _fields_with_records(message: Mapping[str, Any]) -> Iterator[tuple[bytes | None, bytes | None, int, bytes]]:
    for topic in message.get("topic_data") or message.get("responses") or ():
        name = topic.get("name") or topic.get("topic")
        for partition in topic.get("partition_data") or topic.get("partitions") or ():
            index = partition.get("index", partition.get("partition_index"))
            if data := partition.get("records"):
                yield name.encode() if name else None, topic.get("topic_id"), index, bytes(data)


def _open(found: Contents, topic: str, index: int, base: int, data: bytes) -> None:
    try:
        for batch in batches(data, 0, len(data)):
            if batch.is_control:
                continue
            try:
                for record in records(data, batch, limit=COLLECT_TO_SHOW * 16):
                    found.add(topic, index, base, record)
            except UNREADABLE as error:
                found.missing.append(f"{topic}/{index}: {batch.records} records: {error}")
    except UNREADABLE as error:
        found.missing.append(f"{topic}/{index}: {error}")


def _base_offsets(exchange: KafkaExchange) -> dict[tuple[Any, int], int]:
    """Where the broker has put what was produced; a producer numbers from 0."""
    return {
        (name or topic_id, index): max(base, 0)
        for name, topic_id, partitions in (exchange.response or (0, ()))[1] or ()
        for index, _, base in partitions or ()
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _line(record: Mapping[str, Any]) -> str:
    parts = [f"{record['topic']}/{record['partition']}@{record['offset']}"]
    parts += [f"{name}={_short(record[name])}" for name in ("key", "value") if name in record]
    parts += [f"{name}:{_short(value)}" for name, value in record.get("headers", ())]
    return "{" + " ".join(parts) + "}"


def _short(value: str | None) -> str:
    if value is None:
        return "null"
    return value if len(value) <= SHOWN_TEXT else f"{value[:SHOWN_TEXT]}... ({len(value)} characters)"
