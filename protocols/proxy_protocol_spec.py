"""The PROXY protocol's version 2 header as a declaration, to be read: `proxy_protocol` is tested against it.

Some thirty times slower, so nothing on the way of a connection uses it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["header_spec"]


@cache
def header_spec() -> Any:
    """The body that a LOCAL connection or an unspecified protocol sends is skipped by receivers, whatever it is."""
    import construct as c

    ports = ("source_port" / c.Int16ub, "destination_port" / c.Int16ub)
    addresses = {
        1: c.Struct("source" / c.Bytes(4), "destination" / c.Bytes(4), *ports),
        2: c.Struct("source" / c.Bytes(16), "destination" / c.Bytes(16), *ports),
        3: c.Struct("source" / c.Bytes(108), "destination" / c.Bytes(108)),
    }
    tlv = c.Struct("type" / c.Int8ub, "value" / c.Prefixed(c.Int16ub, c.GreedyBytes))
    body = c.Struct(
        "addresses" / c.Switch(c.this._.protocol.family, addresses),
        "tlvs" / c.GreedyRange(tlv),
        c.Terminated,
    )
    return c.Struct(
        "signature" / c.Const(b"\r\n\r\n\0\r\nQUIT\n"),
        "kind" / c.BitStruct("version" / c.Const(2, c.Nibble), "command" / c.Nibble),
        "protocol" / c.BitStruct("family" / c.Nibble, "transport" / c.Nibble),
        "body" / c.Prefixed(c.Int16ub, body),
    )
