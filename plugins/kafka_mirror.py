"""``mirror`` for Kafka: a copy of what is produced, for another cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import ClusterName, Range, Size
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.kafka_proxy.copier import Copier, Item
from l4proxy.plugins.kafka_proxy.login import KafkaLogin
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.protocols.kafka.anonymous import anonymous
from l4proxy.protocols.kafka.batches import batches
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import UNREADABLE, decode_uvarint

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["KafkaMirror", "KafkaMirrorConfig"]

_RECORDS = Walker(PRODUCE.request, "topic_data(name partition_data(index records@))")
_OUTCOME = Walker(PRODUCE.response, "responses(name partition_responses(index error_code))")


@dataclass(frozen=True, slots=True)
class KafkaMirrorConfig:
    cluster: ClusterName
    """Where the copies go."""
    topics: tuple[str, ...] = ()
    """Only what is produced to these topics: `["orders", "logs-*"]`; all, where none are given."""
    buffer_limit: Annotated[Size, Range(1024)] = Size(16 << 20)
    """Bytes that may wait for the other cluster, in each worker. What comes when there are more is not copied."""
    login: KafkaLogin | None = None
    """Who the proxy is there, where brokers want to know (SASL)."""


class _Shared:
    def __init__(self, config: KafkaMirrorConfig, server: Server) -> None:
        self.copier = Copier(config.cluster, config.buffer_limit, server, config.login)
        self._topics = Patterns(config.topics) if config.topics else None

    def concerns(self, topic: str) -> bool:
        return self._topics is None or self._topics.matches(topic)


class KafkaMirror(KafkaFilter[KafkaMirrorConfig]):
    """Send a copy of what is produced to another cluster, too.

        { use = "mirror", cluster = "next_version", topics = ["orders"] }

    Copied is what the brokers have taken, batch by batch, to the same partition of the same topic, as nobody's: order
    and contents stay, numbers of idempotent producers do not. The original never waits for a copy and does not notice
    what becomes of it: what the other cluster does not take in time is dropped and counted. Records of transactions are
    not copied.
    """

    name = "mirror"
    wants = frozenset({"Produce"})
    shared: _Shared

    @classmethod
    def provision(cls, config: KafkaMirrorConfig, server: Server) -> _Shared:
        return _Shared(config, server)

    @classmethod
    def cleanup(cls, shared: _Shared) -> None:
        shared.copier.close()

    @classmethod
    def goes_by_names(cls, config: KafkaMirrorConfig) -> bool:
        return True

    def on_request(self, request: KafkaRequest) -> KafkaRequest:
        items = list(self._items(request))
        if not request.expects_response:
            for item in items:
                self._copy(item)
        elif items:
            request.state[self.key("items")] = items
        else:
            self.ignore_response(request)
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        items: list[Item] = response.request.state.pop(self.key("items"), [])
        if items:
            data, at = response.frame, response.at
            walk = _OUTCOME.whole(response.request.version)
            (topics,) = response.read(lambda: walk(data, at, len(data)))
            taken = {(name, index) for name, partitions in topics or () for index, error in partitions if not error}
            for item in items:
                if (item.topic.encode(errors="surrogateescape"), item.partition) in taken:
                    self._copy(item)
        return response

    def _items(self, request: KafkaRequest) -> Iterator[Item]:
        data, at = request.frame, request.at
        flexible = request.api.is_flexible(request.version)
        (topics,) = request.read(lambda: _RECORDS.whole(request.version)(data, at, len(data)))
        for name, partitions in topics or ():
            topic = (name or b"").decode(errors="surrogateescape")
            if self.shared.concerns(topic):
                for index, (start, stop) in partitions:
                    start = decode_uvarint(data, start)[1] if flexible else start + 4
                    if start < stop:
                        yield Item(topic, index, data[start:stop])

    def _copy(self, item: Item) -> None:
        copier = self.shared.copier
        try:
            there = list(batches(item.records, 0, len(item.records)))
        except UNREADABLE:
            copier.stats.dropped_batches_total.add("unreadable")
            return
        if any(batch.magic != 2 for batch in there):
            copier.stats.dropped_batches_total.add("old_format")
        elif any(batch.is_transactional for batch in there):
            copier.stats.dropped_batches_total.add("transactional")
        else:
            copier.send(item._replace(records=anonymous(item.records)))


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(KafkaMirror)
