"""The Huffman code: the table of RFC 7541, both ways, against the package hpack."""

from __future__ import annotations

import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.http2 import huffman
from l4proxy.protocols.http2.huffman import decode_huffman, encode_huffman


def test_the_code_is_that_of_the_rfc() -> None:
    assert [int(bits, 2) for bits in huffman._CODES] == REQUEST_CODES
    assert [len(bits) for bits in huffman._CODES] == REQUEST_CODES_LENGTH


@pytest.mark.parametrize(
    ("text", "coded"),
    [
        ("", ""),
        ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        ("no-cache", "a8eb10649cbf"),
        ("custom-value", "25a849e95bb8e8b4bf"),
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
    ],
)
def test_examples_of_the_rfc(text: str, coded: str) -> None:
    assert encode_huffman(text.encode()).hex() == coded
    assert decode_huffman(bytes.fromhex(coded)) == text


@given(st.binary(max_size=200))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    assert decode_huffman(encode_huffman(data)).encode("latin-1") == data


@given(st.binary(max_size=20))
def test_what_is_decoded_is_what_an_encoder_made(data: bytes) -> None:
    """Every text has one encoding: whatever else is refused (padding, the end-of-string symbol)."""
    try:
        text = decode_huffman(data)
    except RemoteProtocolError:
        return
    assert encode_huffman(text.encode("latin-1")) == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff\xff\xfc", id="end-of-string"),
        pytest.param(b"\x1f\xff", id="a byte of padding"),
        pytest.param(b"\x00", id="zeros as padding"),
    ],
)
def test_no_encoder_makes_this(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="Huffman"):
        decode_huffman(data)
