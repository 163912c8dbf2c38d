from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.capture.pcap import CaptureError, PcapReader
from l4proxy.protocols.capture.pcap_spec import file_spec

MAGICS = {0xA1B2C3D4: 10**6, 0xA1B23C4D: 10**9}
U32 = st.integers(0, 0xFFFFFFFF)
RECORDS = st.lists(st.tuples(U32, st.integers(0, 999_999), U32, st.binary(max_size=40)), max_size=5)


@given(st.sampled_from("<>"), st.sampled_from(sorted(MAGICS)), st.integers(0, 0xFFFF), RECORDS)
def test_what_is_declared_is_read(
    order: str, magic: int, link_type: int, records: list[tuple[int, int, int, bytes]]
) -> None:
    names = ("seconds", "fraction", "length", "data")
    declared = [dict(zip(names, record, strict=True)) for record in records]
    file = file_spec(order).build({"magic": magic, "link_type": link_type, "records": declared})
    assert [(at, link, length, data[start:end]) for at, link, data, start, end, length in PcapReader().feed(file)] == [
        (seconds + part / MAGICS[magic], link_type, length, data) for seconds, part, length, data in records
    ]


WHOLE = file_spec("<").build({
    "magic": 0xA1B2C3D4, "link_type": 1, "records": [{"seconds": 1, "fraction": 2, "length": 9, "data": b"abc"}] * 3,
})  # fmt: skip


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_what_is_damaged_is_refused_or_read_as_declared(at: int, byte: int) -> None:
    file = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    try:
        read = [data[start:end] for _, _, data, start, end, _ in PcapReader().feed(file)]
    except CaptureError:
        return
    order = ">" if file[:1] == b"\xa1" else "<"
    header, records = file[:24], file[24:]
    while records:
        try:
            declared = file_spec(order).parse(header + records)
        except Exception:  # the last ones are not whole
            records = records[:-1]
            continue
        assert [record.data for record in declared.records][: len(read)] == read
        return
