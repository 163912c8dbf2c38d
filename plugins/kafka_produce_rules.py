"""``produce_rules`` for Kafka: what records have to be like to be taken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from l4proxy.config.types import Size
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.plugins.kafka_proxy.refusing import complete, refuse_part
from l4proxy.protocols.kafka.batches import CODECS, Batch, batches
from l4proxy.protocols.kafka.compression import UnsupportedCodec
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.records import records
from l4proxy.protocols.kafka.refusal import INVALID_RECORD, MESSAGE_TOO_LARGE, POLICY_VIOLATION
from l4proxy.protocols.kafka.splice import Change, Span, encode_count
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import Unreadable, decode_uvarint
from l4proxy.stats import Stats, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["KafkaProduceRules", "KafkaProduceRulesConfig"]

Codec = Literal["none", "gzip", "snappy", "lz4", "zstd"]
ERROR_MESSAGES = 8
"""The version of Produce from which on responses tell which records are wrong, and why."""
_TOPICS = Walker(
    PRODUCE.request, "topic_data@ topic_data(@ name topic_id partition_data@ partition_data(@ index records@))"
)


@dataclass(frozen=True, slots=True)
class KafkaProduceRulesConfig:
    topics: tuple[str, ...] = ()
    """Only records for these topics: `["orders", "test-*"]`; all, where none are given."""
    max_record_size: Size = Size(0)
    """Bytes of the key and the value of a record; 0: no limit. Larger ones are `MESSAGE_TOO_LARGE`."""
    max_batch_size: Size = Size(0)
    """Bytes of a batch as it is sent; 0: no limit. Larger ones are `MESSAGE_TOO_LARGE`."""
    compression: tuple[Codec, ...] = ()
    """How batches have to be compressed: `["gzip"]`, or `["none"]`; any way, where none is given. Others are a
    `POLICY_VIOLATION`."""
    required_headers: tuple[str, ...] = ()
    """Headers that every record has to have; without one it is an `INVALID_RECORD`."""
    key_required: bool = False
    """Whether every record has to have a key; without one it is an `INVALID_RECORD`."""
    key_pattern: str = ""
    """A regular expression that keys have to match as a whole; others are an `INVALID_RECORD`."""
    unreadable: Literal["deny", "allow"] = "deny"
    """What becomes of batches in a codec that is not known, where rules are about records: a `POLICY_VIOLATION`, or
    nothing."""
    shadow: bool = False
    """Only count what would be refused."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if not (self.opens or self.max_batch_size or self.compression):
            raise ValueError("there is no rule (such as max_record_size, compression or required_headers)")
        try:
            re.compile(self.key_pattern.encode())
        except re.error as error:
            raise ValueError(f"key_pattern: {error}") from None

    @property
    def opens(self) -> bool:
        """Whether batches have to be opened."""
        return bool(self.max_record_size or self.required_headers or self.key_required or self.key_pattern)


class KafkaProduceRulesStats(Stats, subsystem="kafka_produce_rules", labels=("name",)):
    """Batches that did not obey."""

    refused_batches_total = labelled_counter("Partitions of requests refused, by rule.", label="rule")
    shadow_refused_batches_total = labelled_counter("Partitions that would have been refused, by rule.", label="rule")


class Breach(NamedTuple):
    """What is wrong with the records for a partition."""

    code: int
    rule: str
    message: str
    records: tuple[int, ...] = ()
    """Which of them are, by their place in the batch."""


class _Rules:
    def __init__(self, config: KafkaProduceRulesConfig, stats: KafkaProduceRulesStats) -> None:
        self.config = config
        self.stats = stats
        self._topics = Patterns(config.topics) if config.topics else None
        self._headers = [name.encode() for name in config.required_headers]
        self._key = re.compile(config.key_pattern.encode()).fullmatch if config.key_pattern else None
        self._opens = config.opens

    def concerns(self, topic: bytes) -> bool:
        return self._topics is None or self._topics.matches(topic.decode(errors="replace"))

    def check(self, data: bytes, start: int, stop: int) -> Breach | None:
        """The records of a partition are ``data[start:stop]``. Raises `wire.UNREADABLE`."""
        config = self.config
        for batch in batches(data, start, stop):
            if config.compression and batch.codec not in config.compression:
                allowed = " or ".join(config.compression)
                return Breach(POLICY_VIOLATION, "compression", f"compression is {batch.codec}, and has to be {allowed}")
            if config.max_batch_size and batch.size > config.max_batch_size:
                text = f"a batch of {batch.size} bytes, where {config.max_batch_size} are allowed"
                return Breach(MESSAGE_TOO_LARGE, "max_batch_size", text)
            if self._opens and (breach := self._open(data, batch)) is not None:
                return breach
        return None

    def _open(self, data: bytes, batch: Batch) -> Breach | None:
        wrong: list[tuple[int, int, str, str]] = []
        try:
            for at, record in enumerate(records(data, batch)):
                if found := self._wrong(record.key, record.value, record.headers):
                    wrong.append((at, *found))
        except UnsupportedCodec as error:
            return Breach(POLICY_VIOLATION, "unreadable", str(error)) if self.config.unreadable == "deny" else None
        except Unreadable as error:
            return Breach(INVALID_RECORD, "unreadable", str(error))
        if not wrong:
            return None
        _, code, rule, message = wrong[0]
        return Breach(code, rule, message, tuple(at for at, *_ in wrong))

    def _wrong(
        self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes | None]]
    ) -> tuple[int, str, str] | None:
        config = self.config
        size = len(key or b"") + len(value or b"")
        if config.max_record_size and size > config.max_record_size:
            text = f"a record of {size} bytes, where {config.max_record_size} are allowed"
            return MESSAGE_TOO_LARGE, "max_record_size", text
        if self._headers:
            there = {name for name, _ in headers}
            for name in self._headers:
                if name not in there:
                    return INVALID_RECORD, "required_headers", f"a record without the header {name.decode()}"
        if config.key_required and key is None:
            return INVALID_RECORD, "key_required", "a record without a key"
        if self._key is not None and key is not None and not self._key(key):
            return INVALID_RECORD, "key_pattern", f"a key that is not as {config.key_pattern} says"
        return None


