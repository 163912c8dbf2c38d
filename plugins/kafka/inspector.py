"""The Kafka inspector: what ``l4proxy sniff kafka`` and the ``kafka`` filter look with."""

from __future__ import annotations

from collections.abc import Sequence

from l4proxy.exchange import Selector
from l4proxy.filter import Side
from l4proxy.inspector import Framer, Inspector, Link
from l4proxy.plugins.kafka.config import KafkaConfig, KafkaSniffConfig
from l4proxy.plugins.kafka.contents import COLLECT_TO_SHOW, KeepingPlan
from l4proxy.plugins.kafka.conversation import KafkaConversation
from l4proxy.plugins.kafka.plan import ObserverPlan
from l4proxy.plugins.kafka.tables import tables
from l4proxy.plugins.kafka.view import view_of
from l4proxy.protocols.kafka.frames import COLLECT, cut_frames
from l4proxy.stats_registry import StatsRegistry
from l4proxy.table import Table

__all__ = ["KafkaInspector"]


class KafkaInspector(Inspector[KafkaSniffConfig]):
    """Watch clients talk to Kafka: topics, groups with their lag, clients, errors, latency. Needs no broker's help."""

    name = "kafka"
    ports = (9092,)
    terminal = "kafka_proxy"
    more_ports = 100
    kind_word = "api"
    selectors = (
        Selector("topic", "TOPIC", "calls about topics that fit", lambda exchange: exchange.topics()),
        Selector("group", "GROUP", "calls of consumer groups that fit", lambda exchange: exchange.groups()),
        Selector("client", "CLIENT", "calls of clients whose id or address fits", lambda exchange: exchange.callers()),
    )

    def __init__(self, config: KafkaConfig, stats: StatsRegistry) -> None:
        super().__init__(config, stats)  # type: ignore[arg-type]  # that of the filter shows nothing
        self.show: frozenset[str] = frozenset(config.show if isinstance(config, KafkaSniffConfig) else ())
        self.collect = COLLECT_TO_SHOW if self.show else COLLECT
        self.view = view_of(stats, config, KeepingPlan if self.show else ObserverPlan)

    def conversation(self, link: Link) -> KafkaConversation:
        return KafkaConversation(self, link)

    def tables(self) -> Sequence[Table]:
        return tables(self.view)

    def framer(self, side: Side) -> Framer | None:
        return cut_frames()
