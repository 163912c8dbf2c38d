"""Packets as declarations, to be read: `packet` is tested against them."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["ipv4_spec", "ipv6_spec", "link_specs", "tcp_spec"]


@cache
def link_specs() -> dict[int, Any]:
    """What stands in front of IP, by link type (https://www.tcpdump.org/linktypes.html)."""
    import construct as c

    tag = c.Struct("kind" / c.OneOf(c.Int16ub, (0x8100, 0x88A8, 0x9100)), "tag" / c.Int16ub)
    nothing = c.Struct()
    return {
        0: c.Struct("family" / c.Int32ul),
        1: c.Struct("destination" / c.Bytes(6), "source" / c.Bytes(6), "tags" / c.GreedyRange(tag), "kind" / c.Int16ub),
        12: nothing,
        14: nothing,
        101: nothing,
        108: c.Struct("family" / c.Int32ub),
        113: c.Struct(
            "packet_type" / c.Int16ub,
            "hardware" / c.Int16ub,
            "address_length" / c.Int16ub,
            "address" / c.Bytes(8),
            "kind" / c.Int16ub,
        ),
        228: nothing,
        229: nothing,
        276: c.Struct(
            "kind" / c.Int16ub,
            "reserved" / c.Int16ub,
            "interface" / c.Int32ub,
            "hardware" / c.Int16ub,
            "packet_type" / c.Int8ub,
            "address_length" / c.Int8ub,
            "address" / c.Bytes(8),
        ),
    }


@cache
def ipv4_spec() -> Any:
    """RFC 791 section 3.1."""
    import construct as c

    return c.Struct(
        "version" / c.BitStruct("number" / c.Const(4, c.Nibble), "words" / c.Nibble),
        "service" / c.Int8ub,
        "total" / c.Int16ub,
        "id" / c.Int16ub,
        "fragment" / c.BitStruct("reserved" / c.Flag, "whole" / c.Flag, "more" / c.Flag, "offset" / c.BitsInteger(13)),
        "ttl" / c.Int8ub,
        "protocol" / c.Int8ub,
        "checksum" / c.Int16ub,
        "source" / c.Bytes(4),
        "destination" / c.Bytes(4),
        "options" / c.Bytes(c.this.version.words * 4 - 20),
        "payload" / c.Bytes(c.this.total - c.this.version.words * 4),
    )


@cache
def ipv6_spec() -> Any:
    """RFC 8200 sections 3 and 4: the header, extension headers in units of 8 bytes, and the payload."""
    import construct as c

    def is_last(extension: Any, _list: Any, _context: Any) -> bool:
        return bool(extension["next"] == 6)

    extension = c.Struct(
        "next" / c.Int8ub, "length" / c.Int8ub, "data" / c.Bytes(c.this.length * 8 + 6)
    )  # not those of fragments and of authentication
    return c.Struct(
        "version" / c.BitStruct("number" / c.Const(6, c.Nibble), "class" / c.Octet, "flow" / c.BitsInteger(20)),
        "payload_length" / c.Int16ub,
        "next" / c.Int8ub,
        "hops" / c.Int8ub,
        "source" / c.Bytes(16),
        "destination" / c.Bytes(16),
        "extensions" / c.If(c.this.next != 6, c.RepeatUntil(is_last, extension)),
        "payload" / c.GreedyBytes,
    )


@cache
def tcp_spec() -> Any:
    """RFC 9293 section 3.1."""
    import construct as c

    return c.Struct(
        "source" / c.Int16ub,
        "destination" / c.Int16ub,
        "seq" / c.Int32ub,
        "ack" / c.Int32ub,
        "offset" / c.BitStruct("words" / c.Nibble, "reserved" / c.Nibble),
        "flags" / c.FlagsEnum(c.Int8ub, fin=1, syn=2, rst=4, psh=8, ack=16, urg=32, ece=64, cwr=128),
        "window" / c.Int16ub,
        "checksum" / c.Int16ub,
        "urgent" / c.Int16ub,
        "options" / c.Bytes(c.this.offset.words * 4 - 20),
        "payload" / c.GreedyBytes,
    )
