"""Record batches from their headers: what Produce and Fetch carry, without opening it.

A batch (format 2, since Kafka 0.11) begins with 61 bytes that say how many records it holds, which offsets, which
codec, whose. What is behind them may be compressed, and is not looked at. Formats 0 and 1 are rows of messages, each
with its offset and size; there a compressed message is a wrapper around others, whose number it does not tell.

``records`` fields are the bulk of Kafka's traffic. `summarise` adds up the batches of one that is there as a whole,
`stream_records` those of one whose bytes pass by; `batches` reads everything that the headers say.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from typing import NamedTuple, NoReturn

from l4proxy.protocols.kafka.wire import Chunk, Unreadable, more

__all__ = [
    "CODECS",
    "HEADER_SIZE",
    "Batch",
    "Producer",
    "Summary",
    "batches",
    "lone_summary",
    "stream_records",
    "summarise",
]

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
"""By the lowest three bits of a batch's attributes."""
CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20

LOG_OVERHEAD = 12
"""Bytes of offset and length, in front of a batch or a message."""
HEADER_SIZE = 61
MESSAGE_SIZE = 18
"""Bytes of a message of format 0 or 1 up to its attributes."""

_header = struct.Struct(">qiibIhiqqqhii").unpack_from
_lone = struct.Struct(">qi4xb4xhi16xqhii").unpack_from
_identity = struct.Struct(">43xqhi").unpack_from
_count = struct.Struct(">qi4xb4xhi30xi").unpack_from
_message = struct.Struct(">qi4xbb").unpack_from


Producer = tuple[int, int, int]
"""An idempotent producer's id, its epoch, and the sequence number of the first record."""

Summary = tuple[int, int, int, int, int, int, Producer | None]
"""What a ``records`` field holds: ``(records, batches, control_batches, attributes, next_offset, size, producer)``.

Control batches hold the markers of transactions; they are not among ``batches``, nor are their records among
``records``. ``attributes`` are those of the last batch, ``next_offset`` is one more than its last offset (a producer
numbers from 0; -1 where there is no batch). ``size`` counts the bytes of whole batches: a fetch may end with a part of
one, which consumers ignore, too. ``producer`` is told where there is one batch alone, as in Produce requests, and it is
of an idempotent producer. A plain tuple, because there is one for every partition of every message."""


def codec(attributes: int) -> str:
    """The codec's name, by a batch's attributes."""
    number = attributes & CODEC_MASK
    return CODECS[number] if number < len(CODECS) else f"codec_{number}"


class Batch(NamedTuple):
    """The header of a batch; ``at`` is where it begins, ``size`` counts all of it, in bytes. Of formats 0 and 1, the
    message, with what it does not have as -1."""

    at: int
    size: int
    magic: int
    base_offset: int
    partition_leader_epoch: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    """Milliseconds since the epoch."""
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def codec(self) -> str:
        return codec(self.attributes)

    @property
    def is_transactional(self) -> bool:
        return self.magic > 1 and bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return self.magic > 1 and bool(self.attributes & CONTROL)


def lone_summary(data: bytes, pos: int, size: int) -> Summary | None:
    """Of ``size`` bytes, at least `HEADER_SIZE`, that are one batch of format 2 and nothing else, as producers send it.
    None: they are not."""
    base, length, magic, flags, last, producer, epoch, sequence, held = _lone(data, pos)
    if magic != 2 or length + LOG_OVERHEAD != size or held < 0 or flags & CONTROL:
        return None
    return held, 1, 0, flags, base + last + 1, size, None if producer < 0 else (producer, epoch, sequence)


