"""Rewriting responses that are too large to be kept: readers for a `passage.Passage`.

Of a **head** the size of the new one is known before anything leaves, so that the frame's size can be corrected. A
**tail** comes when that has left, and has to keep its own (see `addresses`).
"""

from __future__ import annotations

import struct
from collections.abc import Generator

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka.addresses import Directory, Rewrite
from l4proxy.protocols.kafka.passage import Reader
from l4proxy.protocols.kafka.splice import splice
from l4proxy.protocols.kafka.wire import UNREADABLE, Chunk, code_of, more, skip_tags, stream_tags

__all__ = ["KEPT_LIMIT", "read_head", "read_tail"]

KEPT_LIMIT = 1024 * 1024
"""Bytes of a head or a tail: the list of all brokers."""
_CORRELATION_ID = 4
_size = struct.Struct(">i").pack


def read_head(rewrite: Rewrite, tagged: bool, size: int, directory: Directory) -> Reader:
    """``tagged``: whether the response's header ends in tagged fields; ``size``: the frame's, in bytes."""
    data, pos, end = yield b""
    head = data[pos:end]
    enough = 0
    while True:
        if len(head) >= min(enough, size):
            try:
                at = skip_tags(head, _CORRELATION_ID) if tagged else _CORRELATION_ID
                changes = rewrite.changes(head, at, len(head), directory)
                break
            except UNREADABLE as error:
                if code_of(error) != "truncated" or len(head) == size or len(head) > KEPT_LIMIT:
                    raise _unreadable(error) from error
                enough = 2 * len(head)  # so that it is not tried for every byte
        data, pos, end = yield b""
        head += data[pos:end]
    new = splice(head, 0, len(head), changes)
    data, pos, end = yield _size(size + len(new) - len(head)) + new
    while True:
        data, pos, end = yield data[pos:end]


def read_tail(rewrite: Rewrite, tagged: bool, size: int, directory: Directory) -> Reader:
    """The same for a tail."""
    walker = _to_tail(rewrite, tagged)
    next(walker)
    data, pos, end = yield b""
    passed = _size(size)
    left = size
    while True:
        left -= end - pos
        try:
            walker.send((data, pos, end))
        except StopIteration as found:  # what a walker waits for lies in front of the tail: so the tail begins here
            tail_at = end - found.value
            break
        except UNREADABLE as error:
            raise _unreadable(error) from error
        data, pos, end = yield passed + data[pos:end] if passed else data[pos:end]
        passed = b""
    passed += data[pos:tail_at]
    tail = [data[tail_at:end]]
    if end - tail_at + left > KEPT_LIMIT:
        raise RemoteProtocolError(
            f"a response ends in {end - tail_at + left} bytes of addresses", code="oversized_message"
        )
    while left:
        data, pos, end = yield passed
        passed = b""
        tail.append(data[pos:end])
        left -= end - pos
    try:
        yield passed + rewrite.tail(b"".join(tail), directory)
    except UNREADABLE as error:
        raise _unreadable(error) from error


def _to_tail(rewrite: Rewrite, tagged: bool) -> Generator[int, Chunk, int]:
    """Walk to where the tail begins; return how many bytes there are behind it."""
    data, pos, end = yield 0
    data, pos, end = yield from more(data, pos, end, _CORRELATION_ID)
    pos += _CORRELATION_ID
    if tagged:
        data, pos, end = yield from stream_tags(data, pos, end)
    _, data, pos, end = yield from rewrite.to_tail(data, pos, end, lambda _: None)
    return end - pos


def _unreadable(error: Exception) -> RemoteProtocolError:
    return RemoteProtocolError(f"a response cannot be read: {error}", code=code_of(error))
