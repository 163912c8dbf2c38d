"""The options of the Kafka inspector, and so of the observer filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from l4proxy.config.types import Duration, Range, Size
from l4proxy.protocols.kafka.frames import MAX_FRAME

__all__ = ["KafkaConfig", "KafkaSniffConfig"]


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    name: str = ""
    """Which Kafka cluster this is, where there are several: observers with the same name share what they know, and the
    name stands in front of topics and groups in metrics (`eu/orders`)."""
    max_frame: Annotated[Size, Range(1024)] = Size(MAX_FRAME)
    """The largest request or response; what claims to be larger is not Kafka, or not for this broker."""
    forget_after: Duration = Duration(3600.0)
    """Client ids, and groups without members, that were not seen for this long have no metrics any more; 0: they
    always have."""
    connection_storm: Annotated[int, Range(0)] = 100
    """More connections of one host than this within ten seconds are a storm: counted and logged; 0: never."""


@dataclass(frozen=True, slots=True)
class KafkaSniffConfig(KafkaConfig):
    """The options of ``l4proxy sniff kafka``."""

    show: tuple[Literal["keys", "headers", "values"], ...] = ()
    """Also show what is in the records: `keys`, `headers`, `values`. Off unless asked for, because it may be secret.
    Records that are compressed with anything but gzip, and those of messages of more than 1 MiB, are not shown."""
