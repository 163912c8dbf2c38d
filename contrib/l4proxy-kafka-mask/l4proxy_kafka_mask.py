"""Mask members of JSON values that consumers read: a message filter for Kafka, as a package of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from json_mask import NotJson, mask

from l4proxy import Register, hookimpl
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.protocols.kafka.rewriting import change_values
from l4proxy.protocols.kafka.wire import Unreadable
from l4proxy.stats import Stats, counter

if TYPE_CHECKING:
    from l4proxy.server import Server

UNKNOWN_SERVER_ERROR = -1


@dataclass(frozen=True, slots=True)
class KafkaMaskConfig:
    fields: tuple[str, ...]
    """Names of members, at whatever depth: `["name", "card"]`."""
    topics: tuple[str, ...] = ("*",)
    """The topics in which they are masked: `["customers", "orders-*"]`."""
    clear_for: tuple[str, ...] = ()
    """Principals who may read everything."""

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("fields: write at least one")


class KafkaMaskStats(Stats, subsystem="kafka_mask"):
    """What consumers were shown."""

    masked_values_total = counter("Values in which something was masked.")
    withheld_values_total = counter("Values that are no JSON, and were shown as null.")
    withheld_partitions_total = counter("Partitions of responses that cannot be looked into, answered with an error.")


class _Shared:
    def __init__(self, config: KafkaMaskConfig, stats: KafkaMaskStats) -> None:
        self.stats = stats
        self.fields = frozenset(config.fields)
        self.topics = Patterns(config.topics)
        self.clear_for = Patterns(config.clear_for)

    def masked(self, value: bytes) -> bytes:
        """What a consumer is shown; what cannot be understood is not."""
        try:
            new = mask(value, self.fields)
        except NotJson:
            self.stats.withheld_values_total += 1
            return b"null".ljust(len(value)) if len(value) >= len(b"null") else b"0".ljust(len(value))
        self.stats.masked_values_total += new != value
        return new


class KafkaMask(KafkaFilter[KafkaMaskConfig]):
    """Mask members of JSON values in what consumers fetch.

        { use = "mask", topics = ["customers"], fields = ["name", "card"], clear_for = ["billing"] }

    Text becomes stars, numbers 0, all else null; sizes, offsets, keys and headers stay. What cannot be looked into is
    not shown: of batches that are broken consumers get an error instead, and of values that are no JSON, `null`.
    """

    name = "mask"
    wants = frozenset({"Fetch"})
    shared: _Shared

    @classmethod
    def provision(cls, config: KafkaMaskConfig, server: Server) -> _Shared:
        return _Shared(config, server.stats.group(KafkaMaskStats))

    @classmethod
    def goes_by_names(cls, config: KafkaMaskConfig) -> bool:
        return True

    def on_request(self, request: KafkaRequest) -> KafkaRequest:
        if self.shared.clear_for.matches(str(self.conn.state.get("kafka:principal", ""))):
            self.ignore_response(request)
            request.state[self.key("clear")] = True
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        if response.request.state.get(self.key("clear")):
            return response
        values = response.values
        changed = [
            self._mask(partition)
            for topic in values["responses"]
            if self.shared.topics.matches(topic["topic"])
            for partition in topic["partitions"]
        ]
        if any(changed):
            response.values = values
        return response

    def _mask(self, partition: dict[str, Any]) -> bool:
        """Mask what is in a partition; return whether it is another now."""
        records = partition["records"]
        if not records:
            return False
        try:
            partition["records"] = change_values(bytes(records), self.shared.masked)
        except Unreadable as error:
            self.shared.stats.withheld_partitions_total += 1
            self.conn.log.warning("records cannot be masked, and are not shown: %s", error)
            partition |= {"records": None, "error_code": UNKNOWN_SERVER_ERROR}
            return True
        return bool(partition["records"] != records)


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(KafkaMask)
