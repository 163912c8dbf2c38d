"""HPACK, reading: against the encoder of the package hpack, and what no encoder makes."""

from __future__ import annotations

import random

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from http2_stories import STORIES
from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.http2.fields import NeverIndexed
from l4proxy.protocols.http2.hpack_decoder import Decoder


def fields(decoder: Decoder, block: bytes) -> list[tuple[str, str]]:
    return [entry[0] for entry in decoder.decode(block)]


@pytest.mark.parametrize("huffman", [False, True], ids=["plain", "huffman"])
@pytest.mark.parametrize("story", STORIES)
def test_stories_of_another_encoder(story: str, huffman: bool) -> None:
    """Field by field and with the same table behind each section, while the peer changes the size of its table."""
    encoder, decoder = hpack.Encoder(), Decoder()
    rng = random.Random(story)
    for section in STORIES[story]:
        if rng.random() < 0.1:
            encoder.header_table_size = rng.choice((0, 100, 1000, 4096))
        block = encoder.encode([(name, value.encode("latin-1")) for name, value in section], huffman=huffman)
        assert fields(decoder, block) == section
        assert decoder.table_size == encoder.header_table._current_size


@pytest.mark.parametrize(
    ("block", "section"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", [("custom-key", "custom-header")]),  # C.2.1
        ("040c2f73616d706c652f70617468", [(":path", "/sample/path")]),  # C.2.2
        ("100870617373776f726406736563726574", [("password", "secret")]),  # C.2.3
        ("82", [(":method", "GET")]),  # C.2.4
    ],
)
def test_examples_of_the_rfc(block: str, section: list[tuple[str, str]]) -> None:
    assert fields(Decoder(), bytes.fromhex(block)) == section


def test_a_field_that_may_never_be_indexed_stays_marked() -> None:
    decoder = Decoder()
    (entry,) = decoder.decode(bytes.fromhex("100870617373776f726406736563726574"))
    assert isinstance(entry[0][1], NeverIndexed)
    (entry,) = decoder.decode(bytes.fromhex("000870617373776f726406736563726574"))
    assert type(entry[0][1]) is str


def test_the_generation_is_that_of_the_table() -> None:
    decoder = Decoder()
    steps = {"82": False, "040c2f73616d706c652f70617468": False, "4001610162": True, "be": False, "3f00": True}
    for block, changes in steps.items():
        before = decoder.generation
        decoder.decode(bytes.fromhex(block))
        assert (decoder.generation != before) is changes, block


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="index 0"),
        pytest.param("be", id="index of an empty table"),
        pytest.param("ff808080808001", id="an index too large"),
        pytest.param("7e0161", id="a name by an index of an empty table"),
        pytest.param("00", id="no name"),
        pytest.param("0005616263", id="half a name"),
        pytest.param("000161", id="no value"),
        pytest.param("0001610562", id="half a value"),
        pytest.param("00016182ffff", id="a value that ends in padding"),
        pytest.param("0001617f", id="a value of no length"),
        pytest.param("0001617fffffffffff01", id="a value of a huge length"),
        pytest.param("8220", id="a table size behind a field"),
        pytest.param("3fe21f", id="a larger table than was allowed"),
        pytest.param("ff", id="half an integer"),
    ],
)
def test_what_no_encoder_makes(block: str) -> None:
    with pytest.raises(RemoteProtocolError, match="HPACK") as caught:
        Decoder().decode(bytes.fromhex(block))
    assert caught.value.code == "hpack_error"


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_an_error(block: bytes) -> None:
    """And where they are fields, the other decoder says the same."""
    other = hpack.Decoder()
    other.max_allowed_table_size = 4096
    try:
        section = fields(Decoder(), block)
    except RemoteProtocolError:
        return
    assert [(n.decode("latin-1"), v.decode("latin-1")) for n, v in other.decode(block, raw=True)] == section
