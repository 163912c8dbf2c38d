"""Every limit of the Redis protocol, by name, and the errors that say one was passed.

The texts of the errors are the server's own (``networking.c``), so that a client library that looks at them finds what
it knows; where the server has none, they are worded like its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from l4proxy.codec import RemoteProtocolError

__all__ = ["DEFAULT_LIMITS", "MAX_LINE", "RedisLimits", "protocol_error"]

MAX_LINE = 32
"""Bytes of the longest line that gives a length or a count: a sign, 19 digits, and room for a type."""


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """What one side may send. Counts and lengths are only claims until the bytes have come: nothing is allocated for
    them."""

    max_arguments: int = 1024 * 1024
    """Arguments of one command."""
    max_bulk: int = 512 * 1024 * 1024
    """Bytes of one argument or bulk string (the server's ``proto-max-bulk-len``)."""
    max_inline: int = 64 * 1024
    """Bytes of an inline command (the server's ``PROTO_INLINE_MAX_SIZE``), and of a simple string or an error."""
    max_elements: int = 1 << 31
    """Elements of one aggregate in a reply; with ``max_depth`` also a bound on what an honest reply can be."""
    max_depth: int = 128
    """Aggregates within aggregates."""
    stream_from: int = 64 * 1024
    """A command of more bytes is handed on in parts, as they come; a smaller one when it is whole."""
    held: frozenset[str] = frozenset()
    """Commands that somebody is to see whole."""
    max_held: int = 64 * 1024 * 1024
    """What ``stream_from`` is for these."""


DEFAULT_LIMITS = RedisLimits()


def protocol_error(code: str, text: str) -> RemoteProtocolError:
    """The error for a client that broke the protocol, with the reply that the server would give."""
    return RemoteProtocolError(text, code=code, reply=b"-ERR Protocol error: %b\r\n" % text.encode())
