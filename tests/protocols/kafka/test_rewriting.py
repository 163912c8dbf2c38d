from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kafka_messages import batch, record
from l4proxy.protocols.crc32c import crc32c
from l4proxy.protocols.kafka.batches import batches
from l4proxy.protocols.kafka.records import records
from l4proxy.protocols.kafka.rewriting import change_values
from l4proxy.protocols.kafka.wire import Unreadable

GZIP, ZSTD, UNKNOWN, CONTROL = 1, 4, 5, 0x20
PACK: dict[int, Callable[[bytes], bytes]] = {0: bytes, GZIP: gzip.compress, ZSTD: zstandard.compress}


def made(values: list[bytes | None], codec: int = 0) -> bytes:
    content = b"".join(record(at, b"key" * at, value) for at, value in enumerate(values))
    return batch(len(values), attributes=codec, packed=PACK[codec](content))


def read(data: bytes) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values; every checksum is right."""
    found = []
    for one in batches(data, 0, len(data)):
        whole = data[one.at : one.at + one.size]
        assert int.from_bytes(whole[17:21], "big") == crc32c(whole[21:])
        found += [(record.key, record.value) for record in records(data, one)]
    return found


@given(st.lists(st.none() | st.binary(max_size=200), max_size=5), st.sampled_from([0, GZIP, ZSTD]), st.booleans())
def test_values_are_others_and_all_else_is_the_same(values: list[bytes | None], codec: int, longer: bool) -> None:
    def change(value: bytes) -> bytes:
        return value + b"more" if longer else value.upper()

    data = made(values, codec) + made([b"last"], codec)
    expected = [(key, None if value is None else change(value)) for key, value in read(data)]
    assert read(change_values(data, change)) == expected


def test_every_client_reads_what_is_packed_anew() -> None:
    changed = change_values(made([b"a" * 99], ZSTD), bytes.upper)
    assert [one.codec for one in batches(changed, 0, len(changed))] == ["gzip"]


def test_what_does_not_change_stays_as_it_is() -> None:
    data = made([b"a", None], GZIP) + batch(attributes=CONTROL)
    assert change_values(data, lambda value: value) == data
    assert change_values(data + data[:40], lambda value: value) == data


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (batch(attributes=UNKNOWN), "unsupported_codec"),
        (batch(2, packed=record()), "bad_record"),
        (batch(packed=b"\x0c\0\0\0\x01\x7e\0"), "bad_record"),
        (bytes(8) + b"\0\0\0\x10" + bytes(4) + b"\1\0" + bytes(10), "old_format"),
    ],
)
def test_what_cannot_be_opened(data: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as caught:
        change_values(data, bytes.upper)
    assert caught.value.code == code
