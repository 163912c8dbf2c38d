"""One connection of a client with a server, as both are heard: which reply belongs to which command.

Redis answers in order, so what was asked stands in a queue. Most of it is *plain*: one command, one reply, and all that
there is to do is to count. That is the hot path, `client_data` and the loop in `_replies`; it makes no objects but a
tuple for each command. Where there are no parts of commands or replies, the ``redis`` filter has a shorter way past
both (`together`).

What is *special* (`state`) has another path, `_frame`, one frame at a time: a connection that has subscribed or shows
what MONITOR sees, where not everything that comes is a reply; a transaction, where replies mean something else; and
commands that change how the connection goes on. A connection goes back to the hot path when nothing of that is left.

The scanner of replies remembers where it is, for so many replies as it was asked to find the end of. So whoever has
asked it goes on asking the same: ``_scanning`` says for how many.

Begun in the middle, it looks for a chunk of the client's that begins like a command, and then for one of the server's
that begins like a reply. A capture may also have seen a reply before its command: it is kept for a while.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from l4proxy.filter import Side
from l4proxy.inspector import Conversation, Link, StopWatching
from l4proxy.plugins.redis_watch.asked import Asked, Plan, commands_of
from l4proxy.plugins.redis_watch.exchange import MessageExchange, RedisExchange
from l4proxy.plugins.redis_watch.state import CONFIRMATIONS, MESSAGES, ConnectionState, word_of
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.protocols.redis.openings import LENGTH_OF_NAME
from l4proxy.protocols.redis.patterns import SINGLE
from l4proxy.protocols.redis.reply import ReplyScanner
from l4proxy.protocols.redis.request import RequestSplitter
from l4proxy.stats import SECONDS

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.inspector import RedisInspector

__all__ = ["RedisConversation"]

Entry: TypeAlias = "tuple[Plan, int, float, bytes, int]"
"""Commands that wait for their replies: what they are, how many, since when; their bytes, of a long one the beginning;
and how many bytes there were."""

KEPT = 4096
"""Bytes of a command that are kept until its reply is there."""
KEPT_OF_MANY = 128
MANY = 1000
"""From so many waiting ones on, less is kept of each."""
PIECE = 4096
"""Bytes of a reply under way, from which on it is not kept."""
LONGEST_EXEC = 256 * 1024
"""Bytes of the reply to EXEC in which errors are looked for."""
BEGIN = 512
"""Bytes of a frame by which it is told what it is."""
EARLY = 64 * 1024
"""Bytes that a server may be heard to say before its client."""
LIMITS = RedisLimits(stream_from=16 * 1024)
PUSH = ord(">")

_begins_like_a_command = re.compile(rb"\*[1-9][0-9]{0,6}\r\n\$[0-9]{1,3}\r\n").match
_begins_like_a_reply = re.compile(rb"[-+:$*_,#(!=%~>|][^\r\n]*\r?").match


class RedisConversation(Conversation):
    __slots__ = ("_begin", "_careful", "_early", "_folded", "_framing", "_inspector", "_limit", "_missing", "_part",
                 "_part_size", "_passed", "_plain", "_reply_size", "_rest", "_roles", "_scanner", "_scanning",
                 "_seeks_command", "_seeks_reply", "_splitter", "client", "commands", "endpoint", "errors",
                 "link", "now", "quick", "reply_bytes", "request_bytes", "room", "state", "steady", "view",
                 "waiting")  # fmt: skip

    def __init__(self, inspector: RedisInspector, link: Link) -> None:
        self._inspector = inspector
        self._limit = inspector.config.max_in_flight
        self.view = view = inspector.view
        self.link = link
        self.state = ConnectionState(link.state)
        self.client = view.enter(self._called, link.client.host, view.now)
        self.now = view.now
        self.commands = self.errors = self.request_bytes = self.reply_bytes = 0
        """Of commands that were answered."""
        self._folded = (0, 0, 0, 0)
        self.endpoint = None if link.server is None else view.endpoint(str(link.server))
        # What the client says
        self._splitter = RequestSplitter(view.table, LIMITS)
        self._part = b""
        self._part_size = 0
        """Of a command that comes in parts, what has come."""
        self.steady = False
        """Nothing is under way, and nothing special: a chunk is most likely a command."""
        self.room = min(self._limit, MANY)
        """So many commands may wait of which all is kept that they are told by."""
        self._plain = True
        """There is one reply to each command of the client's."""
        self.waiting: deque[Entry] = deque()
        # What the server says
        self._scanner = ReplyScanner()
        self._scanning = 0
        """The scanner is in the middle of so many replies."""
        self._rest = bytearray()
        self._begin = b""
        """The beginning of a frame of which a part was not kept."""
        self._passed = 0
        """Bytes of that part."""
        self._framing = False
        """By ``_frame``."""
        self._reply_size = self._missing = 0
        """Of a command that has several replies: bytes of those that have come, and how many have not."""
        self._roles = 0
        """Commands with a role that wait."""
        self._careful = False
        """There are some, or the state is special."""
        self.quick = False
        """Nothing is under way, and nothing special: a chunk is most likely a reply."""
        self._early = False
        """The server has said something, and no command was seen yet to which it belongs."""
        self._seeks_command = self._seeks_reply = link.midway
        view.conversations.add(self)

    @property
    def in_flight(self) -> int:
        return sum(entry[1] for entry in self.waiting)

    @property
    def is_subscriber(self) -> bool:
        return self.state.is_subscriber

    # What the client says

    def client_data(self, data: bytes, at: float) -> int | None:
        self.now = at
        size = len(data)
        if self.steady and LENGTH_OF_NAME < size < SINGLE and len(self.waiting) < self.room:
            plan, count = self.view.plain(data)
            if plan is not None and (count == 1 or self._is_enough):
                plan.stats.commands_total += count
                plan.stats.request_bytes_total += size
                self.waiting.append((plan, count, at, data, size))
                return None
        spare = self._client_data(data, at)
        self.steady = self._plain and not (self._splitter.unfinished or self._early)
        return spare

    def _client_data(self, data: bytes, at: float) -> int | None:
        if self._seeks_command:
            if not _begins_like_a_command(data):
                return None
            self._seeks_command = False
        waiting, splitter = self.waiting, self._splitter
        for head, count, raw in splitter.split_runs(data):
            plan: Plan = head.note or self.view.plan(head)
            if count == 1 and self._plain and not plan.role:
                size = len(raw)
                stats = plan.stats
                stats.commands_total += 1
                stats.request_bytes_total += size
                waiting.append((plan, 1, at, raw if size <= KEPT_OF_MANY else self._kept(raw), size))
            else:
                self._asked(plan, count, raw, at)
        if len(waiting) > self._limit:
            raise StopWatching("max_in_flight", f"more than {self._limit} commands without a reply")
        if self._early:
            self._early = False
            rest, self._rest = self._rest, bytearray()
            self._replies(rest, at)
        if splitter.error is not None:
            raise splitter.error
        return splitter.ahead if len(data) > KEPT else None

    @property
    def _is_enough(self) -> bool:
        """Whether nobody wants to know of every single command of a run."""
        return not (self.view.looks_at_all or self._inspector.on_exchange)

    def _kept(self, raw: bytes) -> bytes:
        limit = KEPT if len(self.waiting) < MANY else KEPT_OF_MANY
        return raw if len(raw) <= limit else raw[:limit]

    def _asked(self, plan: Plan, count: int, raw: bytes, at: float) -> None:
        """What is no single plain command: a pipeline, a part, one with a role, or one that will have no reply."""
        if not count:
            self._part = self._part or raw[:KEPT]
            self._part_size += len(raw)
            self._plain = False
            return
        size = len(raw) + self._part_size
        plan.stats.commands_total += count
        plan.stats.request_bytes_total += size
        if self._part_size:
            raw, self._part, self._part_size = self._part, b"", 0
        silent = self.state.muted or self.state.skips
        self._plain = not silent
        if count > 1 and self._is_enough and not (silent or plan.role):
            self.waiting.append((plan, count, at, self._kept(raw), size))
        elif count > 1:
            for one in commands_of(raw, count):
                self._asked_one(plan, one, len(one), at)
        else:
            self._asked_one(plan, raw, size, at)

    def _asked_one(self, plan: Plan, raw: bytes, size: int, at: float) -> None:
        if plan.role or not self._plain:
            if plan.role == "sync":
                raise StopWatching("replication", "the connection goes on as one of a replica")
            answered = self.state.asks(Asked(plan, at, raw, size))
            self._plain = not (self.state.muted or self.state.skips)
            if not answered:
                self.view.stats.silenced_total += 1
                return
            if plan.role:
                self._roles += 1
                self._careful, self.quick = True, False
        self.waiting.append((plan, 1, at, self._kept(raw), size))

    # What the server says

    def server_data(self, data: bytes, at: float) -> int | None:
        self.now = at
        if self._seeks_reply:
            if self._seeks_command or not _begins_like_a_reply(data):
                return None
            self._seeks_reply = False
        if self.endpoint is None:
            self.endpoint = self.view.endpoint(str(self.link.server or "(unknown)"))
        if self._rest:
            self._rest += data
            return self._replies(self._rest, at)
        return self._replies(data, at)

    def _replies(self, chunk: bytes | bytearray, at: float) -> int | None:
        """Pair what has come with what was asked. Return how many bytes that follow need not be seen."""
        waiting, find_end = self.waiting, self._scanner.end
        start, size = 0, len(chunk)
        while start < size:
            if self._careful or not waiting or self._framing or (chunk[start] == PUSH and not self._scanning):
                end = self._frame(chunk, start, at)
                if end < 0:
                    break
                start = end
                continue
            entry = waiting[0]
            count = entry[1]
            end = find_end(chunk, start, count)
            if end < 0:
                if count > 1:
                    start = self._part_of_run(entry, start, at)
                self._scanning = waiting[0][1] if waiting else 0
                break
            waiting.popleft()
            self._scanning = 0
            self._answered(entry, end - start + self._passed, at)
            self._passed = 0
            start = end
        if start == size:
            self._rest = bytearray()
            self.quick = not self._careful and self.endpoint is not None
            return None
        return self._keep(chunk, start)

    def _part_of_run(self, entry: Entry, start: int, at: float) -> int:
        """Not all replies of a run have come. Count those that have; return where they end."""
        plan, count, since, raw, size = entry
        whole, end = self._scanner.take_whole(start, count)
        if whole:
            share = size * whole // count
            self.waiting[0] = (plan, count - whole, since, raw, size - share)
            self._answered((plan, whole, since, raw, share), end - start + self._passed, at)
            self._passed = 0
        return end if whole else start

    def _keep(self, chunk: bytes | bytearray, start: int) -> int | None:
        """The beginning of a frame. Of a long one, what the scanner needs no more is only counted."""
        self.quick = False
        left = len(chunk) - start
        settled = min(self._scanner.settled, left) if self._scanning else 0
        if settled >= (LONGEST_EXEC if self._awaits_exec else PIECE):
            if self._framing and not self._begin:
                self._begin = bytes(chunk[start : start + BEGIN])
            self._scanner.passed(settled)
            self._passed += settled
            start += settled
        self._rest = bytearray(chunk[start:])
        return self._scanner.settled if not self._rest else None

    @property
    def _awaits_exec(self) -> bool:
        return bool(self._roles and self.waiting and self.waiting[0][0].role == "exec")

    def _answered(self, entry: Entry, size: int, at: float) -> None:
        """Commands have their replies, of together ``size`` bytes. Of most of them that is counted in `together`."""
        plan, count, since, raw, asked_size = entry
        view, endpoint, took = self.view, self.endpoint, at - since
        assert endpoint is not None  # it is known before anything it says is looked at
        if took < 0:
            took = 0.0
        stats = plan.stats
        bucket = bisect_left(SECONDS, took)
        seconds, all_took = stats.seconds, took * count
        seconds.counts[bucket] += count
        seconds.sum += all_took
        stats.reply_bytes_total += size
        seconds = endpoint.seconds
        seconds.counts[bucket] += count
        seconds.sum += all_took
        self.commands += count
        self.request_bytes += asked_size
        self.reply_bytes += size
        error_name = self._count_errors(plan) if self._scanner.errors else ""
        if plan.takes_keys:
            view.until_look -= count
            if view.until_look < 0 or size > view.big_floor or asked_size > view.big_floor:
                self.look(entry, size, at)
        if took >= view.slow_seconds:
            asked = Asked(plan, since, raw, asked_size)
            if not asked.waits:
                view.was_slow(asked, self._called, str(self.link.client), took)
        if self._inspector.on_exchange is not None:
            asked = Asked(plan, since, raw, asked_size)
            told = RedisExchange(self.link, asked, took, error=error_name, reply_bytes=size)
            self._inspector.on_exchange(told)

    @property
    def _called(self) -> str:
        """What the client calls itself, or else its address."""
        link = self.link
        return str(link.state.get("redis:name") or link.client.host or link.client)

    def look(self, entry: Entry, size: int, at: float) -> None:
        """Which keys is it about?"""
        plan, count, since, raw, asked_size = entry
        key = self._key(plan, raw)
        keys = [key] if key is not None else Asked(plan, since, raw, asked_size).find_keys()
        self.view.used(keys, plan, asked_size // count, size // count, at)

    @staticmethod
    def _key(plan: Plan, raw: bytes) -> bytes | None:
        """The key of a command that has one, quickly; None: it takes longer to find out."""
        if plan.one_key and raw.startswith(b"*"):
            lines = raw.split(b"\r\n", 5)
            if len(lines) == 6 and lines[3] == b"$%d" % len(lines[4]):
                return lines[4]
        return None

    def _count_errors(self, plan: Plan) -> str:
        """Replies were errors. Return the kind of the first one."""
        first = ""
        for text in self._scanner.errors:
            name = self._count_error(plan, text)
            first = first or name
        self._scanner.errors.clear()
        return first

    def _count_error(self, plan: Plan, text: bytes) -> str:
        name = text.partition(b" ")[0][:64].decode("latin-1")
        plan.stats.errors_total.add(name)
        if self.endpoint is not None:
            self.endpoint.errors_total.add(name)
        self.errors += 1
        return name

    # One frame at a time

    def _frame(self, chunk: bytes | bytearray, start: int, at: float) -> int:
        """What begins here, where it may be something else than a plain reply. Return where it ends; -1: it has not
        come whole, or has to wait for its command."""
        waiting, count = self.waiting, self._scanning or 1
        end = self._scanner.end(chunk, start, count)
        if end < 0:
            self._scanning, self._framing = count, True
            return -1
        self._scanning, self._framing = 0, False
        if count > 1:  # a run, begun before there was anything special
            self._answered(waiting.popleft(), end - start + self._passed, at)
            self._passed = 0
            return end
        frame = self._begin or bytes(chunk[start:end])
        size = end - start + self._passed
        if self._is_unasked(frame):
            self._scanner.errors.clear()
            self._unasked(frame, size, at)
        elif waiting:
            if waiting[0][1] > 1:
                self._single_out(waiting.popleft())
            self._reply(frame, size, at)
        else:
            self._scanner.errors.clear()
            if not (self._begin or self.link.midway):
                self._early, self.steady = True, False
                if len(chunk) - start > EARLY:
                    raise StopWatching("unasked", "the server says what nobody was seen to ask for")
                return -1
            self.view.stats.unasked_total += 1
        self._begin, self._passed = b"", 0
        return end

    def _single_out(self, run: Entry) -> None:
        """Make single commands of a run. Only the first can be told by its bytes: not all of them were kept."""
        plan, count, since, raw, size = run
        share = size // count
        self.waiting.extendleft([(plan, 1, since, b"", share)] * (count - 1))
        self.waiting.appendleft((plan, 1, since, raw[:share], size - share * (count - 1)))

    def _is_unasked(self, frame: bytes) -> bool:
        """Whether this is no reply, but a message, a push or a line of MONITOR."""
        kind = frame[:1]
        if kind == b"+":
            return self.state.monitoring and frame[1:2].isdigit()
        if kind == b">":
            asks = bool(self.waiting) and self.waiting[0][0].role == "subscribe"
            return not (asks and word_of(frame) in CONFIRMATIONS)
        return kind == b"*" and self.state.is_subscriber and word_of(frame) in MESSAGES

    def _unasked(self, frame: bytes, size: int, at: float) -> None:
        stats, word = self.view.stats, word_of(frame)
        if frame[:1] == b"+":
            stats.monitor_lines_total += 1
            return
        if word in MESSAGES:
            stats.messages_total += 1
            stats.message_bytes_total += size
        else:
            stats.pushes_total.add(word.decode() or "(unknown)")
            if word in CONFIRMATIONS:  # the server has ended a subscription
                self.state.confirmed(word, frame)
                self._decide()
        if self._inspector.on_exchange is not None:
            kind, channel = "push", word
            if word in MESSAGES:
                kind, channel = "message", frame.split(b"\r\n", 5)[4]
            self._inspector.on_exchange(MessageExchange(self.link, at, kind, channel, size))

    def _reply(self, frame: bytes, size: int, at: float) -> None:
        """The reply to the first command that waits, or one of its replies."""
        entry = self.waiting[0]
        plan, _, since, raw, asked_size = entry
        role, state = plan.role, self.state
        failed = frame[:1] in (b"-", b"!")
        queued = state.in_multi and frame.startswith(b"+QUEUED")
        self._reply_size += size
        if role == "subscribe" and not (failed or queued):
            missing = self._missing or state.confirmations(Asked(plan, since, raw, asked_size).words)
            word = word_of(frame)
            if word in CONFIRMATIONS:
                state.confirmed(word, frame)
            self._missing = missing - 1
            if self._missing:
                return
        size, self._reply_size, self._missing = self._reply_size, 0, 0
        self.waiting.popleft()
        self._roles -= bool(role)
        if queued:
            state.queue(plan)
        elif role in ("exec", "discard"):
            self._transaction_over(role, frame, size, failed)
        elif role and not failed:
            self._changed(Asked(plan, since, raw, asked_size), at)
        self._answered(entry, size, at)
        self._decide()

    def _decide(self) -> None:
        self._careful = self._roles > 0 or self.state.is_special

    def _transaction_over(self, role: str, frame: bytes, size: int, failed: bool) -> None:
        state = self.state
        if not state.in_multi:
            return
        if role == "discard":
            outcome = "discarded"
        else:
            outcome = "executed" if frame[:1] == b"*" and frame[:3] != b"*-1" else "aborted"
        self.view.stats.transactions_total.add(outcome)
        for plan, text in state.over(frame if len(frame) == size and not failed else b""):
            self._count_error(plan, text)

    def _changed(self, asked: Asked, at: float) -> None:
        """The server has done what a command with a role asks for."""
        told = self.link.state
        before = told.get("redis:name")
        self.state.took(asked)
        name = told.get("redis:name")
        if name != before:
            self.fold()
            self.view.leave(self.client, at)
            host = self.link.client.host
            self.client = self.view.enter(name or host or str(self.link.client), host, at)

    # The end, and what is counted now and then

    def fold(self) -> None:
        """Count for client and endpoint what was counted for the connection."""
        before = self._folded
        self._folded = (self.commands, self.errors, self.request_bytes, self.reply_bytes)
        commands = self.commands - before[0]
        if not commands:
            return
        request_bytes, reply_bytes = self.request_bytes - before[2], self.reply_bytes - before[3]
        client, endpoint = self.client.stats, self.endpoint
        client.errors_total += self.errors - before[1]
        client.commands_total += commands
        client.request_bytes_total += request_bytes
        client.reply_bytes_total += reply_bytes
        if endpoint is None:
            return
        endpoint.commands_total += commands
        endpoint.request_bytes_total += request_bytes
        endpoint.reply_bytes_total += reply_bytes

    def skipped(self, side: Side, size: int) -> None:
        if side is Side.CLIENT:
            self._splitter.skip(size)
            self._part_size += size
        else:
            self._scanner.passed(size)
            self._passed += size

    def close(self, at: float) -> None:
        view = self.view
        view.seen(at)
        self.fold()
        view.stats.unanswered_total += self.in_flight
        if self._early:
            view.stats.unasked_total += 1
            text = bytes(self._rest[:100]).partition(b"\r\n")[0].decode(errors="backslashreplace")
            self._inspector.notice(self.link, at, "unasked", text, error=text[1:].partition(" ")[0])
        view.leave(self.client, at)
        view.conversations.discard(self)
        self.steady = self.quick = False
        state = self.link.state
        state["redis:commands"] = self.commands
        state["redis:errors"] = self.errors
