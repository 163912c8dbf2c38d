"""``l4proxy kafka``."""

from __future__ import annotations

import argparse
import contextlib

from l4proxy.address import Address, AddressRange
from l4proxy.cli.quick import Draft, QuickCommand

__all__ = ["Kafka", "with_broker_ports"]

BROKER_PORTS = 100
"""Ports for single brokers behind the one at which clients bootstrap, unless LISTEN says how many."""


class Kafka(QuickCommand):
    """Proxy a cluster of Kafka brokers, without a configuration file.

    examples:
      l4proxy kafka :19092 kafka.example.com:9092
      l4proxy kafka 127.0.0.1:19092-19100 kafka1:9092 kafka2:9092
      l4proxy kafka :19092 localhost:9092 --use kafka --admin 127.0.0.1:9901

    Clients bootstrap at LISTEN, and find broker 0 at the next port, broker 1 at the
    one behind it, and so on: 100 ports are opened, or those of a range.
    """

    name = "kafka"
    terminal_filter = "kafka_proxy"

    def draft(self, args: argparse.Namespace) -> Draft:
        args.listen = with_broker_ports(args.listen)
        return super().draft(args)


def with_broker_ports(listen: str) -> str:
    """Room for brokers behind a single port."""
    with contextlib.suppress(ValueError):
        address = Address.parse(listen)
        if address.port and address.port + BROKER_PORTS < 65536:
            return str(AddressRange(address.host, address.port, address.port + BROKER_PORTS))
    return listen
