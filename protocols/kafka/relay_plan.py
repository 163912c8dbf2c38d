"""What becomes of requests of one API and version on their way through a relay, and of single ones."""

from __future__ import annotations

import struct
from typing import Any

from l4proxy.protocols.kafka.addresses import Rewrite, rewrite_of
from l4proxy.protocols.kafka.api import API_VERSIONS
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.declarations.security import SASL_AUTHENTICATE, SASL_HANDSHAKE
from l4proxy.protocols.kafka.plan import Plan
from l4proxy.protocols.kafka.versions import Versions
from l4proxy.protocols.kafka.wire import decode_uvarint, skip_tags

__all__ = ["ACKS", "FOLLOWED", "PARTLY", "STRAIGHT", "WHOLE", "RelayPlan", "RelayedCall", "read_acks"]

# How requests go, and how responses do.
STRAIGHT = 0
ACKS = 1
"""Produce: whether it is answered stands behind its header."""
WHOLE = 2
PARTLY = 3
"""A response whose head or tail is rewritten."""

FOLLOWED = {API_VERSIONS, SASL_HANDSHAKE.key, SASL_AUTHENTICATE.key}
"""What a relay has to see to follow the connection."""
PRODUCE_TRANSACTIONAL = 3
PRODUCE_FLEXIBLE = 9
_int16 = struct.Struct(">h").unpack_from


class RelayPlan(Plan):
    """``wanted``: the relay's owner is to see such requests and their responses. ``versions`` are those that clients
    may use."""

    __slots__ = (
        "refused",
        "request_way",
        "response_way",
        "rewrite",
        "rewritten",
        "seldom_rewritten",
        "unwanted_way",
        "wanted",
    )

    def __init__(self, key: int, version: int, versions: Versions, *, wanted: bool = False) -> None:
        super().__init__(key, version, (None, None))
        self.wanted = wanted
        allowed = versions(key)
        self.refused = allowed is None or not allowed[0] <= version <= allowed[1]
        """Such a request goes no further."""
        self.rewrite: Rewrite | None = None
        if self.api is not None and self.is_known:
            self.rewrite = rewrite_of(self.api, version)
        self.seldom_rewritten = self.rewrite is not None and self.rewrite.is_seldom
        self.rewritten = 0
        """Responses in which something was changed; whoever counts them sets it to 0."""
        self.request_way = ACKS if key == PRODUCE.key else STRAIGHT
        self.unwanted_way = STRAIGHT
        """How a response goes that the owner does not want."""
        if self.rewrite is not None:
            self.unwanted_way = WHOLE if self.rewrite.part == "all" else PARTLY
        self.response_way = self.unwanted_way
        if self.refused or wanted or key in FOLLOWED:
            self.request_way = self.response_way = WHOLE


class RelayedCall:
    """A request that will be answered, or was. ``wanted``: its response is for the owner."""

    __slots__ = ("correlation_id", "here", "is_answered", "plan", "reply", "response_way", "subject", "wanted")

    def __init__(self, plan: RelayPlan, correlation_id: int) -> None:
        self.plan = plan
        self.correlation_id = correlation_id
        self.response_way = plan.response_way
        self.wanted = plan.wanted
        self.is_answered = True
        """False: a Produce request that wants no answer."""
        self.here = False
        """It is the owner's turn: the broker has not been asked, or has answered. Responses to later calls wait."""
        self.reply: bytes | None = None
        """What is sent to the client when it is its turn."""
        self.subject: Any = None
        """What is kept with it."""

    def pass_by(self) -> None:
        """The owner does not want the response after all."""
        self.wanted = False
        self.response_way = self.plan.unwanted_way


def read_acks(data: bytes, pos: int, end: int, version: int) -> int | None:
    """The ``acks`` of a Produce request whose client id ends at ``pos``; None where it does not lie before ``end``."""
    try:
        if version >= PRODUCE_FLEXIBLE:
            pos = skip_tags(data, pos) if data[pos] else pos + 1
            size, pos = decode_uvarint(data, pos)
            pos += size - 1 if size else 0
        elif version >= PRODUCE_TRANSACTIONAL:
            (size,) = _int16(data, pos)
            pos += 2 + max(size, 0)
        if pos + 2 > end:
            return None
        (acks,) = _int16(data, pos)
    except (IndexError, struct.error):
        return None
    return int(acks)
