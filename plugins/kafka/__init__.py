"""Kafka: the observer filter, and the inspector that it shares with ``l4proxy sniff kafka``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.hookspecs import hookimpl

if TYPE_CHECKING:
    from l4proxy.hookspecs import Register

__all__: list[str] = []


@hookimpl
def register_filters(register: Register[Any]) -> None:
    from l4proxy.plugins.kafka.filter import Kafka

    register(Kafka)


@hookimpl
def register_inspectors(register: Register[Any]) -> None:
    from l4proxy.plugins.kafka.inspector import KafkaInspector

    register(KafkaInspector)
