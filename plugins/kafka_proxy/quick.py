"""``l4proxy kafka``."""

from __future__ import annotations

from l4proxy.cli.quick import QuickCommand

__all__ = ["BROKER_PORTS", "Kafka"]

BROKER_PORTS = 100
"""Ports for single brokers behind the one at which clients bootstrap."""


class Kafka(QuickCommand):
    """Proxy a cluster of Kafka brokers, without a configuration file.

    examples:
      l4proxy kafka :19092 kafka.example.com:9092
      l4proxy kafka 127.0.0.1:19092-19100 kafka1:9092 kafka2:9092
      l4proxy kafka :19092 localhost:9092 --use kafka --admin 127.0.0.1:9901
      l4proxy kafka :19092 localhost:9092 --kafka prefix:prefix=team-a.

    Clients bootstrap at LISTEN, and find broker 0 at the next port, broker 1 at the
    one behind it, and so on: 100 ports are opened, or those of a range.
    """

    name = "kafka"
    terminal_filter = "kafka_proxy"
    protocol = "kafka"
    more_ports = BROKER_PORTS
