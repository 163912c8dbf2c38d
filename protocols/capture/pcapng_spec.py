"""A pcapng file as a declaration, to be read: `pcapng` is tested against it."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["file_spec"]


@cache
def file_spec(order: str) -> Any:
    """draft-ietf-opsawg-pcapng, sections 3 and 4, of a file in one byte order (``<`` or ``>``): its blocks."""
    import construct as c

    u16, u32, i64 = (c.Int16ul, c.Int32ul, c.Int64sl) if order == "<" else (c.Int16ub, c.Int32ub, c.Int64sb)
    option = c.Struct("code" / u16, "value" / c.Prefixed(u16, c.GreedyBytes))
    options = c.GreedyRange(c.Aligned(4, option, b"\0"))
    data = c.Aligned(4, c.Bytes(c.this.captured), b"\0")
    captured = "captured" / c.Rebuild(u32, c.len_(c.this.data))
    section = c.Struct(
        "magic" / c.Const(0x1A2B3C4D, u32),
        "major" / c.Default(u16, 1),
        "minor" / c.Default(u16, 0),
        "length" / c.Default(i64, -1),
        "options" / options,
    )
    interface = c.Struct("link_type" / u16, "reserved" / c.Default(u16, 0), "snaplen" / u32, "options" / options)
    enhanced_packet = c.Struct(
        "interface" / u32, "high" / u32, "low" / u32, captured, "length" / u32, "data" / data, "options" / options
    )
    simple_packet = c.Struct("length" / u32, "data" / c.GreedyBytes)
    old_packet = c.Struct(
        "interface" / u16,
        "drops" / u16,
        "high" / u32,
        "low" / u32,
        captured,
        "length" / u32,
        "data" / data,
        "options" / options,
    )
    statistics = c.Struct("interface" / u32, "high" / u32, "low" / u32, "options" / options)
    bodies = {0x0A0D0D0A: section, 1: interface, 2: old_packet, 3: simple_packet, 5: statistics, 6: enhanced_packet}
    body = c.Switch(c.this.kind, bodies, c.Struct("data" / c.GreedyBytes))
    size = c.this.size - 12
    block = c.Struct(
        "kind" / u32,
        "size" / c.Rebuild(u32, lambda this: len(body.build(this.body, kind=this.kind)) + 12),
        "body" / c.FixedSized(size, body),
        "size_again" / c.Rebuild(u32, c.this.size),
    )
    return c.GreedyRange(block)
