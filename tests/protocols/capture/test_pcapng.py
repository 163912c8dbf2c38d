from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.capture.pcap import CaptureError
from l4proxy.protocols.capture.pcapng import BLOCK_LIMIT, PcapngReader
from l4proxy.protocols.capture.pcapng_spec import file_spec
from l4proxy.testing.splits import splits

SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS, PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
NAMES, SECRETS, CUSTOM = 4, 10, 0xBAD
Block = tuple[int, dict[str, Any]]
Read = list[tuple[float, int, bytes, int]]


def options(**named: bytes) -> list[dict[str, Any]]:
    codes = {"comment": 1, "tsresol": 9, "tsoffset": 14, "ifdrop": 5, "osdrop": 7}
    return [{"code": codes[name], "value": value} for name, value in named.items()] + [{"code": 0, "value": b""}]


def build(order: str, *blocks: Block) -> bytes:
    built: bytes = file_spec(order).build([{"kind": kind, "body": {"options": [], **body}} for kind, body in blocks])
    return built


def interface(link_type: int = 1, snaplen: int = 0, **named: bytes) -> Block:
    return INTERFACE, {"link_type": link_type, "snaplen": snaplen, "options": options(**named)}


def packet(ticks: int, data: bytes, number: int = 0, *, length: int | None = None, kind: int = PACKET) -> Block:
    high, low = divmod(ticks, 1 << 32)
    body = {
        "interface": number,
        "high": high,
        "low": low,
        "length": len(data) if length is None else length,
        "data": data,
    }
    return kind, {**body, "drops": 0}


def read(*chunks: bytes) -> tuple[Read, PcapngReader]:
    reader, packets = PcapngReader(), []
    for chunk in chunks:
        for at, link_type, data, start, end, length in reader.feed(chunk):
            packets.append((at, link_type, data[start:end], length))
    return packets, reader


BEGIN: Block = (SECTION, {})
NOW = 1_700_000_000


def whole(order: str) -> bytes:
    drops = {"ifdrop": (3).to_bytes(8, "little" if order == "<" else "big")}
    return build(
        order,
        (SECTION, {"options": options(comment=b"hello")}),
        interface(),
        (NAMES, {"data": bytes(100)}),
        interface(113, tsresol=b"\x09"),
        packet(NOW * 10**6 + 500_000, b"one"),
        packet(NOW * 10**9 + 250_000_000, b"two", 1, length=200),
        (CUSTOM, {"data": bytes(4000)}),
        packet(NOW * 10**6, b"old", kind=OLD_PACKET),
        (SIMPLE_PACKET, {"length": 6, "data": b"simple\0\0"}),
        (STATISTICS, {"interface": 1, "high": 0, "low": 0, "options": options(**drops)}),
    )


SEEN: Read = [
    (NOW + 0.5, 1, b"one", 3),
    (NOW + 0.25, 113, b"two", 200),
    (NOW, 1, b"old", 3),
    (NOW, 1, b"simple", 6),
]


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_however_the_file_comes(order: str) -> None:
    for _, split in splits(seed=1, rounds=20):
        packets, reader = read(*split(whole(order)))
        assert packets == SEEN
        assert (reader.unfinished, reader.dropped) == (0, 3)


def test_sections_that_follow_one_another_have_byte_orders_and_interfaces_of_their_own() -> None:
    packets, reader = read(whole("<") + whole(">") + whole("<"))
    assert packets == SEEN * 3
    assert reader.dropped == 9


@pytest.mark.parametrize(
    ("tsresol", "ticks"), [(b"\0", NOW), (b"\3", NOW * 1000), (b"\x80", NOW), (b"\x8a", NOW * 1024)]
)
def test_resolutions_of_time(tsresol: bytes, ticks: int) -> None:
    packets, _ = read(build("<", BEGIN, interface(tsresol=tsresol), packet(ticks, b"")))
    assert packets[0][0] == NOW


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_an_offset_of_time(seconds: int) -> None:
    offset = interface(tsoffset=seconds.to_bytes(8, "big", signed=True))
    packets, _ = read(build(">", BEGIN, offset, packet(NOW * 10**6, b"")))
    assert packets[0][0] == NOW + seconds


def test_a_simple_packet_is_cut_off_as_its_interface_says() -> None:
    packets, _ = read(build("<", BEGIN, interface(snaplen=4), (SIMPLE_PACKET, {"length": 100, "data": b"abcd"})))
    assert packets == [(0.0, 1, b"abcd", 100)]


def test_a_file_that_ends_in_a_block() -> None:
    file = build("<", BEGIN, interface(), packet(0, b"a"), packet(0, b"b" * 100))
    packets, reader = read(file[:-1])
    assert len(packets) == 1
    assert reader.unfinished == 131
    _, reader = read(build("<", BEGIN, (CUSTOM, {"data": bytes(4000)}))[:-100])
    assert reader.unfinished == 100


LENGTHS = build("<", BEGIN, interface())


@pytest.mark.parametrize(("file", "said"), [
    (b"GET / HTTP/1.1\r\n\r\n", "it does not begin with a section"),
    (build("<", interface()), "it does not begin with a section"),
    (b"\x0a\x0d\x0d\x0a" + bytes(24), "its byte order is 00000000"),
    (LENGTHS[:-1] + b"\1", "a block's two lengths are not the same"),
    (LENGTHS + b"\6\0\0\0\7\0\0\0" + bytes(8), "a block of 7 bytes"),
    (LENGTHS + b"\6\0\0\0\x11\0\0\0" + bytes(20), "a block of 17 bytes"),
    (LENGTHS + b"\6\0\0\0" + (BLOCK_LIMIT + 4).to_bytes(24, "little"), f"a block of {BLOCK_LIMIT + 4} bytes"),
    (LENGTHS + b"\6\0\0\0\x10\0\0\0" + bytes(4) + b"\x10\0\0\0", "a packet without a header"),
    (LENGTHS + b"\2\0\0\0\x0c\0\0\0\x0c\0\0\0", "a block is too short"),
    (build("<", BEGIN, interface(), packet(0, b"", 1)), "a packet of interface 1, and there are 1"),
    (build("<", BEGIN, packet(0, b"")), "a packet of interface 0, and there are 0"),
    (build("<", BEGIN, interface(), packet(0, b"abc"))[:-16] + b"\xff\0\0\0" + bytes(8) + b"\x24\0\0\0", "."),
])  # fmt: skip
def test_files_that_are_none_or_damaged(file: bytes, said: str) -> None:
    with pytest.raises(CaptureError, match=f"this is no pcapng file, or a damaged one: {said}"):
        read(file)


def test_lengths_that_lie() -> None:
    file = bytearray(build("<", BEGIN, interface(), packet(0, b"abcd", kind=OLD_PACKET), packet(0, b"abcd")))
    for at in (len(file) - 16, len(file) - 36 - 16):
        lying = bytearray(file)
        lying[at : at + 4] = b"\xff\xff\0\0"
        with pytest.raises(CaptureError):
            read(bytes(lying))
    option = bytearray(build("<", BEGIN, interface(tsresol=b"\6")))
    option[-14] = 200
    with pytest.raises(CaptureError, match="an option is longer than its block"):
        read(bytes(option))


@given(st.integers(0, len(whole("<")) - 1), st.integers(0, 255), st.sampled_from("<>"))
def test_damage_is_refused_or_does_little(at: int, byte: int, order: str) -> None:
    file = whole(order)
    try:
        packets, _ = read(file[:at] + bytes([byte]) + file[at + 1 :])
    except CaptureError:
        return
    assert len(packets) <= len(SEEN)
