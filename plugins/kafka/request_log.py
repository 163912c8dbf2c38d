"""Lines of the access log for single requests, beside that of their connection: which ones, and what they print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import random
from typing import Any, ClassVar

from l4proxy.access_log.operator_table import Reader
from l4proxy.access_log.operators import OPERATORS
from l4proxy.config.types import Duration, Percent
from l4proxy.errors import did_you_mean
from l4proxy.plugins.exchange_record import ExchangeRecord, fits, reader_of
from l4proxy.plugins.kafka.exchange import KafkaExchange
from l4proxy.protocols.kafka.apis import BY_NAME

__all__ = ["KafkaRecord", "RequestLog"]

DEFAULT_TEXT = (
    "%START_TIME% #%CONNECTION_ID% %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% %KAFKA_API% v%KAFKA_API_VERSION%"
    " client=%KAFKA_CLIENT_ID% > %UPSTREAM_HOST% topics=%KAFKA_TOPICS% records=%KAFKA_RECORDS% group=%KAFKA_GROUP%"
    " received=%BYTES_RECEIVED% sent=%BYTES_SENT% ms=%DURATION% %KAFKA_ERROR%"
)
DEFAULT_JSON = {
    "start_time": "%START_TIME%",
    "connection_id": "%CONNECTION_ID%",
    "listener": "%LISTENER_NAME%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "upstream_host": "%UPSTREAM_HOST%",
    "api": "%KAFKA_API%",
    "api_version": "%KAFKA_API_VERSION%",
    "client_id": "%KAFKA_CLIENT_ID%",
    "principal": "%KAFKA_PRINCIPAL%",
    "topics": "%KAFKA_TOPICS%",
    "records": "%KAFKA_RECORDS%",
    "group": "%KAFKA_GROUP%",
    "error": "%KAFKA_ERROR%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
}


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Which requests the access log has lines of. All conditions have to hold."""

    apis: tuple[str, ...] = ()
    """Only these: `["Produce", "OffsetCommit"]`."""
    topics: tuple[str, ...] = ()
    """Only about topics that one of these patterns fits: `["orders", "audit-*"]`."""
    groups: tuple[str, ...] = ()
    """Only of consumer groups that one of these patterns fits."""
    clients: tuple[str, ...] = ()
    """Only of clients whose client id, or address, one of these patterns fits."""
    errors_only: bool = False
    """Only where the response has an error code."""
    min_duration: Duration = Duration(0.0)
    """Only what took at least so long. A fetch waits for records as long as the consumer wants."""
    sample: Percent = Percent(100.0)
    """So many of those that are left, chosen at random."""

    def __post_init__(self) -> None:
        for api in self.apis:
            if api not in BY_NAME:
                raise ValueError(f"apis: there is no {api!r}{did_you_mean(api, BY_NAME)}")

    def chooses(self, exchange: KafkaExchange) -> bool:
        """The cheap conditions first, sampling last."""
        return (
            (not self.apis or exchange.kind in self.apis)
            and (not self.errors_only or bool(exchange.error))
            and (not self.min_duration or (exchange.seconds or 0) >= self.min_duration)
            and (not self.topics or fits(exchange.topics(), self.topics))
            and (not self.groups or fits(exchange.groups(), self.groups))
            and (not self.clients or fits(exchange.callers(), self.clients))
            and (self.sample >= 100 or random() * 100 < self.sample)
        )


@dataclass(slots=True)
class KafkaRecord(ExchangeRecord):
    """One request with its response."""

    default_text: ClassVar[str] = DEFAULT_TEXT
    default_json: ClassVar[Mapping[str, Any]] = DEFAULT_JSON
    spoken: ClassVar[str] = "kafka"
    line_type: ClassVar[str] = "KafkaRequest"


def _of_exchange(read: Callable[[KafkaExchange], Any]) -> Reader:
    return reader_of(KafkaExchange, lambda exchange: read(exchange) or None)


_add = OPERATORS.add
_add("KAFKA_API", _of_exchange(lambda exchange: exchange.kind), "The API: Produce, Fetch ...")
_add("KAFKA_API_VERSION", reader_of(KafkaExchange, lambda exchange: exchange.version), "Its version.")
_add("KAFKA_CLIENT_ID", _of_exchange(lambda exchange: exchange.client_id), "The client id.")
_add("KAFKA_PRINCIPAL", _of_exchange(lambda exchange: exchange.principal), "Who the client is, by SASL.")
_add("KAFKA_TOPICS", _of_exchange(lambda exchange: ",".join(exchange.topics())), "The topics that it is about.")
_add("KAFKA_GROUP", _of_exchange(lambda exchange: ",".join(exchange.groups())), "The consumer group that it is about.")
_add("KAFKA_RECORDS", _of_exchange(lambda exchange: exchange.records()), "Records that were produced or fetched.")
_add("KAFKA_ERROR", _of_exchange(lambda exchange: exchange.error), "The first error code in the response, by name.")
_add(
    "KAFKA_CORRELATION_ID",
    reader_of(KafkaExchange, lambda exchange: exchange.correlation_id),
    "What pairs the response with the request.",
)
