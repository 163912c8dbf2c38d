"""Kafka: the ``kafka_proxy`` filter, in front of whole clusters, and ``l4proxy kafka``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.hookspecs import hookimpl

if TYPE_CHECKING:
    from l4proxy.cli.command import Command
    from l4proxy.hookspecs import Register

__all__: list[str] = []


@hookimpl
def register_filters(register: Register[Any]) -> None:
    from l4proxy.plugins.kafka_proxy.filter import KafkaProxy

    register(KafkaProxy)


@hookimpl
def register_commands(register: Register[type[Command]]) -> None:
    from l4proxy.plugins.kafka_proxy.quick import Kafka

    register(Kafka)
