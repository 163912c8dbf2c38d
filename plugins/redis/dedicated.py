"""A connection to a server that one client has to itself: for a time, or for as long as it lives.

It is for what cannot be shared: a transaction, a command that blocks, subscriptions, a long value that is just being
sent. It knows what state its server side is in, and so whether it can be given to another client afterwards.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.redis.asked import SUBSCRIPTIONS, Asked, Owner
from l4proxy.plugins.redis.channels import Channels, is_answer, is_message
from l4proxy.plugins.redis.connection import KEPT, LAST_PIECE, WORTH_MOVING, ServerConnection
from l4proxy.plugins.redis.replies import UNREADABLE
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.request import encode_command, split_first
from l4proxy.stats import SECONDS

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.pool import Pool
    from l4proxy.plugins.redis.session import Task
    from l4proxy.protocols.redis.translate import Translator

__all__ = ["DedicatedConnection"]

FULL = 256
"""Why the stream is not read: the client does not take what it gets."""
_now = time.monotonic
BLOCKING = frozenset((Role.BLOCKING, Role.MAYBE_BLOCKING, Role.WAIT))
PASSING = BLOCKING | {Role.PLAIN, Role.EVAL, Role.EVALSHA, Role.CLUSTER}
"""Of a transaction; all others may leave something of their client's with the connection."""


