"""Watching connections with an inspector: the part that is the same for every protocol and every source.

A `Watch` is one inspector at work, a `Watched` one connection in its sight. It recognises TLS before the inspector is
asked, ends the watching of a connection that is not understood, and counts and says so. The observer filter and
``l4proxy sniff`` use the same two.

Bytes go straight into the conversation: after the first chunks ``watched.client_data`` *is* its ``client_data``. So
who calls it catches what it raises, and tells ``watched.failed``::

    try:
        watched.client_data(data, at)
    except Exception as error:
        watched.failed(error, at)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from l4proxy.codec import RemoteProtocolError
from l4proxy.filter import Side
from l4proxy.inspector import Conversation, Inspector, Link, StopWatching
from l4proxy.logging_setup import once_per
from l4proxy.stats import Stats, counter, gauge, labelled_counter
from l4proxy.stats_registry import StatsRegistry

__all__ = ["InspectionStats", "Watch", "Watched"]

SECONDS_BETWEEN_WARNINGS = 10
LOOKS_FOR_TLS = 8
"""Chunks of each side at whose beginning TLS is looked for where a connection was under way already."""

_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04](?:[\x00-\x3f].|\x40[\x00-\xff]|\x41\x00)", re.DOTALL)
"""A record's header (RFC 8446 section 5.1): type, version, and a length of at most 2^14 and 256."""
_TLS_HEADER = 5

Feed = Callable[[bytes, float], int | None]


class InspectionStats(Stats, subsystem="inspection", labels=("protocol",)):
    """Connections that are looked into, whatever their protocol."""

    connections_total = counter("Connections that were watched, from their beginning or from the middle.")
    connections_active = gauge("Connections that are watched now.")
    stopped_total = labelled_counter("Connections of which nothing more is understood, by reason.", label="reason")
    gaps_total = counter("Places where bytes of a connection were not captured.")
    lost_bytes_total = counter("Bytes that were not captured, as far as their number is known.")


class Watch:
    """One inspector at work. ``stats`` are those of what it watches, ``log`` is where it says what went wrong."""

    def __init__(self, inspector: Inspector[Any], registry: StatsRegistry) -> None:
        self.inspector = inspector
        self.stats = registry.group(InspectionStats, protocol=inspector.name)
        self.log = logging.getLogger(f"l4proxy.inspector.{inspector.name}")
        self.active: set[Watched] = set()
        """The connections that are there now."""

    def begin(self, link: Link) -> Watched:
        """A connection is there. What the inspector raises here is for the caller."""
        watched = Watched(self, link)
        self.active.add(watched)
        self.stats.connections_total += 1
        self.stats.connections_active = len(self.active)
        return watched

    def stopped(self, link: Link, at: float, error: Exception) -> None:
        """Count and say why nothing more is understood of a connection."""
        name = self.inspector.name
        match error:
            case StopWatching():
                reason, level, told = error.reason, logging.INFO, str(error)
            case RemoteProtocolError():
                reason, level, told = error.code, logging.WARNING, f"this is not {name}, or not as known here: {error}"
            case _:
                reason, level, told = "failed", logging.ERROR, f"the inspector failed: {error!r}"
        self.stats.stopped_total.add(reason)
        if times := once_per(SECONDS_BETWEEN_WARNINGS, f"{name} {reason}"):
            more = f" ({times - 1} more since the last of these lines)" if times > 1 else ""
            trace = error if level == logging.ERROR else None
            self.log.log(level, "[%d] %s: %s%s", link.id, link.client, told, more, exc_info=trace)
        try:
            self.inspector.notice(link, at, reason, told, error="" if level == logging.INFO else reason)
        except Exception:
            self.log.exception("a view failed")


