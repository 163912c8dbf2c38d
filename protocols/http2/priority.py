"""What a client says about the urgency of a response (RFC 9218).

Only the urgency is acted on: streams of one urgency share a connection evenly, whether or not they say that they can be
shown in pieces (``i``). That delays nobody's first byte, and a stream that never ends starves no other.
"""

from __future__ import annotations

import re

from l4proxy.protocols.http2.stream import DEFAULT_URGENCY

__all__ = ["read_urgency"]

_urgencies = re.compile(r"(?:^|,)[ \t]*u=([0-7])[ \t]*(?=;|,|$)").findall


def read_urgency(value: str) -> int:
    """Of the value of a ``Priority`` field or a PRIORITY_UPDATE frame. What is not understood is the default, as
    section 4 wants it."""
    found = _urgencies(value)
    return int(found[-1]) if found else DEFAULT_URGENCY
