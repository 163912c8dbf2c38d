"""A pcap file as a declaration, to be read: `pcap` is tested against it."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["file_spec"]


@cache
def file_spec(order: str) -> Any:
    """draft-ietf-opsawg-pcap, sections 4 and 5. ``order`` is the byte order of the machine that captured: ``<`` or
    ``>``."""
    import construct as c

    u16, i32, u32 = (c.Int16ul, c.Int32sl, c.Int32ul) if order == "<" else (c.Int16ub, c.Int32sb, c.Int32ub)
    record = c.Struct(
        "seconds" / u32,
        "fraction" / u32,
        "captured" / c.Rebuild(u32, c.len_(c.this.data)),
        "length" / u32,
        "data" / c.Bytes(c.this.captured),
    )
    return c.Struct(
        "magic" / u32,
        "major" / c.Default(u16, 2),
        "minor" / c.Default(u16, 4),
        "reserved1" / c.Default(i32, 0),
        "reserved2" / c.Default(u32, 0),
        "snaplen" / c.Default(u32, 262144),
        "link_type" / u32,
        "records" / c.GreedyRange(record),
        c.Terminated,
    )
