"""A connection to a server that many clients share.

Redis answers in the order in which it was asked, so a queue is all it takes to know whose reply comes next. What
clients send within one turn of the loop leaves in one write; what comes back is split where one client's replies end
and the next one's begin, and no further. A queue entry may stand for a whole pipeline of one command.

Three things must not happen, and are why this is more than a queue. A reply must never reach another client: what is
not understood, or was not asked for, ends the connection, and everybody in the queue gets an error. A client that does
not read must not hold up the others for long: the connection is not read on while such a client is given a long reply,
no new commands are put on it, and soon the client is disconnected. And a server that does not read must not make us
hold what thousands of clients send: above a limit, commands are answered with an error, in their place in the queue.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.redis.connection import KEPT, LAST_PIECE, WORTH_MOVING, ServerConnection
from l4proxy.plugins.redis.replies import BUSY, UNREADABLE
from l4proxy.plugins.redis.stats import SEVERAL
from l4proxy.protocols.redis.patterns import find_replies
from l4proxy.protocols.redis.request import split_first
from l4proxy.stats import SECONDS

if TYPE_CHECKING:
    from l4proxy.plugins.redis.pool import Pool
    from l4proxy.plugins.redis.receivers import Receiver
    from l4proxy.plugins.redis.stats import Tally
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["SharedConnection"]

HELD = 256
"""Why the stream is not read: a client does not take its reply."""
ENOUGH = 1024 * 1024
"""Bytes that may wait for a server that does not read, before clients are not read: many share them."""

_now = time.monotonic
PUSH = ord(">")


Entry: TypeAlias = "tuple[Receiver, int, Tally | None, float, bytes]"
"""Whose replies, how many, what they count for, since when they are waited for, and the commands. Where there are no
statistics, the last is what the proxy itself replies."""


class SharedConnection(ServerConnection):
    """Made by a pool."""

    __slots__ = ("_full_since", "_holders", "_passed", "_pending", "_queued", "_rest", "_waiting", "_write", "clients",
                 "full", "idle_since", "retired", "usable", "waiting_to_send")  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._pending: deque[Entry] = deque()
        self._queued: list[bytes] = []
        """Commands sent before it was ready."""
        self._rest = bytearray()
        """The beginning of a reply that has not come whole."""
        self._passed = False
        """A part of the reply under way has been passed on."""
        self._holders: set[object] = set()
        self._write: Callable[[bytes], None] = self._queued.append
        self._waiting = 0
        self.clients = 0
        """Who sends here. Those who begin and cease to, say so with ``join`` and ``leave``."""
        self.idle_since = pool.clock()
        self.usable = True
        """Whether clients may begin to send here, and go on once they have all their replies."""
        self.retired = False
        self._full_since = 0.0
        self.full = True
        """The server does not read, or is not there yet: who sends should stop, and add to ``waiting_to_send`` what is
        then called."""
        self.waiting_to_send: list[Callable[[], None]] = []

    def send(self, receiver: Receiver, treatment: Treatment, count: int, data: bytes) -> None:
        """Send ``count`` commands of one kind. The hot path."""
        if self._waiting >= self.pool.max_waiting or self.closed:
            self._refuse(receiver, count)
            return
        stats = self.tallies.get(treatment.name) or self.tally(treatment.name)
        stats.request_bytes_total += len(data)
        self._waiting += count
        self._pending.append((receiver, count, stats, _now(), data))
        self._write(data)

    def send_several(self, receiver: Receiver, count: int, data: bytes) -> None:
        """Send ``count`` commands of several kinds. What they are to the statistics of commands is not known here: the
        receiver, which is one that wants each reply by itself, counts those that it is given with ``replied_each``, and
        says of the others what they are one by one (``apart``). The hot path."""
        if self._waiting >= self.pool.max_waiting or self.closed:
            self._refuse(receiver, count)
            return
        stats = self.tallies.get(SEVERAL) or self.tally(SEVERAL)
        stats.request_bytes_total += len(data)
        self._waiting += count
        self._pending.append((receiver, count, stats, _now(), data))
        self._write(data)

    def _refuse(self, receiver: Receiver, count: int) -> None:
        """There are too many commands, or no connection any more."""
        if self.closed:
            receiver.failed(self.failure, count, sent=False)
        else:
            self.pool.pools.stats.overflow_total += count
            self.answer(receiver, count, BUSY * count)

    def answer(self, receiver: Receiver, count: int, data: bytes) -> None:
        """Reply in the server's place, behind all that was sent before."""
        if self._pending:
            self._waiting += count
            self._pending.append((receiver, count, None, 0.0, data))
        else:
            receiver.replied(data, count)

    @property
    def waiting(self) -> int:
        """Commands without a reply."""
        return self._waiting

    def join(self) -> None:
        self.clients += 1

    def leave(self) -> None:
        self.clients -= 1
        if not self.clients:
            self.idle_since = self.pool.clock()

    def retire(self) -> None:
        """Its endpoint is gone: whoever has no reply to wait for goes elsewhere, and then it is closed."""
        self.retired = True
        self._decide()

    def hold(self, holder: object) -> None:
        """Read no more, because ``holder`` has more than enough, until ``release``."""
        if self.stream is not None and not self._holders:
            self.stream.hold_reading(HELD)
        self._holders.add(holder)
        self._decide()

    def release(self, holder: object) -> None:
        self._holders.discard(holder)
        self._decide()
        if self.stream is not None and not self._holders:
            self.stream.release_reading(HELD)

    def _decide(self) -> None:
        self.usable = not (self.closed or self.retired or self._holders)

    def _when_ready(self) -> None:
        assert self.stream is not None
        self._write = self.stream.write_soon
        self.stream.high = max(self.stream.high, ENOUGH)
        self.stream.on_writable = self._writable
        if self._queued:
            self.stream.write(b"".join(self._queued))
            self._queued = []
        if not self.stream.blocked:
            self._writable(True)
        if self.translator is not None:
            self.stream.on_data = self._read_and_translate

    def _writable(self, writable: bool) -> None:
        self.full = not writable
        if not writable:
            self._full_since = _now()
        else:
            self._count_queued()
            waiting, self.waiting_to_send = self.waiting_to_send, []
            for call in waiting:
                call()

    def _count_queued(self) -> None:
        """What was sent while nothing could be sent, has waited until now."""
        now, seconds = _now(), self.pool.endpoint_stats(self).queue_seconds
        for _, count, stats, since, _ in reversed(self._pending):
            if stats is None:
                continue
            if since < self._full_since:
                break
            seconds.counts[bisect_left(SECONDS, now - since)] += count
            seconds.sum += (now - since) * count

    def _owes(self) -> bool:
        return self._waiting > 0 and not self._holders

    def _when_lost(self, error: bytes) -> None:
        self._decide()
        waiting, self.waiting_to_send = self.waiting_to_send, []
        pending, self._pending = self._pending, deque()
        self._waiting = 0
        if self._passed:
            pending[0][0].broken()
        if missing := sum(count for _, count, stats, _, _ in pending if stats is not None):
            self.pool.lost(self, missing)
        for receiver, count, stats, _, answer in pending:
            if stats is None:
                receiver.replied(answer, count)
            else:
                receiver.failed(error, count, sent=self.ready)
        for call in waiting:
            call()

    # Replies

    def _read(self, data: bytes) -> None:
        """Give each receiver its replies; those in a row for the same one are given together. The hot path."""
        while data:
            if self._pending and not (self._rest or self._passed):
                whose, count, _, _, _ = self._pending[0]
                if (count == 1 or whose.wants_each) and not (data := self._read_each(data)):
                    return
            data = self._read_together(data)

    def _read_together(self, data: bytes) -> bytes:
        """The same for replies of which it does not matter where each of them ends, for long ones, and for errors.
        Return what is left for ``_read_each``."""
        chunk: bytes | bytearray = data
        if self._rest:
            self._rest += data
            chunk = self._rest
        if self._holders and self._passed:
            self._moved()
        pending, find_end, errors, now = self._pending, self._scanner.end, self._scanner.errors, _now()
        receiver: Receiver | None = None
        begin = start = total = 0
        size = len(chunk)
        wrong: RemoteProtocolError | None = None
        try:
            while pending:
                whose, count, stats, since, answer = pending[0]
                if stats is None:
                    end = start
                elif stats.command is None:
                    if start:
                        break
                    self._take_apart()
                    continue
                elif start == size or (chunk[start] == PUSH and not self._passed):
                    break
                elif (end := find_end(chunk, start, count)) < 0:
                    whole, end = self._scanner.take_whole(start, count)
                    if not whole:
                        break
                    pending[0] = (whose, count - whole, stats, since, answer)
                    count = whole
                    pending.appendleft((whose, count, stats, since, answer))
                pending.popleft()
                self._waiting -= count
                if whose is not receiver:
                    if receiver is not None:
                        receiver.replied(bytes(chunk[begin:start]), total)
                    receiver, begin, total = whose, start, 0
                if stats is None:
                    if total:
                        whose.replied(bytes(chunk[begin:start]), total)
                    whose.replied(answer, count)
                    receiver = None
                    continue
                took = now - since
                stats.commands_total += count
                stats.seconds.counts[bisect_left(SECONDS, took)] += count
                stats.seconds.sum += took * count
                stats.reply_bytes_total += end - start
                self._replies += count
                if errors:
                    self.pool.count_errors(self, stats, errors)
                total += count
                start = end
                if self._passed:  # what it ends is given by itself
                    self._passed = False
                    whose.replied(bytes(chunk[begin:start]), count)
                    receiver = None
        except RemoteProtocolError as error:
            wrong = error.with_traceback(None)  # which would hold this frame, which holds the error
        if receiver is not None:
            receiver.replied(bytes(chunk[begin:start]), total)
        if wrong is not None:
            self._break(wrong)
        elif start < size and not self.closed:
            if start and pending and (stats := pending[0][2]) is not None and stats.command is None:
                self._rest = bytearray()
                return bytes(chunk[start:])
            self._keep(chunk, start)
        elif self._rest:
            self._rest = bytearray()
        return b""

    def _take_apart(self) -> None:
        """Make of the next entry, which is of several kinds of commands, one for each of them."""
        receiver, _, _, since, _ = self._pending.popleft()
        self._pending.extendleft(
            (receiver, 1, self.tally(treatment.name), since, command)
            for treatment, command in reversed(receiver.apart())
        )

    def _read_each(self, data: bytes) -> bytes:
        """The same for the short replies that ``data`` begins with, which are found all at once. Return what follows
        them: for commands that came one by one, and those who want each reply by itself."""
        pending, now = self._pending, _now()
        replies = find_replies(data)
        whole = len(replies) if replies[-1] else len(replies) - 1
        receiver: Receiver | None = None
        first = at = start = 0
        while pending:
            whose, count, stats, since, answer = pending[0]
            if stats is None or count <= whole - at:
                pending.popleft()
            elif at < whole:
                pending[0] = (whose, count - (whole - at), stats, since, answer)
                count = whole - at
            else:
                break
            self._waiting -= count
            if whose is not receiver or stats is None:
                if receiver is not None:
                    receiver.replied_each(replies[first:at])
                receiver, first = whose, at
            if stats is None:
                whose.replied(answer, count)
                receiver = None
                continue
            size = len(replies[at]) if count == 1 else sum(map(len, replies[at : at + count]))
            at += count
            start += size
            took = now - since
            stats.commands_total += count
            stats.seconds.counts[bisect_left(SECONDS, took)] += count
            stats.seconds.sum += took * count
            stats.reply_bytes_total += size
        self._replies += at
        if receiver is not None:
            receiver.replied_each(replies[first:at])
        return data[start:]

    def _read_and_translate(self, data: bytes) -> None:
        """The same where clients speak another version of the protocol: reply by reply."""
        self._rest += data
        pending, translator, start = self._pending, self.translator, 0
        assert translator is not None
        try:
            while pending:
                whose, count, stats, since, command = pending[0]
                if stats is None:
                    pending.popleft()
                    self._waiting -= count
                    whose.replied(command, count)
                    continue
                if stats.command is None:
                    self._take_apart()
                    continue
                if start == len(self._rest) or (end := self._scanner.end(self._rest, start)) < 0:
                    break
                reply = bytes(self._rest[start:end])
                start = end
                first, rest = split_first(command, count)
                pending.popleft()
                if count > 1:
                    pending.appendleft((whose, count - 1, stats, since, rest))
                self._waiting -= 1
                self._replies += 1
                stats.commands_total += 1
                stats.seconds.record(_now() - since)
                stats.reply_bytes_total += len(reply)
                if self._scanner.errors:
                    self.pool.count_errors(self, stats, self._scanner.errors)
                whose.replied(translator.reply(first, reply), 1)
        except RemoteProtocolError as error:
            self._break(error)
        del self._rest[:start]

    def _keep(self, chunk: bytes | bytearray, start: int) -> None:
        """What is left behind the last whole reply: the beginning of the next one, or what nobody asked for."""
        if chunk[start] == PUSH and not self._passed:
            self._skip_push(chunk, start)
            return
        if not self._pending:
            self._break(RemoteProtocolError(f"{bytes(chunk[start : start + 40])!r} was not asked for"))
            return
        left = len(chunk) - start
        settled = min(self._scanner.settled, left)
        if left >= KEPT and settled:
            receiver, count, stats, since, command = self._pending[0]
            assert stats is not None
            if count > 1:
                self._pending[0] = (receiver, count - 1, stats, since, command)
                self._pending.appendleft((receiver, 1, stats, since, command))
                self._scanner.only_first(count)
            stats.reply_bytes_total += settled
            self._scanner.passed(settled)
            self._passed = True
            receiver.part(bytes(chunk[start : start + settled]))
            start += settled
            if self._scanner.settled > WORTH_MOVING and not self.closed:
                self._move(receiver, stats)
        self._rest = bytearray(chunk[start:])

    def _move(self, receiver: Receiver, stats: Tally) -> None:
        """All of a very long string but its end need not come into this process. While it is moved the connection is
        the client's alone, for it is as fast as that reads."""
        size = self._scanner.settled - LAST_PIECE
        if self.stream is not None and receiver.move(self.stream, size):
            self._scanner.passed(size)
            stats.reply_bytes_total += size
            self._holders.add(receiver)
            self._decide()

    def _moved(self) -> None:
        """What follows a long string that was moved has come."""
        receiver = self._pending[0][0]
        self.release(receiver)

    def _skip_push(self, chunk: bytes | bytearray, start: int) -> None:
        """What a server says unasked on a connection that nobody has to himself is for nobody."""
        try:
            end = self._scanner.end(chunk, start)
        except RemoteProtocolError as error:
            self._break(error)
            return
        if end < 0:
            self._rest = bytearray(chunk[start:])
            return
        self.pool.endpoint_stats(self).unasked_total += 1
        self._scanner.errors.clear()
        self._rest = bytearray()
        if end < len(chunk):
            self._read(bytes(chunk[end:]))

    def _break(self, error: RemoteProtocolError) -> None:
        self._give_up(UNREADABLE, "broke the protocol", str(error))
