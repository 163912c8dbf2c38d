from __future__ import annotations

import pytest

from captures import START, pcap
from l4proxy.protocols.capture.pcap import CaptureError
from l4proxy.protocols.capture.pcapng_spec import file_spec
from l4proxy.protocols.capture.reader import CaptureReader
from l4proxy.testing.splits import splits

PCAPNG = file_spec("<").build([
    {"kind": 0x0A0D0D0A, "body": {"options": []}},
    {"kind": 1, "body": {"link_type": 1, "snaplen": 0, "options": []}},
    {"kind": 6, "body": {"interface": 0, "high": 0, "low": 1, "length": 3, "data": b"abc", "options": []}},
    {"kind": 5, "body": {"interface": 0, "high": 0, "low": 0, "options": [{"code": 5, "value": b"\7" + bytes(7)}]}},
])  # fmt: skip


@pytest.mark.parametrize(("file", "dropped"), [(pcap([(START, b"abc")]), 0), (PCAPNG, 7)])
def test_the_first_bytes_say_which_format_it_is(file: bytes, dropped: int) -> None:
    for _, split in splits(seed=1, rounds=5):
        reader = CaptureReader()
        packets = [data[start:end] for chunk in split(file) for _, _, data, start, end, _ in reader.feed(chunk)]
        assert (packets, reader.dropped, reader.unfinished) == ([b"abc"], dropped, 0)


def test_what_is_no_capture() -> None:
    reader = CaptureReader()
    assert list(reader.feed(b"GE")) == []
    assert (reader.dropped, reader.unfinished) == (0, 2)
    with pytest.raises(CaptureError, match="this is no capture: it begins with 47455420"):
        reader.feed(b"T / HTTP/1.1")
