"""Record batches without the producer that numbered them, for who sends them to another cluster, in another order.

A broker takes the batches of an idempotent producer only in the order of their numbers. Somewhere else, where some may
be missing, they have to be nobody's. The header is changed and its checksum with it; records are not touched.
"""

from __future__ import annotations

import struct

from l4proxy.protocols.crc32c import crc32c_changed
from l4proxy.protocols.kafka.batches import HEADER_SIZE, batches

__all__ = ["anonymous"]

CRC_AT = 17
CHECKED = 21
"""Where the bytes begin that the checksum is of."""
PRODUCER_AT = 43
NOBODY = struct.pack(">qhi", -1, -1, -1)
"""Id, epoch and first sequence number of no producer."""


def anonymous(data: bytes) -> bytes:
    """The batches in ``data``. Raises what `wire.UNREADABLE` names."""
    out = data
    for batch in batches(data, 0, len(data)):
        if batch.magic != 2 or batch.producer_id < 0:
            continue
        start = batch.at
        old = data[start + CHECKED : start + HEADER_SIZE]
        at = PRODUCER_AT - CHECKED
        new = old[:at] + NOBODY + old[at + len(NOBODY) :]
        (crc,) = struct.unpack_from(">I", data, start + CRC_AT)
        crc = crc32c_changed(crc, old, new, batch.size - HEADER_SIZE)
        head = out[: start + CRC_AT] + struct.pack(">I", crc) + new
        out = head + out[start + HEADER_SIZE :]
    return out
