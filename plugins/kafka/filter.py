"""The ``kafka`` filter: the inspector in a filter chain."""

from __future__ import annotations

from l4proxy.plugins.kafka.config import KafkaConfig
from l4proxy.plugins.kafka.inspector import KafkaInspector
from l4proxy.plugins.observer import Observer

__all__ = ["Kafka"]


class Kafka(Observer[KafkaConfig]):
    """Watch clients talk to Kafka: records, latency, errors, consumer groups and their lag. Never changes or delays a
    byte."""

    name = "kafka"
    inspector = KafkaInspector
