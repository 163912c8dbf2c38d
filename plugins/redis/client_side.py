"""The side of a session that faces its client: what that is sent, when it is read, and how long it is waited for.

Clients share connections to servers, so one that does not read its replies must not hold up others for long. It is not
read any more itself; a shared connection is read on until the client has been sent ``reply_buffer`` more than it takes;
and then it has to take something within ``slow_reader_timeout``, or is disconnected. Where others do wait for replies
behind its own, something is not enough (``FAST_ENOUGH``).

Whoever does something is there, however long it takes over all of it. So time is never counted from a beginning: after
each span there is one look at whether anything has happened since the last one (``_look``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.filter import Side
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.filter import Conn
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.plugins.redis.shared import SharedConnection
    from l4proxy.stream import Stream

__all__ = ["CLIENT_FULL", "FILTERS", "PIPELINE", "SERVER_FULL", "TODO", "ClientSide"]

# Why the client is not read.
PIPELINE = 1
TODO = 2
SERVER_FULL = 4
CLIENT_FULL = 8
FILTERS = 16

FAST_ENOUGH = 1024 * 1024
"""Bytes that a client has to take within ``slow_reader_timeout`` while others wait behind its reply. One that takes a
little now and then could keep them waiting for hours."""


class ClientSide:
    """Of one session, as long as its client is connected."""

    __slots__ = ("_config", "_conn", "_excess", "_held", "_looking", "_stats", "_stream", "closing", "pauses", "write")

    def __init__(self, hub: Hub, conn: Conn) -> None:
        self._conn = conn
        self._config = hub.config
        self._stats = hub.stats
        self._stream = conn.bare_client()
        """Its stream, if no other filter stands between."""
        self.write: Callable[[bytes], None] = conn.send_client if self._stream is None else self._stream.write
        """Send to the client. Subscriptions put themselves in front of it."""
        self.closing = False
        """It is sent no more."""
        self.pauses = 0
        """Why it is not read."""
        self._excess = 0
        """Bytes sent to it since it stopped reading."""
        self._held: SharedConnection | None = None
        """What is not read because of that."""
        self._looking = False
        """It is looked at whether it has ended its side while it is not read."""

    # When it is read

    def pause(self, reason: int) -> None:
        if not self.closing:
            if not self.pauses:
                self._conn.pause(Side.CLIENT)
            self.pauses |= reason

    def resume(self, reason: int) -> None:
        if self.pauses & reason and not self.closing:
            self.pauses &= ~reason
            if not self.pauses:
                self._conn.resume(Side.CLIENT)

    # What it is sent

    def exceed(self, size: int, link: SharedConnection | None, owed: Callable[[], int]) -> None:
        """More was sent to it while it does not read. ``link`` is what that came from, and ``owed`` how many replies it
        waits for there, or more."""
        self._excess += size
        if self._excess > self._config.reply_buffer and self._held is None and link is not None:
            self._held = link
            link.hold(self)
            self._stats.held_total += 1
            self._hurry(lambda: self._held is not None, lambda: link.waiting > owed())

    def reads(self) -> None:
        """It reads again."""
        self._excess = 0
        if self._held is not None:
            self._held.release(self)
            self._held = None

    def move(self, server: Stream, size: int, link: SharedConnection | None, owed: Callable[[], int]) -> bool:
        """Let the kernel move to it the next ``size`` bytes that come from a server. False: they have to be read.
        ``link`` and ``owed`` are those of ``exceed``, should the server's stream be that one's."""
        stream = self._stream
        if stream is None or stream.buffered or self.closing or server.splice_next(stream, size) is None:
            return False
        if link is not None and link.stream is server:
            self._hurry(lambda: server.moving is not None, lambda: link.waiting > owed())
        return True

    def move_sent(self, server: Stream, size: int) -> bool:
        """Let the kernel move the next ``size`` bytes that it sends to a server. False: they have to be read."""
        return self._stream is not None and self._stream.splice_next(server, size) is not None

    # How long it is waited for

    def await_rest(self, is_missing: Callable[[], bool], give_up: Callable[[], None]) -> None:
        """For the rest of a command, as long as that ``is_missing``."""

        def nothing_came() -> None:
            if self.pauses:
                self.await_rest(is_missing, give_up)
            else:
                give_up()

        self._look(self._config.command_timeout, self._received, lambda: self.closing or not is_missing(), nothing_came)

    def _received(self) -> int:
        """Grows when it sends something."""
        return self._conn.activity if self._stream is None else self._stream.received

    def await_replies(self, progress: Callable[[], object]) -> None:
        """It has ended its side, and waits for replies. ``progress`` changes with each of them. One that does not read
        them is there."""

        def nothing_came() -> None:
            if self.pauses & CLIENT_FULL:
                self.await_replies(progress)
            else:
                self.cut_off("proxy", "half_close_timeout")

        self._look(self._config.half_close_timeout, progress, lambda: self.closing, nothing_came)

    def await_end(self, ended: Callable[[], object]) -> None:
        """While it is not read, and nothing else tells that it has ended its side: ``ended`` is called then."""
        if self._looking or not self.pauses or self.closing or not self._config.half_close_timeout:
            return
        self._looking = True

        def look() -> None:
            self._looking = False
            if self._conn.client_ended:
                ended()
            self.await_end(ended)

        self._conn.call_later(self._config.half_close_timeout, look)

    def _hurry(self, holds_up: Callable[[], bool], others_wait: Callable[[], bool]) -> None:
        """Until it has taken what holds up others, or may do so."""
        seen = self._conn.activity

        def look() -> None:
            if not holds_up():
                return
            if self._conn.activity - seen < (FAST_ENOUGH if others_wait() else 1):
                self._stats.slow_readers_total += 1
                self.cut_off("proxy", "slow_reader", flush=False)
            else:
                self._hurry(holds_up, others_wait)

        self._conn.call_later(self._config.slow_reader_timeout, look)

    def _look(
        self, span: float, progress: Callable[[], object], over: Callable[[], bool], give_up: Callable[[], None]
    ) -> None:
        """Every ``span`` seconds, until it is ``over``: if ``progress`` says what it said, ``give_up``."""
        seen = progress()

        def look() -> None:
            if over():
                return
            if progress() != seen:
                self._look(span, progress, over, give_up)
            else:
                give_up()

        self._conn.call_later(span, look)

    # How it ends

    def finish(self, who: str, detail: str, message: str) -> None:
        """Close, behind all that it was sent."""
        self._end()
        self._conn.finish(CloseReason(who, "relay", detail, message=message))

    def cut_off(self, who: str, detail: str, *, flush: bool = True) -> None:
        """Reset, so that it does not take what it was sent for all there is."""
        self._end()
        self._conn.close(CloseReason(who, "relay", detail), flush=flush, reset=True)

    def closed(self) -> None:
        """The connection is over."""
        self._end()
        self.reads()
        self.pauses = 0
        self._stream = None
        del self._conn

    def _end(self) -> None:
        self.closing = True
        self.write = _ignore


def _ignore(_data: bytes) -> None:
    """Where replies go to a client that has gone."""
