"""kafkajs, a Kafka client in JavaScript."""

from __future__ import annotations

from pathlib import Path

from services.npm import node_modules

__all__ = ["kafkajs_modules"]


def kafkajs_modules() -> Path:
    """A directory with ``node_modules``; skips the test where it cannot be had."""
    return node_modules("kafkajs", "2.2.4")
