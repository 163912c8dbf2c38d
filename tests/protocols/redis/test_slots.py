from __future__ import annotations

import pytest

from l4proxy.protocols.redis.slots import SLOTS, hash_tag, hash_tags, in_slots, slot_of


# The first is the specification's own test vector, the others are what CLUSTER KEYSLOT says.
@pytest.mark.parametrize(
    ("key", "slot"), [(b"123456789", 0x31C3), (b"", 0), (b"foo", 12182), (b"somekey", 11058), (b"foo{hash_tag}", 2515)]
)
def test_slots(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"foo{}{bar}", b"foo{}{bar}"),
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"foo{bar", b"foo{bar"),
        (b"}foo{bar}", b"bar"),
        (b"plain", b"plain"),
    ],
)
def test_hash_tags(key: bytes, tag: bytes) -> None:
    assert hash_tag(key) == tag
    assert slot_of(key) == slot_of(tag)


def test_several() -> None:
    plain = [b"a", b"", b"}x", b"key:1"]
    for keys in (plain, [*plain, b"{a}1", b"{}2"], []):
        tags = hash_tags(keys, b"".join(keys))
        assert in_slots(range(SLOTS), tags) == [slot_of(key) for key in keys]
        assert [slot_of(tag) for tag in tags] == [slot_of(key) for key in keys]
