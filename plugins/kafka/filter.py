"""The ``kafka`` filter: the inspector in a filter chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.exchange import Exchange
from l4proxy.filter import Conn
from l4proxy.plugins.kafka.config import KafkaConfig
from l4proxy.plugins.kafka.exchange import KafkaExchange
from l4proxy.plugins.kafka.inspector import KafkaInspector
from l4proxy.plugins.kafka.request_log import KafkaRecord, RequestLog
from l4proxy.plugins.observer import Observer
from l4proxy.plugins.watch import Watch

if TYPE_CHECKING:
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server

__all__ = ["Kafka", "KafkaFilterConfig"]


@dataclass(frozen=True, slots=True)
class KafkaFilterConfig(KafkaConfig):
    log_requests: bool | RequestLog = False
    """Give the listener's access log a line for every request, or for those that are chosen here, beside that of the
    connection."""


class KafkaWatch(Watch):
    """What all connections of one use share. ``connections`` are those whose requests are logged, by id."""

    def __init__(self, config: KafkaFilterConfig, server: Server) -> None:
        super().__init__(KafkaInspector(config, server.stats), server.stats)
        self.connections: dict[int, Conn] = {}
        log = config.log_requests
        self._chosen = log if isinstance(log, RequestLog) else RequestLog()
        if log:
            self.inspector.on_exchange = self._log

    def _log(self, exchange: Exchange) -> None:
        conn = self.connections.get(exchange.link.id)
        if conn is not None and isinstance(exchange, KafkaExchange) and self._chosen.chooses(exchange):
            conn.log_access(KafkaRecord.of(exchange, conn), instead=False)


class Kafka(Observer[KafkaFilterConfig]):
    """Watch clients talk to Kafka: records, latency, errors, consumer groups and their lag. Never changes or delays a
    byte."""

    name = "kafka"
    inspector = KafkaInspector
    shared: KafkaWatch

    @classmethod
    def provision(cls, config: KafkaFilterConfig, server: Server) -> KafkaWatch:
        return KafkaWatch(config, server)

    def on_connect(self) -> None:
        super().on_connect()
        if self.config.log_requests and self.conn.logs_access:
            self.shared.connections[self.conn.id] = self.conn

    def on_close(self, reason: CloseReason) -> None:
        super().on_close(reason)
        self.shared.connections.pop(self.conn.id, None)
