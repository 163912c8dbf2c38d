"""Asking a cluster which brokers it has, on a connection of our own.

Where clients have to authenticate, brokers answer nobody else: they close the connection. Then what clients are told
has to do.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.connect import ConnectRequest
from l4proxy.errors import UpstreamError
from l4proxy.protocols.kafka.addresses import Broker, rewrite_of
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.frames import cut_frames
from l4proxy.protocols.kafka.wire import UNREADABLE

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster

__all__ = ["ASK_FOR_BROKERS", "METADATA_VERSION", "OWN_ID", "ask_for_brokers"]

OWN_ID = -1
"""The correlation id of what the proxy asks itself."""
METADATA_VERSION = 1
"""The first in which an empty list of topics means none."""
ASK_FOR_BROKERS = struct.pack(">ihhih7si", 21, METADATA.key, METADATA_VERSION, OWN_ID, 7, b"l4proxy", 0)
"""A Metadata request for no topics."""
TIMEOUT = 5.0
ANSWER_LIMIT = 1024 * 1024
_HEADER = 8
ATTEMPTS = 3


class _Answer:
    """Learns, and has nothing to tell."""

    def __init__(self) -> None:
        self.brokers: list[Broker] = []

    def learn(self, brokers: Sequence[Broker], *, all: bool) -> None:
        self.brokers += brokers

    def place(self, node: int) -> None:
        return None


async def ask_for_brokers(cluster: Cluster) -> list[Broker]:
    """Return all brokers with their addresses. Raises UpstreamError, where none is reached or none answers."""
    stream, endpoint = await cluster.open(ConnectRequest(attempts=ATTEMPTS))
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    cut = cut_frames(ANSWER_LIMIT)

    def received(data: bytes) -> None:
        try:
            frames = cut(data)
        except RemoteProtocolError as error:
            failed(error)
        else:
            if frames and not answer.done():
                answer.set_result(frames[0])

    def failed(error: Exception | None = None) -> None:
        if not answer.done():
            answer.set_exception(error or ConnectionResetError("the connection was closed"))

    stream.on_data, stream.on_eof, stream.on_lost = received, failed, failed
    try:
        stream.start()
        stream.write(ASK_FOR_BROKERS)
        async with asyncio.timeout(TIMEOUT):
            return _read(await answer)
    except (OSError, RemoteProtocolError, *UNREADABLE) as error:  # a timeout is an OSError, too
        why = str(error) or f"no answer within {TIMEOUT:g} s"
        text = f"broker {endpoint.name} does not say which brokers there are: {why}"
        raise UpstreamError("UF", "brokers_unknown", text) from error
    finally:
        stream.close()


def _read(frame: bytes) -> list[Broker]:
    found = _Answer()
    rewrite = rewrite_of(METADATA, METADATA_VERSION)
    assert rewrite is not None
    rewrite.changes(frame, _HEADER, len(frame), found)
    return found.brokers
