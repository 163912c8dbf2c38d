"""The ``kafka`` filter: the inspector in a filter chain."""

from __future__ import annotations

from dataclasses import dataclass

from l4proxy.filter import Conn
from l4proxy.plugins.exchange_log import LoggedObserver, Recorder
from l4proxy.plugins.kafka.config import KafkaConfig
from l4proxy.plugins.kafka.exchange import KafkaExchange
from l4proxy.plugins.kafka.inspector import KafkaInspector
from l4proxy.plugins.kafka.request_log import KafkaRecord, RequestLog

__all__ = ["Kafka", "KafkaFilterConfig"]


@dataclass(frozen=True, slots=True)
class KafkaFilterConfig(KafkaConfig):
    log_requests: bool | RequestLog = False
    """Give the listener's access log a line for every request, or for those that are chosen here, beside that of the
    connection."""


class Kafka(LoggedObserver[KafkaFilterConfig]):
    """Watch clients talk to Kafka: records, latency, errors, consumer groups and their lag. Never changes or delays a
    byte."""

    name = "kafka"
    inspector = KafkaInspector

    @classmethod
    def recorder(cls, config: KafkaFilterConfig) -> Recorder | None:
        log = config.log_requests
        if not log:
            return None
        chosen = RequestLog() if log is True else log

        def record(exchange: KafkaExchange, conn: Conn) -> KafkaRecord | None:
            return KafkaRecord.of(exchange, conn) if chosen.chooses(exchange) else None

        return record
