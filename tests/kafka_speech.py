"""Conversations of Kafka clients with brokers, spoken in values, before an inspector; and what it has counted."""

from __future__ import annotations

from typing import Any

from kafka_messages import batch, request, response
from l4proxy.exchange import Exchange
from l4proxy.filter import Peer
from l4proxy.inspector import Link
from l4proxy.plugins.kafka.config import KafkaConfig
from l4proxy.plugins.kafka.conversation import KafkaConversation
from l4proxy.plugins.kafka.inspector import KafkaInspector
from l4proxy.stats_registry import StatsRegistry

__all__ = ["Client", "Speech"]

START = 1_000_000.0


class Speech:
    """An inspector, its clients, and a clock that they share."""

    def __init__(self, config: KafkaConfig | None = None, registry: StatsRegistry | None = None) -> None:
        self.registry = registry or StatsRegistry()
        self.inspector = KafkaInspector(config or KafkaConfig(), self.registry)
        self.view = self.inspector.view
        self.exchanges: list[Exchange] = []
        self.inspector.on_exchange = self.exchanges.append
        self.now = START
        self._links = 0

    def client(self, client_id: bytes | None = b"client", host: str = "192.0.2.1", *, midway: bool = False) -> Client:
        self._links += 1
        return Client(self, Link(self._links, Peer(host, 40000 + self._links), midway=midway), client_id)

    def value(self, name: str, *labels: str) -> Any:
        """A metric's value; None where it has none with these labels."""
        return self.values(name).get(labels)

    def values(self, name: str) -> dict[tuple[str, ...], Any]:
        family = self.registry.snapshot().get(f"l4proxy_kafka_{name}")
        return {tuple(sample["labels"]): sample["value"] for sample in family["samples"]} if family else {}

    def notices(self) -> list[str]:
        return [exchange.text() for exchange in self.exchanges if type(exchange).__name__ == "Notice"]


class Client:
    """One connection."""

    def __init__(self, speech: Speech, link: Link, client_id: bytes | None) -> None:
        self.speech = speech
        self.link = link
        self.client_id = client_id
        self.conversation: KafkaConversation = speech.inspector.conversation(link)
        self._correlation_id = 0

    def send(self, api: str, version: int, **values: Any) -> None:
        """A request."""
        self._correlation_id += 1
        frame = request(api, version, self._correlation_id, self.client_id, **values)
        self.conversation.client_data(frame, self.speech.now)

    def receive(self, api: str, version: int, **values: Any) -> None:
        """The response to the last request."""
        self.conversation.server_data(response(api, version, self._correlation_id, **values), self.speech.now)

    def ask(self, api: str, version: int, asked: dict[str, Any], answered: dict[str, Any], after: float = 0.25) -> None:
        self.send(api, version, **asked)
        self.speech.now += after
        self.receive(api, version, **answered)

    def close(self) -> None:
        self.conversation.close(self.speech.now)

    # What happens often

    def produce(
        self, topic: str, records: int = 1, offset: int = 0, error: int = 0, index: int = 0, acks: int = 1
    ) -> None:
        partition = {"index": index, "records": batch(records)}
        self.send("Produce", 9, acks=acks, topic_data=[{"name": topic, "partition_data": [partition]}])
        if acks:
            answer = {"index": index, "error_code": error, "base_offset": offset}
            self.receive("Produce", 9, responses=[{"name": topic, "partition_responses": [answer]}])

    def commit(self, group: str, topic: str, offset: int, error: int = 0, index: int = 0) -> None:
        asked = {"name": topic, "partitions": [{"partition_index": index, "committed_offset": offset}]}
        answered = {"name": topic, "partitions": [{"partition_index": index, "error_code": error}]}
        self.ask("OffsetCommit", 8, {"group_id": group, "topics": [asked]}, {"topics": [answered]})

    def heartbeat(self, group: str, member: str, error: int = 0) -> None:
        self.ask("Heartbeat", 4, {"group_id": group, "member_id": member}, {"error_code": error})