class KafkaProduceRules(KafkaFilter[KafkaProduceRulesConfig]):
    """Take only records that are as they have to be: so large, compressed so, with these headers, with such keys.

        { use = "produce_rules", topics = ["orders"], max_record_size = "64KiB", required_headers = ["trace-id"] }

    Other partitions of a request go to the broker. Producers are told what is wrong, and with which records.
    """

    name = "produce_rules"
    wants = frozenset({"Produce"})
    shared: _Rules

    @classmethod
    def provision(cls, config: KafkaProduceRulesConfig, server: Server) -> _Rules:
        return _Rules(config, server.stats.group(KafkaProduceRulesStats, name=config.name))

    @classmethod
    def goes_by_names(cls, config: KafkaProduceRulesConfig) -> bool:
        return bool(config.topics)

    def on_request(self, request: KafkaRequest) -> KafkaRequest | None:
        data, at = request.frame, request.at
        array, topics = request.read(lambda: _TOPICS.whole(request.version)(data, at, len(data)))
        refused: list[dict[str, Any]] = []
        changes: list[Change] = []
        keep = []
        for span, name, topic_id, partitions_span, partitions in topics or ():
            breaches = self._breaches(request, name, partitions)
            keep.append(len(breaches) < len(partitions))
            if not breaches:
                continue
            topic = {"topic_id": topic_id} if name is None else {"name": name.decode(errors="surrogateescape")}
            refused.append({**topic, "partition_responses": [_refused(request, *one) for one in breaches.items()]})
            if keep[-1]:
                kept = [index not in breaches for _, index, _ in partitions]
                changes += _kept(request, partitions_span, [one[0] for one in partitions], kept)
            else:
                changes.append((*span, b""))
        if not refused:
            self.ignore_response(request)
            return request
        changes += _kept(request, array, [one[0] for one in topics], keep)[:1]
        changes.sort()
        from l4proxy.protocols.kafka.messages import encode_response

        refusal = encode_response(PRODUCE, request.version, request.correlation_id, responses=refused)
        return refuse_part(self, request, changes if any(keep) else None, [refusal])

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        complete(self, response)
        return response

    def _breaches(self, request: KafkaRequest, name: bytes | None, partitions: Any) -> dict[int, Breach]:
        rules, config = self.shared, self.config
        found: dict[int, Breach] = {}
        if name is not None and not rules.concerns(name):
            return found
        for _, index, records_span in partitions:
            start, stop = _content(request, records_span)
            breach = request.read(lambda: rules.check(request.frame, start, stop))  # noqa: B023
            if breach is None:
                continue
            if config.shadow:
                rules.stats.shadow_refused_batches_total.add(breach.rule)
            else:
                rules.stats.refused_batches_total.add(breach.rule)
                found[index] = breach
        return found


def _content(request: KafkaRequest, span: Span) -> Span:
    """Where records lie without their size."""
    start, stop = span
    if request.api.is_flexible(request.version):
        return decode_uvarint(request.frame, start)[1], stop
    return start + 4, stop


def _kept(request: KafkaRequest, array: Span, elements: list[Span], keep: list[bool]) -> list[Change]:
    """What has to be changed to keep only some elements of an array: the count first."""
    if all(keep):
        return []
    count = encode_count(sum(keep), flexible=request.api.is_flexible(request.version))
    dropped = [(*span, b"") for span, kept in zip(elements, keep, strict=True) if not kept]
    return [(array[0], elements[0][0], count), *dropped]


def _refused(request: KafkaRequest, index: int, breach: Breach) -> dict[str, Any]:
    """What is said of a partition."""
    values: dict[str, Any] = {"index": index, "error_code": breach.code, "base_offset": -1}
    if request.version >= ERROR_MESSAGES:
        values["error_message"] = breach.message
        values["record_errors"] = list(_record_errors(breach))
    return values


def _record_errors(breach: Breach) -> Iterator[dict[str, Any]]:
    for at in breach.records:
        yield {"batch_index": at, "batch_index_error_message": breach.message}


assert set(CODECS) == set(Codec.__args__)  # type: ignore[attr-defined]


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(KafkaProduceRules)
