"""What a client says about the priority of a response (RFC 9218).

The more urgent go first. Among those of one urgency the RFC knows two kinds: what can be shown in pieces (``i``) shares
the connection, a frame each in turn, and all else is sent one after the other, in the order of the requests, because
half a script is of no use. Both are done here (``output``), but for one thing: a client that says nothing at all about
a request has, by the letter, asked for the second kind. Most clients that say nothing have not heard of the RFC, and
some of their responses never end (a gRPC stream would keep all others waiting), so that their responses share.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["DEFAULT_URGENCY", "NO_PRIORITY", "Priority", "read_priority"]

DEFAULT_URGENCY = 3
"""Of 0 to 7, the most urgent first (section 4.1)."""


class Priority(NamedTuple):
    urgency: int
    sequential: bool
    """Not to be mixed with others that are as urgent."""


NO_PRIORITY = Priority(DEFAULT_URGENCY, False)

_members = re.compile(r"(?:^|,)[ \t]*(?:u=([0-7])|(i)(?:=\?([01]))?)[ \t]*(?=;|,|$)").findall


def read_priority(value: str) -> Priority:
    """Of the value of a ``Priority`` field or a PRIORITY_UPDATE frame. What is not understood is as if it were not
    there, as section 4 wants it; of what is said twice, the last counts."""
    members = _members(value)
    if not members:
        return NO_PRIORITY
    urgency, incremental = DEFAULT_URGENCY, False
    for said, name, flag in members:
        if name:
            incremental = flag != "0"
        else:
            urgency = int(said)
    return Priority(urgency, not incremental)
