"""Exchanges with Kafka's words: which topics, how many records, whose group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from l4proxy.exchange import Exchange
from l4proxy.plugins.kafka.contents import Contents, contents_of
from l4proxy.plugins.kafka.topics import topic_text

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.conversation import KafkaConversation, ObservedCall

__all__ = ["KafkaExchange"]


class KafkaExchange(Exchange):
    """One call. What it is about is made of what the walkers have read, when somebody asks for it."""

    __slots__ = (
        "api", "api_key", "client_id", "correlation_id", "principal", "request", "response", "show", "version", "view",
    )  # fmt: skip

    def __init__(self, heard: KafkaConversation, call: ObservedCall, error: str) -> None:
        answered = bool(call.response_size)
        super().__init__(
            heard.link,
            call.at,
            call.plan.name,
            call.seconds if answered else None,
            error=error,
            request_bytes=call.request_size,
            response_bytes=call.response_size,
        )
        self.view = heard.view
        self.show = heard.inspector.show
        self.api = call.plan.api
        self.version = call.plan.version
        self.api_key = call.plan.key
        self.correlation_id = call.correlation_id
        self.client_id = heard.client.name
        self.principal = heard.link.state.get("kafka:principal", "")
        self.request = call.request
        self.response = call.response

    def topics(self) -> list[str]:
        """The topics that it is about, as far as that was read."""
        return list(dict.fromkeys(name for name, _, _ in self._partitions()))

    def groups(self) -> list[str]:
        """The group that it is about, as far as that was read."""
        at = _GROUP_AT.get(self.kind)
        group = None if at is None or self.request is None else self.request[at]
        return [_text(group)] if group else []

    def records(self) -> int:
        """Records that were produced or fetched."""
        return sum(summary[0] for _, _, summary in self._partitions() if summary)

    def callers(self) -> list[str]:
        """By what the client may be asked for."""
        return [self.client_id, str(self.link.client), self.link.client.host]

    def fields(self) -> Mapping[str, Any]:
        contents = self._contents().fields() if self.show else {}
        return {
            "version": self.version,
            "client_id": self.client_id,
            "principal": self.principal,
            "group": next(iter(self.groups()), ""),
            "topics": self.topics(),
            "partitions": sum(1 for _ in self._partitions()),
            "records": self.records(),
            **contents,
        }

    def text(self) -> str:
        parts = [f"v{self.version}", self.client_id, *(f"group={group}" for group in self.groups())]
        for name, index, summary in list(self._partitions())[:SHOWN_PARTITIONS]:
            records = f" {summary[0]} records {summary[5]} bytes" if summary and summary[1] else ""
            parts.append(f"{name}/{index}{records}" if index is not None else name)
        if self.show:
            parts.append(self._contents().text())
        return " ".join(filter(None, parts))

    def _contents(self) -> Contents:
        return contents_of(self, self.show, self._topic)

    def _partitions(self) -> Iterator[tuple[str, int | None, Any]]:
        """Topic, partition, and the summary of records; of whichever side was read."""
        if self.kind == "Produce" and self.request is not None:
            for name, topic_id, partitions in self.request[1] or ():
                yield from ((self._topic(name, topic_id), index, summary) for index, summary in partitions or ())
        elif self.kind == "Fetch" and self.response is not None:
            for name, topic_id, partitions in self.response[2] or ():
                yield from ((self._topic(name, topic_id), one[0], one[3]) for one in partitions or ())
        elif self.kind == "ShareFetch" and self.response is not None:
            for topic_id, partitions in self.response[2] or ():
                yield from ((self._topic(None, topic_id), one[0], one[3]) for one in partitions or ())
        elif self.kind == "Metadata" and self.response is not None:
            for _, name, topic_id, _ in self.response[1] or ():
                yield self._topic(name, topic_id), None, None
        elif self.kind in ("CreateTopics", "DeleteTopics", "DescribeTopicPartitions") and self.response is not None:
            for _, name, topic_id in self.response[1] or ():
                yield self._topic(name, topic_id), None, None
        elif self.kind == "ListOffsets" and self.response is not None:
            for name, partitions in self.response[1] or ():
                yield from ((_text(name), one[0], None) for one in partitions or ())
        elif self.kind == "OffsetCommit" and self.request is not None:
            for name, topic_id, partitions in self.request[1] or ():
                yield from ((self._topic(name, topic_id), one[0], None) for one in partitions or ())

    def _topic(self, name: bytes | None, topic_id: bytes | None) -> str:
        if name is not None:
            return _text(name)
        topic = self.view.topics.known(None, topic_id)
        return topic_text(None, topic_id or b"") if topic is None else topic.name


_GROUP_AT = {
    "ConsumerGroupHeartbeat": 0, "Heartbeat": 0, "JoinGroup": 0, "LeaveGroup": 0, "OffsetCommit": 0, "OffsetDelete": 0,
    "OffsetFetch": 0, "ShareGroupHeartbeat": 0, "SyncGroup": 0, "TxnOffsetCommit": 1,
}  # fmt: skip
"""Where the group stands in what is read of a request."""
SHOWN_PARTITIONS = 5
"""So many partitions stand in a line."""


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