class Watched:
    """One connection. ``client_data`` and ``server_data`` are called with every chunk and its time; see above."""

    __slots__ = (
        "_held",
        "_looks",
        "_watch",
        "client_data",
        "closed",
        "conversation",
        "link",
        "server_data",
        "stopped",
    )

    def __init__(self, watch: Watch, link: Link) -> None:
        self._watch = watch
        self.link = link
        self.stopped = False
        """Whether nothing more is understood; there is no need to feed it."""
        self.closed = False
        self._held = {Side.CLIENT: b"", Side.UPSTREAM: b""}
        """The beginning of what may be a TLS record's header."""
        self._looks = {Side.CLIENT: 0, Side.UPSTREAM: 0}
        self.client_data: Feed
        self.server_data: Feed
        self._begin()

    def _begin(self) -> None:
        self.conversation: Conversation = self._watch.inspector.conversation(self.link)
        looks = LOOKS_FOR_TLS if self.link.midway else 1
        self._looks = {Side.CLIENT: looks, Side.UPSTREAM: looks}
        self.client_data = self._first_client_data
        self.server_data = self._first_server_data

    def _first_client_data(self, data: bytes, at: float) -> int | None:
        if data := self._without_tls(Side.CLIENT, data):
            if not self._looks[Side.CLIENT]:
                self.client_data = self.conversation.client_data
            return self.conversation.client_data(data, at)
        return None

    def _first_server_data(self, data: bytes, at: float) -> int | None:
        if data := self._without_tls(Side.UPSTREAM, data):
            if not self._looks[Side.UPSTREAM]:
                self.server_data = self.conversation.server_data
            return self.conversation.server_data(data, at)
        return None

    def skipped(self, side: Side, size: int) -> None:
        """The next ``size`` bytes of ``side``, of which the conversation had no need, pass without being shown."""
        self.conversation.skipped(side, size)

    def _without_tls(self, side: Side, data: bytes) -> bytes:
        """``data`` with what was held before it; empty while it may be TLS. Raises StopWatching when it is."""
        data = self._held[side] + data
        self._held[side] = b""
        if _TLS_RECORD.match(data):
            raise StopWatching("tls", "the connection is encrypted with TLS, nothing of it can be read")
        if len(data) < _TLS_HEADER and _may_be_tls(data):
            self._held[side] = data
            return b""
        self._looks[side] -= 1
        return data

    def lost(self, side: Side, size: int | None, at: float) -> None:
        """A gap; where a conversation cannot go on behind it, another one begins."""
        stats = self._watch.stats
        stats.gaps_total += 1
        stats.lost_bytes_total += size or 0
        if self.stopped:
            return
        self._held[side] = b""
        try:
            if not self.conversation.lost(side, size, at):
                self._close_conversation(at)
                self.link.midway = True
                self._begin()
        except Exception as error:
            self.failed(error, at)

    def client_lost(self, size: int | None, at: float) -> None:
        self.lost(Side.CLIENT, size, at)

    def server_lost(self, size: int | None, at: float) -> None:
        self.lost(Side.UPSTREAM, size, at)

    def client_eof(self, at: float) -> None:
        if not self.stopped:
            try:
                self.conversation.client_eof(at)
            except Exception as error:
                self.failed(error, at)

    def server_eof(self, at: float) -> None:
        if not self.stopped:
            try:
                self.conversation.server_eof(at)
            except Exception as error:
                self.failed(error, at)

    def failed(self, error: Exception, at: float) -> None:
        """What ``client_data`` or ``server_data`` raised: nothing more is fed to this conversation."""
        if not self.stopped:
            self.stopped = True
            self.client_data = self.server_data = _ignore
            self._watch.stopped(self.link, at, error)
            self._close_conversation(at)

    def close(self, at: float) -> None:
        """The connection is over."""
        if self.closed:
            return
        self.closed = True
        self._watch.active.discard(self)
        self._watch.stats.connections_active = len(self._watch.active)
        if not self.stopped:
            self.stopped = True
            self.client_data = self.server_data = _ignore
            self._close_conversation(at)

    def _close_conversation(self, at: float) -> None:
        try:
            self.conversation.close(at)
        except Exception:
            self._watch.log.exception("[%d] the inspector failed at the end", self.link.id)


def _may_be_tls(data: bytes) -> bool:
    """Whether a few bytes can be the beginning of a record's header."""
    return _TLS_RECORD.match(data + b"\x17\x03\x03\x00\x00"[len(data) :]) is not None


def _ignore(data: bytes, at: float) -> None:
    """Stands in for a conversation that is over."""