class DedicatedConnection(ServerConnection):
    """Made by a pool. ``owner`` is None while nobody has it."""

    __slots__ = ("_asked", "_channels", "_part_size", "_passed", "_passed_size", "_queued", "_rest", "idle_since",
                 "kept", "monitoring", "multi", "name", "owner", "watching")  # fmt: skip

    def __init__(self, pool: Pool, endpoint: Endpoint | None) -> None:
        super().__init__(pool, endpoint)
        self.owner: Owner | None = None
        self.name = b""
        """What its clients have called it."""
        self.multi = False
        self.watching = False
        self.monitoring = False
        self.kept = False
        """Something of its client's stays with it for ever."""
        self.idle_since = 0.0
        self._asked: deque[Asked] = deque()
        self._channels = Channels()
        self._queued: list[bytes] = []
        self._part_size = 0
        """Bytes that were sent of a command whose end has not been."""
        self._rest = bytearray()
        self._passed = b""
        """How the reply begins of which a part has been passed on."""
        self._passed_size = 0
        """Bytes of that part."""

    @property
    def waiting(self) -> int:
        """Replies that are missing."""
        return len(self._asked)

    @property
    def stateful(self) -> bool:
        """Whether the server knows something of the client that another connection would not have."""
        return self.multi or self.watching or self.monitoring or self.kept or bool(self._channels)

    @property
    def subscribed(self) -> bool:
        return bool(self._channels)

    @property
    def blocked(self) -> bool:
        """Whether the server keeps its client waiting, or tells it things unasked: what is given up when it leaves."""
        return (
            self.monitoring or bool(self._channels) or bool(self._asked and self._asked[0].treatment.role in BLOCKING)
        )

    @property
    def cut_off(self) -> bool:
        """Whether a part of a reply was passed on, and the rest has not come."""
        return bool(self._passed)

    @property
    def part_sent(self) -> bool:
        """Whether a part of a command was sent, and nothing but the rest of it may follow."""
        return self._part_size > 0

    @property
    def clean(self) -> bool:
        """Whether anybody else could have it."""
        return not (self._asked or self.stateful or self.closed or self._rest or self._passed or self._part_size)

    # Sending

    def send(
        self,
        treatment: Treatment,
        data: bytes,
        count: int = 1,
        effect: Callable[[bytes], object] | None = None,
        *,
        hidden: bool = False,
        task: Task | None = None,
        silent: bool = False,
    ) -> None:
        """Send ``count`` commands of one kind, or the end of one of which ``send_part`` has had the beginning."""
        stats = self.tally(treatment.name)
        command = encode_command(treatment.name.encode()) if self._part_size else data
        self._asked.append(Asked(treatment, stats, command, count, effect, hidden, task, silent))
        self.send_part(data)
        stats.request_bytes_total += self._part_size
        self._part_size = 0

    def part_moved(self, size: int) -> None:
        """The kernel sends so many bytes of a command of which a part was sent."""
        self._part_size += size

    def send_part(self, data: bytes) -> None:
        self._part_size += len(data)
        if self.ready and self.stream is not None:
            self.stream.write(data)
        else:
            self._queued.append(data)

    def hold_reading(self, hold: bool) -> None:
        """The client takes no more for now, or does again."""
        if self.stream is not None:
            if hold:
                self.stream.hold_reading(FULL)
            else:
                self.stream.release_reading(FULL)

    def _when_ready(self) -> None:
        assert self.stream is not None
        self.stream.on_writable = self._writable
        if self._queued:
            self.stream.write(b"".join(self._queued))
            self._queued = []
            now, queue_seconds = _now(), self.pool.endpoint_stats(self).queue_seconds
            for asked in self._asked:
                queue_seconds.record(now - asked.since)
        if not self.stream.blocked:
            self._writable(True)

    def _writable(self, writable: bool) -> None:
        if self.owner is not None:
            self.owner.own_writable(writable)

    # Replies

    def _read(self, data: bytes) -> None:
        chunk: bytes | bytearray = data
        if self._rest:
            self._rest += data
            chunk = self._rest
        start, size = 0, len(chunk)
        try:
            while start < size and (end := self._scanner.end(chunk, start)) >= 0:
                frame = bytes(chunk[start:end])
                self._reply(frame)
                start = end
        except RemoteProtocolError as error:
            self._give_up(UNREADABLE, "broke the protocol", str(error))
            return
        if self.closed:
            return
        if size - start >= KEPT and self.translator is None and (settled := min(self._scanner.settled, size - start)):
            self._scanner.passed(settled)
            part = bytes(chunk[start : start + settled])
            self._passed = self._passed or part[:64]
            self._passed_size += settled
            start += settled
            if self.owner is not None:
                self.owner.own_part(self._asked[0] if self._asked else None, part)
            self._move()
        self._rest = bytearray(chunk[start:])
        if not self._asked and self.owner is not None and not self.closed:
            self.owner.own_settled()

    def _move(self) -> None:
        """All of a very long string but its end need not come into this process."""
        size = self._scanner.settled - LAST_PIECE
        owner, stream = self.owner, self.stream
        if size > WORTH_MOVING and owner is not None and stream is not None and owner.move(stream, size):
            self._scanner.passed(size)
            self._passed_size += size

    def _reply(self, frame: bytes) -> None:
        """One whole reply, or the rest of one, or something unasked."""
        begin, self._passed = self._passed or frame, b""
        size, self._passed_size = self._passed_size + len(frame), 0
        self._replies += 1
        asked = self._asked[0] if self._asked else None
        if asked is None or self._is_unasked(begin, asked):
            if asked is None and not self.stateful:
                raise RemoteProtocolError(f"{begin[:40]!r} was not asked for")
            if is_answer(begin):
                self._channels.note(frame)  # the slot of a channel has gone to another server
            if self.translator is not None:
                frame = self.translator.unasked(frame, invalidations=self._channels.invalidations)
            if self.owner is not None and frame:
                self.owner.own_unasked(frame)
            return
        asked.stats.reply_bytes_total += size
        failed = begin[:1] in (b"-", b"!")
        subscribed = asked.treatment.role in SUBSCRIPTIONS and begin[:1] in (b"*", b">")
        if subscribed:
            self._subscribed(frame, asked)
        if self.translator is not None:
            frame = self._translate(self.translator, asked, frame, subscribed)
        once = asked.treatment.role in SUBSCRIPTIONS and not subscribed  # an error, or it was queued
        asked.count = 0 if once else asked.count - 1
        if failed:
            self.pool.count_errors(self, asked.stats, self._scanner.errors)
        if asked.count <= 0:
            self._done(asked, begin, failed)
        if not asked.hidden and self.owner is not None:
            self.owner.own_reply(asked, frame)

    def _translate(self, translator: Translator, asked: Asked, frame: bytes, subscribed: bool) -> bytes:
        if subscribed:
            return translator.unasked(frame)
        command, asked.command = split_first(asked.command, asked.count)
        return translator.reply(command, frame)

    def _is_unasked(self, begin: bytes, asked: Asked) -> bool:
        """Whether this is no reply, but a message, a push or a line of ``MONITOR``."""
        kind = begin[:1]
        if kind == b"+":
            return self.monitoring and begin[1:2].isdigit()
        if kind != b">" and not (kind == b"*" and self._channels):
            return False
        if is_answer(begin):
            return asked.treatment.role not in SUBSCRIPTIONS
        return kind == b">" or is_message(begin)

    def _subscribed(self, frame: bytes, asked: Asked) -> None:
        """An answer to a subscription, of which there is one for each channel."""
        if asked.count < 0:
            asked.count = max(1, self._channels.like(asked.treatment))
        self._channels.note(frame)

    def _done(self, asked: Asked, begin: bytes, failed: bool) -> None:
        """The last reply to a command has come."""
        self._asked.popleft()
        treatment, stats, took = asked.treatment, asked.stats, _now() - asked.since
        stats.commands_total += asked.total
        stats.seconds.counts[bisect_left(SECONDS, took)] += asked.total
        stats.seconds.sum += took * asked.total
        if self.multi and treatment.name in ("EXEC", "DISCARD"):
            if not failed or begin.startswith(b"-EXECABORT"):
                self.multi = self.watching = False
        elif self.multi and begin.startswith(b"+QUEUED"):
            self.kept |= treatment.role not in PASSING
        elif not failed:
            self._take_effect(treatment)
            if asked.effect is not None:
                asked.effect(begin)

    def _take_effect(self, treatment: Treatment) -> None:
        if treatment.role is Role.MULTI:
            self.multi = True
        elif treatment.role is Role.WATCH:
            self.watching = True
        elif treatment.name == "UNWATCH":
            self.watching = False
        elif treatment.role is Role.MONITOR:
            self.monitoring = True
        elif treatment.role is Role.OWN and treatment.name != "ASKING":  # that is for the next command only
            self.kept = True

    # The end

    def _owes(self) -> bool:
        asked = self._asked[0] if self._asked else None
        if not self.ready or asked is None or asked.treatment.role in BLOCKING:
            return not self.ready
        return self.stream is not None and not self.stream.holds

    def _when_lost(self, error: bytes) -> None:
        owner, self.owner = self.owner, None
        missing = [asked for asked in self._asked if not asked.hidden]
        if missing:
            self.pool.lost(self, sum(asked.missing for asked in missing))
        if owner is not None:
            owner.own_lost(error, missing)