def summarise(data: bytes, pos: int, stop: int) -> Summary:
    """Add up the batches in ``data[pos:stop]``. Raises what `wire.UNREADABLE` names."""
    if stop - pos >= HEADER_SIZE and (summary := lone_summary(data, pos, stop - pos)) is not None:
        return summary
    start = pos
    records = count = controls = attributes = 0
    next_offset = -1
    while stop - pos >= HEADER_SIZE:
        base, length, magic, flags, last, held = _count(data, pos)
        if magic != 2:
            break
        if held < 0 or length < HEADER_SIZE - LOG_OVERHEAD:
            _refuse(length, held)
        if pos + length + LOG_OVERHEAD > stop:
            return records, count, controls, attributes, next_offset, pos - start, None
        pos += length + LOG_OVERHEAD
        attributes = flags
        next_offset = base + last + 1
        if flags & CONTROL:
            controls += 1
        else:
            count += 1
            records += held
    while stop - pos >= MESSAGE_SIZE:
        offset, length, magic, flags = _message(data, pos)
        if magic == 2:
            break
        _check_message(length, magic)
        if pos + length + LOG_OVERHEAD > stop:
            break
        pos += length + LOG_OVERHEAD
        attributes = flags
        next_offset = offset + 1
        count += 1
        records += 1
    return records, count, controls, attributes, next_offset, pos - start, None


def stream_records(data: bytes, pos: int, end: int, size: int) -> Generator[int, Chunk, tuple[Summary, *Chunk]]:
    """Add up the batches in the next ``size`` bytes of a message whose chunks come one after the other."""
    records = count = controls = attributes = 0
    next_offset = -1
    producer = None
    left = size
    while left >= MESSAGE_SIZE:
        magic = -1
        if left >= HEADER_SIZE:
            if end - pos < HEADER_SIZE:
                data, pos, end = yield from more(data, pos, end, HEADER_SIZE)
            base, length, magic, flags, last, held = _count(data, pos)
        if magic != 2:
            if end - pos < MESSAGE_SIZE:
                data, pos, end = yield from more(data, pos, end, MESSAGE_SIZE)
            base, length, magic, flags = _message(data, pos)
            if magic == 2:
                break
            _check_message(length, magic)
            last, held = 0, 1
        elif held < 0 or length < HEADER_SIZE - LOG_OVERHEAD:
            _refuse(length, held)
        elif length + LOG_OVERHEAD == size and (identity := _identity(data, pos))[0] >= 0:
            producer = identity
        if length + LOG_OVERHEAD > left:
            break
        pos += length + LOG_OVERHEAD
        left -= length + LOG_OVERHEAD
        attributes = flags
        next_offset = base + last + 1
        if flags & CONTROL and magic == 2:
            controls += 1
        else:
            count += 1
            records += held
    return (records, count, controls, attributes, next_offset, size - left, producer), data, pos + left, end


def batches(data: bytes, pos: int, stop: int) -> Iterator[Batch]:
    """Everything that the headers in ``data[pos:stop]`` say. Raises what `wire.UNREADABLE` names."""
    while stop - pos >= MESSAGE_SIZE:
        offset, length, magic, flags = _message(data, pos)
        if magic == 2:
            if stop - pos < HEADER_SIZE:
                return
            base, length, epoch, _, _, flags, last, first_at, last_at, producer, generation, sequence, held = _header(
                data, pos
            )
            if held < 0 or length < HEADER_SIZE - LOG_OVERHEAD:
                _refuse(length, held)
            found = (base, epoch, flags, last, first_at, last_at, producer, generation, sequence, held)
        else:
            _check_message(length, magic)
            found = (offset, -1, flags, 0, -1, -1, -1, -1, -1, 1)
        size = length + LOG_OVERHEAD
        if pos + size > stop:
            return
        yield Batch(pos, size, magic, *found)
        pos += size


def _refuse(length: int, held: int) -> NoReturn:
    raise Unreadable(f"a batch of {length} bytes with {held} records", code="bad_batch")


def _check_message(length: int, magic: int) -> None:
    if magic not in (0, 1):
        raise Unreadable(f"a batch of format {magic}", code="bad_magic")
    if length < MESSAGE_SIZE - LOG_OVERHEAD:
        raise Unreadable(f"a message of {length} bytes", code="bad_batch")
