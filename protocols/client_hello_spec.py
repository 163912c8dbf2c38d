"""The ClientHello as a declaration, to be read: `client_hello` is tested against it."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["record_spec"]


@cache
def record_spec() -> Any:
    """One record that holds a whole ClientHello (RFC 8446 sections 5.1 and 4.1.2)."""
    import construct as c

    def vector(prefix: Any, item: Any) -> Any:
        """Items behind their length in bytes."""
        return c.Prefixed(prefix, c.Struct("items" / c.GreedyRange(item), c.Terminated))

    name = c.Struct("type" / c.Int8ub, "name" / c.Prefixed(c.Int16ub, c.GreedyBytes))
    known = {
        0: c.Struct("names" / vector(c.Int16ub, name)),
        16: c.Struct("protocols" / vector(c.Int16ub, c.Prefixed(c.Int8ub, c.GreedyBytes))),
        43: c.Struct("versions" / vector(c.Int8ub, c.Int16ub)),
    }
    extension = c.Struct(
        "type" / c.Int16ub, "value" / c.Prefixed(c.Int16ub, c.Switch(c.this.type, known, default=c.GreedyBytes))
    )
    hello = c.Struct(
        "legacy_version" / c.Int16ub,
        "random" / c.Bytes(32),
        "session_id" / c.Prefixed(c.Int8ub, c.GreedyBytes),
        "cipher_suites" / vector(c.Int16ub, c.Int16ub),
        "compression_methods" / c.Prefixed(c.Int8ub, c.GreedyBytes),
        "extensions" / c.Optional(vector(c.Int16ub, extension)),
        c.Terminated,
    )
    message = c.Struct("type" / c.Const(1, c.Int8ub), "hello" / c.Prefixed(c.Int24ub, hello))
    return c.Struct("type" / c.Const(22, c.Int8ub), "version" / c.Int16ub, "fragment" / c.Prefixed(c.Int16ub, message))
