"""What members of a classic consumer group tell each other through their coordinator: subscriptions and assignments.

To the protocol of groups these are bytes; Kafka's own consumers, and coordinators since they know groups of the new
kind, read topics in them (ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0 to 3). What an
assignor puts in ``user_data`` is its own, and stays as it is.
"""

from __future__ import annotations

import struct

from l4proxy.protocols.kafka.api import api
from l4proxy.protocols.kafka.names import Decide, Names
from l4proxy.protocols.kafka.splice import splice
from l4proxy.protocols.kafka.wire import UNREADABLE

__all__ = ["CONSUMER", "rename_assignment", "rename_subscription"]

CONSUMER = b"consumer"
"""The type of protocol of groups whose members are consumers."""
NEWEST = 3

_PROTOCOL = api(
    -1,
    "ConsumerProtocol",
    versions=(0, NEWEST),
    flexible=None,
    request="""
        version int16
        topic_names []string
        user_data bytes?
        owned_partitions []      1+
          topic string
          partitions []int32
        ...
    """,
    response="""
        version int16
        assigned_partitions []
          topic string
          partitions []int32
        ...
    """,
)
_NAMES = {
    (kind, version): Names(_PROTOCOL, version, kind)
    for kind in ("request", "response")
    for version in range(NEWEST + 1)
}


def rename_subscription(data: bytes, decide: Decide) -> bytes:
    """A member's subscription with other names of topics. What is none is returned as it is."""
    return _rename("request", data, decide)


def rename_assignment(data: bytes, decide: Decide) -> bytes:
    """A member's assignment with other names of topics. What is none is returned as it is."""
    return _rename("response", data, decide)


def _rename(kind: str, data: bytes, decide: Decide) -> bytes:
    try:
        (version,) = struct.unpack_from(">h", data)
        names = _NAMES[kind, min(max(version, 0), NEWEST)]
        return splice(data, 0, len(data), names.decide(data, 0, len(data), decide).changes)
    except UNREADABLE:
        return data
