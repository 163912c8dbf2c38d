from __future__ import annotations

from typing import Any

from construct import ConstructError
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.ip import ip_text
from l4proxy.protocols.proxy_protocol import V2_SIGNATURE, Endpoint, ProxyHeader, Tlv, encode_v2, read_header
from l4proxy.protocols.proxy_protocol_spec import header_spec

ADDRESS_SIZES = {1: 12, 2: 36, 3: 216}


def body(family: int, transport: int, addresses: bytes, rest: bytes) -> bytes:
    return bytes([family << 4 | transport]) + len(addresses + rest).to_bytes(2, "big") + addresses + rest


ADDRESSES = [b"", bytes(11), *(bytes(range(size)) for size in ADDRESS_SIZES.values())]
TLVS = [b"\x02\0\1a", b"\xe0\0\0", b"\4\0\2xx", b"\xe1\0", b"\xe1\0\3a"]
BODIES = st.builds(
    body,
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from(ADDRESSES),
    st.lists(st.sampled_from(TLVS), max_size=4).map(b"".join),
)


def declared(data: bytes) -> ProxyHeader | None:
    """The header as the declaration has it; None where it finds none, or one that receivers skip."""
    try:
        found = header_spec().parse(data)
    except ConstructError:
        return None
    family, transport = found.protocol.family, found.protocol.transport
    if found.kind.command != 1 or family not in ADDRESS_SIZES or transport not in (1, 2):
        return None
    tlvs = tuple((one.type, one.value) for one in found.body.tlvs if one.type != Tlv.NOOP)
    return ProxyHeader(2, len(data), *ends(family, found.body.addresses), tlvs)


def ends(family: int, addresses: Any) -> tuple[Endpoint, Endpoint]:
    if family == 3:
        return addresses.source.rstrip(b"\0"), addresses.destination.rstrip(b"\0")
    source = ip_text(addresses.source), addresses.source_port
    return source, (ip_text(addresses.destination), addresses.destination_port)


@given(BODIES, st.sampled_from([0x20, 0x21, 0x22, 0x11]))
def test_what_is_declared_is_what_is_read(body: bytes, command: int) -> None:
    data = V2_SIGNATURE + bytes([command]) + body
    try:
        header = read_header(data)
    except RemoteProtocolError:
        header = None
    if header and header.source is None:  # skipped: the declaration need not like what is in there
        header = None
    assert header == declared(data)


@given(st.integers(0, 0xFF), st.binary(max_size=50))
def test_what_is_written_is_what_is_declared(kind: int, value: bytes) -> None:
    if kind in (Tlv.CRC32C, Tlv.SSL):
        return

    addresses = {"source": b"\xc0\0\2\1", "destination": b"\xc0\0\2\2", "source_port": 1, "destination_port": 2}
    built = header_spec().build(
        {
            "kind": {"command": 1},
            "protocol": {"family": 1, "transport": 1},
            "body": {"addresses": addresses, "tlvs": [{"type": kind, "value": value}]},
        }
    )
    assert encode_v2(("192.0.2.1", 1), ("192.0.2.2", 2), tlvs=[(kind, value)]) == built
