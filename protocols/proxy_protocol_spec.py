"""The PROXY protocol's version 2 header as a declaration, to be read: `proxy_protocol` is tested against it.

Some fifty times slower, so nothing on the way of a connection uses it.
"""

from __future__ import annotations

from construct import (
    BitStruct,
    Bytes,
    Const,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16ub,
    Nibble,
    Prefixed,
    Struct,
    Switch,
    Terminated,
    this,
)

__all__ = ["HEADER", "TLV"]

LOCAL, PROXY = 0, 1
INET, INET6, UNIX = 1, 2, 3

TLV = Struct("type" / Int8ub, "value" / Prefixed(Int16ub, GreedyBytes))

INET_ADDRESSES = Struct(
    "source" / Bytes(4),
    "destination" / Bytes(4),
    "source_port" / Int16ub,
    "destination_port" / Int16ub,
)
INET6_ADDRESSES = Struct(
    "source" / Bytes(16),
    "destination" / Bytes(16),
    "source_port" / Int16ub,
    "destination_port" / Int16ub,
)
UNIX_ADDRESSES = Struct(
    "source" / Bytes(108),
    "destination" / Bytes(108),
)

HEADER = Struct(
    "signature" / Const(b"\r\n\r\n\0\r\nQUIT\n"),
    "kind" / BitStruct("version" / Const(2, Nibble), "command" / Nibble),
    "protocol" / BitStruct("family" / Nibble, "transport" / Nibble),
    "body"
    / Prefixed(
        Int16ub,
        Struct(
            "addresses"
            / Switch(
                this._.protocol.family,
                {INET: INET_ADDRESSES, INET6: INET6_ADDRESSES, UNIX: UNIX_ADDRESSES},
            ),
            "tlvs" / GreedyRange(TLV),
            Terminated,
        ),
    ),
)
"""What a LOCAL connection or an unspecified protocol sends here is skipped by receivers, whatever it looks like."""
