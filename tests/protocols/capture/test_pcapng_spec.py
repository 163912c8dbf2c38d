from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.capture.pcapng import PcapngReader
from l4proxy.protocols.capture.pcapng_spec import file_spec

U32 = st.integers(0, 0xFFFFFFFF)
PACKETS = st.lists(st.tuples(st.integers(0, 2), U32, U32, U32, st.binary(max_size=40)), max_size=5)
LINK_TYPES = st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3)


@given(st.sampled_from("<>"), LINK_TYPES, PACKETS, st.binary(max_size=9))
def test_what_is_declared_is_read(
    order: str, link_types: list[int], packets: list[tuple[int, int, int, int, bytes]], comment: bytes
) -> None:
    commented = [{"code": 1, "value": comment}, {"code": 0, "value": b""}]
    blocks = [{"kind": 0x0A0D0D0A, "body": {"options": commented}}]
    blocks += [{"kind": 1, "body": {"link_type": one, "snaplen": 0, "options": commented}} for one in link_types]
    names = ("interface", "high", "low", "length", "data")
    blocks += [{"kind": 6, "body": {**dict(zip(names, one, strict=True)), "options": commented}} for one in packets]
    file = file_spec(order).build(blocks)
    assert [
        (at, link_type, length, data[start:end])
        for at, link_type, data, start, end, length in PcapngReader().feed(file)
    ] == [((high << 32 | low) / 10**6, link_types[at], length, data) for at, high, low, length, data in packets]
    assert file_spec(order).build(file_spec(order).parse(file)) == file
