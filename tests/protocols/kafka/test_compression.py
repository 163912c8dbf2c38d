from __future__ import annotations

import gzip

import lz4.frame
import pytest
import zstandard
from kafka.codec import snappy_encode

from l4proxy.protocols.kafka.batches import CODECS
from l4proxy.protocols.kafka.compression import UnsupportedCodec, unpack_codec
from l4proxy.protocols.kafka.wire import Unreadable

CONTENT = b"content" * 1000
PACKED = {
    "gzip": gzip.compress(CONTENT),
    "snappy": snappy_encode(CONTENT),
    "lz4": lz4.frame.compress(CONTENT),
    "zstd": zstandard.compress(CONTENT),
}


def test_every_codec_is_here() -> None:
    assert {"none", *PACKED} == set(CODECS)
    assert {codec: unpack_codec(codec, packed, 7000) for codec, packed in PACKED.items()} == dict.fromkeys(
        PACKED, CONTENT
    )


@pytest.mark.parametrize("codec", PACKED)
def test_errors_have_names(codec: str) -> None:
    with pytest.raises(Unreadable, match="more than 6999 bytes when unpacked") as caught:
        unpack_codec(codec, PACKED[codec], 6999)
    assert caught.value.code == "unpack_limit"
    for broken in (b"nothing of the kind", PACKED[codec][:1] * 8):
        with pytest.raises(Unreadable, match=f"the records are not {codec}: ") as caught:
            unpack_codec(codec, broken, 7000)
        assert caught.value.code == "bad_compression"


def test_others_are_named() -> None:
    with pytest.raises(UnsupportedCodec, match="compressed with codec_5") as caught:
        unpack_codec("codec_5", b"", 7000)
    assert caught.value.code == "unsupported_codec"
