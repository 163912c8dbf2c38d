"""W3C Trace Context: which trace a request belongs to (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["SAMPLED", "TraceContext", "parse_traceparent"]

SAMPLED = 1
"""The flag that says: whoever asked records this trace."""
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<parent>[0-9a-f]{16})-"
    r"(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)


class TraceContext(NamedTuple):
    """What a ``traceparent`` field says; its text is the field's value, in version 00."""

    trace_id: str
    """32 hexadecimal digits."""
    parent_id: str
    """16 hexadecimal digits: the step (span) of who sent the request."""
    flags: int

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags:02x}"


def parse_traceparent(value: str | None) -> TraceContext | None:
    """None where there is none, or one that section 3.2.2 calls invalid. A version that is not known yet is read as far
    as 00 goes (section 4.2)."""
    found = _TRACEPARENT.fullmatch(value or "")
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return None
    return TraceContext(found["trace"], found["parent"], int(found["flags"], 16))
