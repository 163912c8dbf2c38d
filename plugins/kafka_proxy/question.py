"""Asking a cluster which brokers it has.

Where clients have to authenticate, brokers answer nobody else: they close the connection. Then what clients are told
has to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.errors import UpstreamError
from l4proxy.plugins.kafka_proxy.asking import Line
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.addresses import Broker, rewrite_of
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.wire import UNREADABLE

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster

__all__ = ["ASK_FOR_BROKERS", "METADATA_VERSION", "OWN_ID", "ask_for_brokers"]

OWN_ID = -1
"""The correlation id of what the proxy asks itself."""
METADATA_VERSION = 1
"""The first in which an empty list of topics means none."""
ASK_FOR_BROKERS = plain.request(METADATA, METADATA_VERSION, {"topics": []}, OWN_ID)
"""A Metadata request for no topics."""
TIMEOUT = 5.0
ANSWER_LIMIT = 1024 * 1024
_HEADER = 4


class _Answer:
    """Learns, and has nothing to tell."""

    renumbers = False

    def __init__(self) -> None:
        self.brokers: list[Broker] = []

    def learn(self, brokers: Sequence[Broker], *, all: bool) -> None:
        self.brokers += brokers

    def place(self, node: int) -> None:
        return None

    def number(self, node: int) -> int:
        return node


async def ask_for_brokers(cluster: Cluster) -> list[Broker]:
    """Return all brokers with their addresses. Raises UpstreamError, where none is reached or none answers."""
    line = await Line.open(cluster, ANSWER_LIMIT)
    try:
        return _read(await line.ask(ASK_FOR_BROKERS, TIMEOUT))
    except (OSError, RemoteProtocolError, *UNREADABLE) as error:  # a timeout is an OSError, too
        why = str(error) or f"no answer within {TIMEOUT:g} s"
        text = f"broker {line.endpoint.name} does not say which brokers there are: {why}"
        raise UpstreamError("UF", "brokers_unknown", text) from error
    finally:
        line.close()


def _read(frame: bytes) -> list[Broker]:
    found = _Answer()
    rewrite = rewrite_of(METADATA, METADATA_VERSION)
    assert rewrite is not None
    rewrite.changes(frame, _HEADER, len(frame), found)
    return found.brokers
