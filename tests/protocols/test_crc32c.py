from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.crc32c import crc32c, crc32c_changed


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720 B.4, and the check value of the CRC catalogues
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@given(st.binary(max_size=40), st.data(), st.binary(max_size=300) | st.binary(min_size=5000, max_size=5000))
def test_what_is_changed_at_the_beginning(old: bytes, data: st.DataObject, rest: bytes) -> None:
    new = data.draw(st.binary(min_size=len(old), max_size=len(old)))
    assert crc32c_changed(crc32c(old + rest), old, new, len(rest)) == crc32c(new + rest)
