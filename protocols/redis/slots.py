"""Redis Cluster: which of the 16384 slots does a key belong to?

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["SLOTS", "hash_tag", "hash_tags", "in_slots", "slot_of"]

T = TypeVar("T")

SLOTS = 16384
_MASK = SLOTS - 1


def hash_tag(key: bytes) -> bytes:
    """The part of a key that decides where it belongs: what stands between the first ``{`` and the next ``}``, unless
    that is nothing; else all of it."""
    start = key.find(b"{")
    if start < 0:
        return key
    end = key.find(b"}", start + 1)
    return key[start + 1 : end] if end > start + 1 else key


def hash_tags(keys: Sequence[bytes], data: bytes) -> Sequence[bytes]:
    """Of several keys, which stand in ``data``: most have no braces, and then nothing has to be done."""
    return list(map(hash_tag, keys)) if b"{" in data else keys


def in_slots(slots: Sequence[T], tags: Sequence[bytes]) -> list[T]:
    """For each hash tag, which of ``slots`` it belongs to."""
    return [slots[crc_hqx(tag, 0) & _MASK] for tag in tags]


def slot_of(key: bytes) -> int:
    """The slot, 0 to 16383. (CRC-16/XMODEM, which the standard library knows as the checksum of BinHex files.)"""
    return crc_hqx(key if b"{" not in key else hash_tag(key), 0) & _MASK
