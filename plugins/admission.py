"""What filters share that decide who may come in: who counts as one source, and how a connection is refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from l4proxy import CloseReason, Conn

__all__ = ["refuse", "source_key"]

_IPV4_MAPPED = bytes(10) + b"\xff\xff"


def source_key(ipv4_prefix: int, ipv6_prefix: int) -> Callable[[str], bytes]:
    """Make the function that tells sources apart: addresses with the same first bits are one source.

    What it returns is of use as a key only. An IPv4 address mapped into IPv6 is the IPv4 address; all clients of unix
    sockets, which have no address, are one source.
    """
    mask4 = _mask(ipv4_prefix, 32)
    mask6 = _mask(ipv6_prefix, 128)

    def key(host: str) -> bytes:
        if not host:
            return b""
        if ":" not in host:
            packed = socket.inet_aton(host)
        else:
            packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0]).removeprefix(_IPV4_MAPPED)
        size = len(packed)
        return (int.from_bytes(packed, "big") & (mask4 if size == 4 else mask6)).to_bytes(size, "big")

    return key


def _mask(prefix: int, bits: int) -> int:
    return (1 << bits) - (1 << (bits - prefix))


def refuse(conn: Conn, reason: CloseReason, delay: float = 0.0) -> Awaitable[None] | None:
    """Close a connection, for ``on_connect`` to return. ``delay`` seconds pass before, in which nobody reads it: that
    slows down clients who try again at once."""
    if delay:
        return _refuse_later(conn, reason, delay)
    conn.close(reason, flush=False)
    return None


async def _refuse_later(conn: Conn, reason: CloseReason, delay: float) -> None:
    await asyncio.sleep(delay)
    conn.close(reason, flush=False)
