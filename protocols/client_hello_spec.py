"""The ClientHello as a declaration, to be read: `client_hello` is tested against it.

``RECORD`` is one that holds a whole hello (RFC 8446 sections 5.1 and 4); fragments have to be put together first.
"""

from __future__ import annotations

from typing import Any

from construct import (
    Bytes,
    Const,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16ub,
    Int24ub,
    Optional,
    Prefixed,
    Struct,
    Switch,
    Terminated,
    this,
)

__all__ = ["CLIENT_HELLO", "RECORD"]


def vector(prefix: Any, item: Any) -> Any:
    """Items behind their length in bytes."""
    return Prefixed(prefix, Struct("items" / GreedyRange(item), Terminated))


EXTENSION = Struct(
    "type" / Int16ub,
    "value"
    / Prefixed(
        Int16ub,
        Switch(
            this.type,
            {
                0: Struct("names" / vector(Int16ub, Struct("type" / Int8ub, "name" / Prefixed(Int16ub, GreedyBytes)))),
                16: Struct("protocols" / vector(Int16ub, Prefixed(Int8ub, GreedyBytes))),
                43: Struct("versions" / vector(Int8ub, Int16ub)),
            },
            default=GreedyBytes,
        ),
    ),
)

CLIENT_HELLO = Struct(
    "legacy_version" / Int16ub,
    "random" / Bytes(32),
    "session_id" / Prefixed(Int8ub, GreedyBytes),
    "cipher_suites" / vector(Int16ub, Int16ub),
    "compression_methods" / Prefixed(Int8ub, GreedyBytes),
    "extensions" / Optional(vector(Int16ub, EXTENSION)),
    Terminated,
)

RECORD = Struct(
    "type" / Const(22, Int8ub),
    "version" / Int16ub,
    "fragment" / Prefixed(Int16ub, Struct("type" / Const(1, Int8ub), "hello" / Prefixed(Int24ub, CLIENT_HELLO))),
)
