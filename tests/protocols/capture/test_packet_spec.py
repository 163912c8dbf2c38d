from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.capture.packet import LINK_TYPES, LinkType, TcpFinder
from l4proxy.protocols.capture.packet_spec import ipv4_spec, ipv6_spec, link_specs, tcp_spec

IPV4, IPV6 = 0x0800, 0x86DD
PORTS = st.integers(0, 0xFFFF)
LINK_FIELDS: dict[str, Any] = {
    "destination": bytes(6), "source": bytes(6), "family": 2, "packet_type": 0, "hardware": 1, "address_length": 6,
    "address": bytes(8), "reserved": 0, "interface": 1, "tags": [],
}  # fmt: skip


def test_every_link_type_is_declared() -> None:
    assert set(link_specs()) == {LinkType.ETHERNET, *LINK_TYPES}


@st.composite
def packets(draw: st.DrawFn) -> tuple[int, bytes, bytes, bytes]:
    """A link type, a packet, and the key and the segment that are in it."""
    source, destination = draw(PORTS), draw(PORTS)
    words = draw(st.integers(5, 15))
    segment = tcp_spec().build({
        "source": source, "destination": destination, "seq": draw(st.integers(0, 0xFFFFFFFF)), "ack": 0,
        "offset": {"words": words, "reserved": 0}, "flags": {"ack": True}, "window": 1, "checksum": 0, "urgent": 0,
        "options": bytes(words * 4 - 20), "payload": draw(st.binary(max_size=20)),
    })  # fmt: skip
    if draw(st.booleans()):
        kind = IPV4
        words = draw(st.integers(5, 15))
        addresses = draw(st.binary(min_size=8, max_size=8))
        ip = ipv4_spec().build({
            "version": {"words": words}, "service": 0, "total": words * 4 + len(segment), "id": 0,
            "fragment": {"reserved": False, "whole": draw(st.booleans()), "more": False, "offset": 0}, "ttl": 1,
            "protocol": 6, "checksum": 0, "source": addresses[:4], "destination": addresses[4:],
            "options": bytes(words * 4 - 20), "payload": segment,
        })  # fmt: skip
    else:
        kind = IPV6
        addresses = draw(st.binary(min_size=32, max_size=32))
        headers = [*draw(st.lists(st.sampled_from([0, 43, 60]), max_size=4)), 6]
        extensions: list[dict[str, Any]] = [
            {"next": following, "length": length, "data": bytes(length * 8 + 6)}
            for following, length in ((one, draw(st.integers(0, 3))) for one in headers[1:])
        ]
        size = sum(len(extension["data"]) + 2 for extension in extensions)
        ip = ipv6_spec().build({
            "version": {"class": 0, "flow": 0}, "payload_length": size + len(segment), "next": headers[0], "hops": 1,
            "source": addresses[:16], "destination": addresses[16:], "extensions": extensions, "payload": segment,
        })  # fmt: skip
    link_type = draw(st.sampled_from(sorted(link_specs())))
    tags = [{"kind": 0x8100, "tag": 1}] * draw(st.integers(0, 3))
    head = link_specs()[link_type].build({**LINK_FIELDS, "kind": kind, "tags": tags})
    return link_type, head + ip, addresses + segment[:4], segment


@given(packets(), st.binary(max_size=10))
def test_what_is_declared_is_found(case: tuple[int, bytes, bytes, bytes], padding: bytes) -> None:
    link_type, packet, key, segment = case
    data = packet + padding
    found = TcpFinder().find(link_type, data, 0, len(data), len(data))
    assert found is not None
    assert (found[0], data[found[1] : found[2]]) == (key, segment)
    assert found[2] == found[3]
