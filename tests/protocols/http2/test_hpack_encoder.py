"""HPACK, writing: against the decoder of the package hpack, and when the table changes."""

from __future__ import annotations

import random

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from http2_stories import STORIES, Fields
from l4proxy.protocols.http2.fields import NeverIndexed
from l4proxy.protocols.http2.hpack_decoder import Decoder
from l4proxy.protocols.http2.hpack_encoder import Encoder, encode_integer
from l4proxy.protocols.http_fields import FieldBlock


def decoded(decoder: hpack.Decoder, block: bytes) -> Fields:
    return [(name.decode(), value.decode("latin-1")) for name, value in decoder.decode(block, raw=True)]


@pytest.mark.parametrize("story", STORIES)
def test_stories_for_another_decoder(story: str) -> None:
    """Field by field and with the same table, while the peer changes the size of its table."""
    encoder, decoder = Encoder(), hpack.Decoder(max_header_list_size=2**20)
    rng = random.Random(story)
    for section in STORIES[story]:
        if rng.random() < 0.1:
            size = rng.choice((0, 100, 1000, 4096, 65536))
            decoder.max_allowed_table_size = size
            encoder.set_limit(size)
        assert decoded(decoder, encoder.begin() + encoder.encode(section)) == section
        assert encoder.table_size == decoder.header_table._current_size


@pytest.mark.parametrize("story", STORIES)
def test_stories_in_blocks(story: str) -> None:
    """Blocks remember how they were encoded, for several connections at once."""
    pairs = [(Encoder(), hpack.Decoder(max_header_list_size=2**20)) for _ in range(12)]
    rng = random.Random(story)
    blocks = [FieldBlock(section) for section in STORIES[story]]
    for _ in range(300):
        encoder, decoder = rng.choice(pairs)
        one, other = rng.choices(blocks[:20], k=2)
        encoded = encoder.begin() + encoder.encode_block(one) + encoder.encode_block(other)
        assert decoded(decoder, encoded) == [*one.fields, *other.fields]


@given(st.lists(st.lists(st.sampled_from([(n, v) for n in "abcdefgh" for v in ("", "x" * 300, "yy", "z" * 900)]))))
def test_any_fields_in_any_order(sections: list[Fields]) -> None:
    encoder, decoder = Encoder(), Decoder()
    for section in sections:
        block = encoder.begin() + encoder.encode(section)
        assert [entry[0] for entry in decoder.decode(block)] == section


def test_what_repeats_becomes_an_index_and_stays_it() -> None:
    encoder = Encoder()
    field = ("user-agent", "curl/8.5.0")
    first, second, third, fourth = (encoder.begin() + encoder.encode([field]) for _ in range(4))
    assert first[0] & 0xF0 == 0x00  # a literal
    assert second[0] & 0xC0 == 0x40  # a literal that is indexed
    assert third == fourth == b"\xbe"


def test_a_new_name_is_indexed_with_its_first_value() -> None:
    encoder = Encoder()
    first, second = (encoder.begin() + encoder.encode([("traceparent", value)]) for value in ("one", "two"))
    assert first[0] == 0x40
    assert second == b"\x0f\x2f\x03two"  # index 62, 15 + 47


def test_what_differs_each_time_leaves_the_table_alone() -> None:
    encoder = Encoder()
    block = FieldBlock([("user-agent", "curl/8.5.0"), ("accept", "*/*")])
    for path in range(50):
        encoded = encoder.begin() + encoder.encode([(":path", f"/{path}")]) + encoder.encode_block(block)
    assert encoded.endswith(encoder.encode_block(block))
    assert len(encoder.encode_block(block)) == 2
    assert encoder.table_size == sum(len(name) + len(value) + 32 for name, value in block.fields)


def test_a_full_table_changes_once_in_a_while() -> None:
    encoder = Encoder()
    changes = 0
    for turn in range(20):
        for number in range(100):
            before = encoder._token
            encoder.begin()
            encoder.encode([(":path", f"/{number}/" + "x" * 60)])
            changes += turn > 2 and encoder._token is not before
    assert 0 < changes <= 20 * 100 / 64 + 1


def test_secrets_are_not_indexed() -> None:
    encoder = Encoder()
    for _ in range(4):
        assert encoder.encode([("cookie", "id=1")])[0] & 0xF0 == 0x00
        assert encoder.encode([("x-token", NeverIndexed("1"))])[0] == 0x10
    assert encoder.table_size == 0
    encoder.encode([("x-token", "1")])
    assert encoder.encode([("x-token", "1")]) == b"\xbe"
    assert encoder.encode([("x-token", NeverIndexed("1"))])[0] & 0xF0 == 0x10


def test_host_goes_by_another_name_in_requests() -> None:
    block = FieldBlock([("host", "a"), ("accept", "*/*")])
    assert [entry[0] for entry in Decoder().decode(Encoder().encode_block(block, without_host=True))] == [
        ("accept", "*/*")
    ]


def test_a_smaller_and_then_larger_table_is_announced_by_both_sizes() -> None:
    encoder = Encoder()
    encoder.set_limit(0)
    encoder.set_limit(1000)
    assert encoder.begin() == b"\x20" + encode_integer(1000, 0x20)
    assert encoder.begin() == b""


@pytest.mark.parametrize(
    ("value", "encoded"), [(10, "2a"), (31, "3f00"), (1337, "3f9a0a"), (158, "3f7f"), (159, "3f8001")]
)
def test_integers(value: int, encoded: str) -> None:
    assert encode_integer(value, 0x20).hex() == encoded
