"""One client: what it sends goes, in order, where it belongs, and each command gets exactly one reply, in order.

There are two ways to a server. *Plain* commands go to a connection that many clients share; as that answers in order,
so does this client's part of it, and all there is to keep is a number (``_outstanding``). Everything else goes to a
connection of the client's own (``own``), for as long as it needs one: a transaction, a command that blocks,
subscriptions, a long value. Whatever follows goes there too until it is *settled*: nothing is waited for, and the
server knows nothing of the client that another connection would not have. Then the client shares again.

What makes this hard is that neither commands nor replies may overtake each other on the way from one to the other. So a
client changes its way only when it has all its replies. Until then, what it has sent waits in ``_todo``, bounded,
because it is not read on then (``client_side``). Anything that happens (a reply, a lost connection, a client that reads
again) may be what was waited for. So there is one place that looks what can be done now, and what is left: ``attend``.
It is not asked where nothing can be left, which is nearly always: ``_slow`` says whether a chunk has to go by
``_todo``, and ``_attention`` whether a reply is to be followed by such a look. Both are told by ``attend``, and whoever
begins something that has to be waited for sets them.

What a client says of itself (``SELECT``, ``AUTH``, ``HELLO``) makes it another *identity*, which shares other
connections. ``special`` has what is done for these, and for all commands that are not plain.

In RESP3, subscriptions may be on a third connection, beside the others (``subscriptions``)."""

from __future__ import annotations

from collections import deque
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.asked import SUBSCRIPTIONS
from l4proxy.plugins.redis.client_side import CLIENT_FULL, FILTERS, PIPELINE, SERVER_FULL, TODO, ClientSide
from l4proxy.plugins.redis.connection import LAST_PIECE, WORTH_MOVING
from l4proxy.plugins.redis.front import Front
from l4proxy.plugins.redis.message import request_of
from l4proxy.plugins.redis.own import OwnReplies, give_errors, give_reply, send_to_own
from l4proxy.plugins.redis.receivers import NOBODY, Filtered, Receiver, Unheard
from l4proxy.plugins.redis.replies import FAILURES, TOO_LONG, of_upstream_error
from l4proxy.plugins.redis.several import Found, Several, find_several
from l4proxy.plugins.redis.special import HANDLERS, PLAIN_AFTER_ALL, Handler
from l4proxy.plugins.redis.subscriptions import Subscriptions
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.limits import protocol_error
from l4proxy.protocols.redis.request import RequestSplitter, Run, encode_command, one_by_one, whole_run
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.filter import Conn
    from l4proxy.plugins.redis.asked import Asked
    from l4proxy.plugins.redis.dedicated import DedicatedConnection
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.plugins.redis.identity import Identity
    from l4proxy.plugins.redis.message import RedisRequest
    from l4proxy.plugins.redis.pool import Pool
    from l4proxy.plugins.redis.shared import SharedConnection
    from l4proxy.protocols.redis.commands import Head
    from l4proxy.stream import Stream

__all__ = ["Session"]

TODO_LIMIT = 64 * 1024
"""Bytes of commands that wait for their turn, before the client is not read."""

Task: TypeAlias = "Run | tuple[Head, int, bytes, RedisRequest]"
"""A run, or a single command that message filters know as a request."""


class Next(Enum):
    """What becomes of a command that was looked at."""

    GO = "go"
    """It is treated as ever."""
    TAKEN = "taken"
    """It has been done."""
    WAIT = "wait"


class Session(Receiver):
    """Made for each client; the receiver of its replies from a shared connection, and the owner of its own one."""

    __slots__ = ("_attention", "_closely", "_disconnects", "_ended", "_link", "_outstanding", "_own", "_slow",
                 "_splitter", "_subscriptions", "_todo", "_todo_size", "_watched", "_working", "client", "conn",
                 "draining", "front", "hub", "id", "identity", "mute", "name", "skip", "waiting")  # fmt: skip

    def __init__(self, hub: Hub, conn: Conn) -> None:
        self.hub = hub
        self.conn = conn
        self.id = conn.id
        self.identity: Identity = hub.identity
        self.name = b""
        """What it calls itself (``CLIENT SETNAME``)."""
        self.mute = False
        """It wants no replies (``CLIENT REPLY OFF``)."""
        self.skip = False
        """It wants no reply to its next command (``CLIENT REPLY SKIP``)."""
        self.waiting = False
        """Something has to happen before its next command is looked at."""
        self.client = ClientSide(hub, conn)
        self.draining = False
        self._disconnects = hub.config.on_failure == "disconnect"
        self._ended = False
        """It will send no more."""
        self._splitter = RequestSplitter(hub.table, hub.limits)
        self._link: SharedConnection | None = None
        self._own: DedicatedConnection | None = None
        self._subscriptions: Subscriptions | None = None
        """Those that are apart from ``_own``."""
        self._outstanding = 0
        """Replies that it waits for on the shared connection."""
        self._todo: deque[Task] = deque()
        self._todo_size = 0
        self._working = False
        self._watched = not hub.config.command_timeout
        """It is looked at whether the rest of its command comes."""
        self._slow = False
        """What it sends has to be looked at one by one."""
        self._closely = False
        """Also when nothing is under way."""
        self._attention = False
        """Something is to be done when a reply has come."""
        self.front = Front(self, hub.filters) if hub.filters is not None else None
        """Message filters, if there are any."""

    # What the client sends

    def receive(self, data: bytes) -> None:
        """A chunk. The hot path: plain commands of a client that has nothing else under way are sent at once."""
        own = self._own
        if own is not None and own.part_sent and self._splitter.skip(len(data)):
            own.send_part(data)
            return
        if b"\r\n*" in data and not (data := self._send_pipeline(data)):
            return
        runs = self._splitter.split(data)
        if not self._watched and self._splitter.unfinished:
            self._watch_rest()
        if self.front is not None and not self.front.lets_by(runs):
            self.attend()
            return
        if not self._slow:
            for at, run in enumerate(runs):
                head = run[0]
                treatment: Treatment = head.note or self.hub.treatment(head)
                if not treatment.plain or not run[1]:
                    runs = runs[at:]
                    break
                self._share(self, treatment, run)
            else:
                if self._splitter.error is not None:
                    self.attend()
                return
        self._todo.extend(runs)
        self._todo_size += len(data)
        self.attend()

    def _send_pipeline(self, data: bytes) -> bytes:
        """Send the commands of a chunk that can be sent at once, of which there are most likely several. Return what is
        left."""
        splitter = self._splitter
        if self._slow or self.front is not None or splitter.error is not None:
            return data
        if splitter.unfinished:
            end = data.index(b"\r\n*") + 2  # nearly always that of the command under way
            self.receive(data[:end])
            data = data[end:]
            if self._slow or splitter.unfinished:
                return data
        return self._send_at_once(data)

    def _watch_rest(self) -> None:
        """A command has not come whole: it had better go on."""
        self._watched = True
        self.client.await_rest(self._misses_rest, self._half_command)

    def _misses_rest(self) -> bool:
        self._watched = self._splitter.error is None and self._splitter.unfinished
        return self._watched

    def _half_command(self) -> None:
        self._watched = False
        self._splitter.error = protocol_error("half_command", "a command was not completed in time")
        self.attend()

    def accept(self, run: Task, *, more: bool = False) -> None:
        """A command that message filters have let pass, or that none of them wants. ``more`` says that others follow,
        and then ``work``."""
        treatment: Treatment = run[0].note or self.hub.treatment(run[0])
        unchanged = not (self._todo or self.waiting or self._closely or self.mute or self.skip or self._slow)
        if not (unchanged and treatment.plain and run[1]):
            self._todo.append(run)
            if not more:
                self.work()
        else:
            self._share(self.receiver(run), treatment, run)

    def _share(self, receiver: Receiver, treatment: Treatment, run: Task) -> None:
        """Send plain commands to the shared connection."""
        link = self._link
        count = run[1]
        if link is None or not (link.usable or self._outstanding):
            try:
                link = self._choose_link()
            except UpstreamError as error:
                self.reply(run, of_upstream_error(error) * count)
                return
        self._outstanding += count
        link.send(receiver, treatment, count, run[2])
        if link.full or self._outstanding > self.hub.config.max_pipeline:
            self._slow_down(link)

    def _share_several(self, found: Found, data: bytes) -> bool:
        """The same for commands that differ, which are ``data`` together. False: there is no connection."""
        link = self._link
        if link is None or not (link.usable or self._outstanding):
            try:
                link = self._choose_link()
            except UpstreamError:
                return False
        count = len(found.commands)
        self._outstanding += count
        link.send_several(Several(self, found, link.pool.command_stats), count, data)
        if link.full or self._outstanding > self.hub.config.max_pipeline:
            self._slow_down(link)
        return True

    def _choose_link(self) -> SharedConnection:
        """Raises UpstreamError."""
        self._leave_link()
        link = self.hub.pool(self.identity).shared_connection()
        self.become(self.identity, link)
        link.join()
        return link

    def _leave_link(self) -> None:
        if self._link is not None:
            self._link.leave()
            self._link = None

    def _slow_down(self, link: SharedConnection) -> None:
        """It sends faster than it is served."""
        if link.full and not link.closed:
            self._pause(SERVER_FULL)
            link.waiting_to_send.append(self.server_writable)
        if self._outstanding > self.hub.config.max_pipeline:
            self._pause(PIPELINE)

    def server_writable(self, writable: bool = True) -> None:
        """The server that it sends to takes more, or does not for now."""
        if writable:
            self.client.resume(SERVER_FULL)
        else:
            self._pause(SERVER_FULL)

    def work(self) -> None:
        """Take what is to be done, until something has to be waited for."""
        if self._working:
            return
        self._working = True
        try:
            self._take_all()
        finally:
            self._working = False

    def _take_all(self) -> None:
        todo = self._todo
        while todo and not (self.waiting or self.closing):
            run = todo[0]
            head, count = run[0], run[1]
            treatment: Treatment = head.note or self.hub.treatment(head)
            if count > 1 and (self.skip or not treatment.plain):
                self._split_run()
            elif self._own is not None and (not count or self._uses_own(self._own, treatment)):
                if not self._send_to_own(self._own, treatment, run):
                    break
                if not count and self._own is not None:  # which sending may have ended
                    self._move_command(self._own)
            elif (following := self._intercept(treatment, run)) is not Next.GO:
                if following is Next.WAIT:
                    break
            elif treatment.plain and count:
                todo.popleft()
                self.share(treatment, run)
            elif count and treatment.role in PLAIN_AFTER_ALL and PLAIN_AFTER_ALL[treatment.role](self, treatment, run):
                pass
            elif self._outstanding:
                break
            elif not count:
                self.begin_own(treatment)
            else:
                self.handlers[treatment.role](self, treatment, run)

    def _split_run(self) -> None:
        """Make several tasks of the commands that are next."""
        head, count, data = self._todo.popleft()[:3]
        self._todo.extendleft((head, 1, one) for one in reversed(one_by_one((head, count, data))))

    @property
    def _part_sent(self) -> bool:
        """Whether its own connection has had only a part of a command so far."""
        return self._own is not None and self._own.part_sent

    # What a subclass decides, for clients of several servers

    handlers: ClassVar[dict[Role, Handler]] = HANDLERS

    def _send_at_once(self, data: bytes) -> bytes:
        """Send the commands that ``data`` begins with, most likely several, as far as they need not be looked at one by
        one. Return what is left."""
        run = whole_run(self.hub.table.heads, data)
        if run is not None:
            treatment: Treatment = run[0].note or self.hub.treatment(run[0])
            if treatment.plain:
                self._share(self, treatment, (*run, data))
                return b""
            return data
        found = find_several(self.hub, data)
        if found is None:
            return data
        rest = found.rest
        return rest if self._share_several(found, data.removesuffix(rest)) else data

    def _uses_own(self, own: DedicatedConnection, treatment: Treatment) -> bool:
        """Whether a command goes to the client's own connection, which it has. Subscriptions in a transaction do."""
        return treatment.role not in SUBSCRIPTIONS or own.multi or not self.subscribes_apart

    def _send_to_own(self, own: DedicatedConnection, treatment: Treatment, run: Task) -> bool:
        return send_to_own(self, own, treatment, run)

    def _intercept(self, treatment: Treatment, run: Task) -> Next:
        """Look at a command that goes to no connection of the client's own, before anybody else does."""
        return Next.GO if self._own is None or not self._own.waiting else Next.WAIT

    @property
    def subscribes_apart(self) -> bool:
        """Whether subscriptions have a connection to themselves: where the client may send other commands, and the
        server would refuse them."""
        if self.identity.protocol == 2:
            return False
        try:
            return self.hub.pool(self.identity).translates
        except UpstreamError:
            return False

    def _endpoint(self) -> tuple[Pool, Endpoint | None]:
        """Where the connection of the client's own is made to that the next command needs. Raises UpstreamError."""
        return self.hub.pool(self.identity), self._link.endpoint if self._link is not None else None

    def share_block(self, block: list[Task]) -> bool:
        """Send a whole transaction to the shared connection. False: it needs a connection of its own."""
        for task in block:
            self.share(task[0].note, task)
        return True

    def _move_command(self, own: DedicatedConnection) -> None:
        """All of a very long argument but its end need not come into this process."""
        size, server = self._splitter.ahead - LAST_PIECE, own.stream
        if size < WORTH_MOVING or server is None or not own.ready or server.buffered:
            return
        if self.client.move_sent(server, size):
            self._splitter.skip(size)
            own.part_moved(size)

    # For the handlers of special commands

    def share(self, treatment: Treatment, run: Task, receiver: Receiver | None = None) -> None:
        """Send a command to the shared connection."""
        if self.mute or self.skip:
            receiver, self.skip = Unheard(self, request_of(run)), False
        self._share(receiver or self.receiver(run), treatment, run)

    def receiver(self, run: Task) -> Receiver:
        """Who is given the reply to a command."""
        request = request_of(run)
        return self if request is None else Filtered(self, request)

    def pass_on(self, treatment: Treatment, run: Task) -> None:
        """The command under way is plain after all, or the server will say what is wrong with it."""
        self.done()
        self.share(treatment, run)

    def done(self) -> None:
        """The command under way needs nothing more. There is none if to send it has ended the connection."""
        if self._todo:
            self._todo.popleft()

    def reply(self, run: Task, data: bytes) -> None:
        """Answer a command in the server's place, when nothing is outstanding; with nothing, if that is the answer."""
        if self._disconnects and self.fails(data):
            return
        if self.mute or self.skip:
            data = b""
        self.skip = False
        request = request_of(run)
        if request is not None:
            self.filters.respond(request, data)
        elif data:
            self.give(data)

    @property
    def filters(self) -> Front:
        assert self.front is not None
        return self.front

    @property
    def closing(self) -> bool:
        """The client is sent no more."""
        return self.client.closing

    @property
    def is_idle(self) -> bool:
        """Nothing is to be done, and nothing waited for."""
        own = self._own
        return not (self._todo or self.waiting or self._outstanding or (own is not None and own.waiting))

    @property
    def is_alone(self) -> bool:
        """Whether the client waits for one reply and has sent nothing more."""
        return self._outstanding == 1 and not self._todo and not self.closing

    def transaction(self) -> list[Task]:
        """What there is to be done up to the end of the transaction that is next, if it has all come and is plain; else
        nothing."""
        block = [self._todo[0]]
        for run in islice(self._todo, 1, None):
            treatment: Treatment = run[0].note or self.hub.treatment(run[0])
            if not treatment.plain or not run[1]:
                break
            block.append(run)
            if treatment.ends:
                return block
        return []

    def ask_again(self, treatment: Treatment, run: Task, before: bytes) -> None:
        """Send a command that was answered once more, behind a script that the server lacked."""
        link = self._link
        assert link is not None
        link.send(NOBODY, self.hub.script, 1, before)
        link.send(self.receiver(run), treatment, 1, run[2])

    def begin_own(self, treatment: Treatment) -> DedicatedConnection | None:
        """What comes next, the command under way first, goes to a connection of the client's own. None: there is none
        to be had, and the client has been told."""
        own = self._open(treatment)
        if own is None:
            return None
        OwnReplies(self, own)
        self._own = own
        self._slow = True
        if not own.ready:
            self._pause(SERVER_FULL)
        return own

    def _open(self, treatment: Treatment) -> DedicatedConnection | None:
        """A connection for the command under way. None: the client has been told that there is none."""
        try:
            pool, endpoint = self._endpoint()
        except UpstreamError as error:
            self._refuse(of_upstream_error(error))
            return None
        own = pool.dedicated_connection(endpoint)
        if own.closed:
            self._refuse(own.failure)
            return None
        self.hub.stats.dedicated_total.add(treatment.name)
        if own.name != self.name:
            own.name = self.name
            own.send(self.hub.client, encode_command(b"CLIENT", b"SETNAME", self.name), hidden=True)
        return own

    def _refuse(self, error: bytes) -> None:
        """There is no connection for the command under way."""
        run = self._todo.popleft()
        self.reply(run, error)
        if not run[1]:
            self.finish("upstream", "command_lost")  # the rest of it is still to come

    def become(self, identity: Identity, link: SharedConnection | None = None) -> None:
        """From now on it is somebody else; ``link`` is a connection that it has joined as such."""
        self._leave_link()
        self.identity = identity
        self._link = link

    def drop_own(self) -> None:
        """It needs its own connection no more, whatever state that is in."""
        own, self._own = self._own, None
        if own is not None:
            own.pool.give_back(own)

    def not_changed(self, run: Task, error: bytes, by: Endpoint | None = None) -> None:
        """No server has said whether the client may be who it wants to be."""
        self.reply(run, error)
        self.resume()

    def resume(self) -> None:
        """What was waited for has happened."""
        self.waiting = False
        self.attend()

    def finish(self, who: str, detail: str, message: str = "") -> None:
        """Close, behind all that was sent to the client."""
        if not self.closing:
            self._todo.clear()
            self.client.finish(who, detail, message)

    def fails(self, data: bytes) -> bool:
        """Whether this says that there is no server, and the client is not told but disconnected (`on_failure`)."""
        if self._disconnects and data.startswith(FAILURES):
            self.finish("upstream", "unanswered")
            return True
        return False

    def give(self, data: bytes) -> None:
        """Send to the client."""
        self.client.write(data)
        if self.client.pauses & CLIENT_FULL:
            self.client.exceed(len(data), self._link, self.owed)

    # Replies from the shared connection

    def replied(self, data: bytes, count: int) -> None:
        self._outstanding -= count
        self.client.write(data)
        if self._attention:
            self._got(len(data))

    def part(self, data: bytes) -> None:
        self.client.write(data)
        if self._attention:
            self._got(len(data))

    def move(self, stream: Stream, size: int) -> bool:
        return not (self.mute or self.subscribed_apart) and self.client.move(stream, size, self._link, self.owed)

    def owed(self) -> int:
        """Replies that it waits for on shared connections."""
        return self._outstanding

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        if not self.fails(error):
            self.replied(error * count, count)

    def broken(self) -> None:
        if not self.closing:
            self.client.cut_off("upstream", "reply_cut_off")

    def answered(self, count: int) -> None:
        """Replies that somebody else has been given in the client's place."""
        self._outstanding -= count

    def look_up(self) -> None:
        """After ``answered``: is there something to be done?"""
        if self._attention:
            self._got(0)

    def _got(self, size: int) -> None:
        """A reply, and there is something to be done when there are no others, or few."""
        pauses = self.client.pauses
        if pauses & CLIENT_FULL:
            self.client.exceed(size, self._link, self.owed)
        if not self._outstanding or pauses & PIPELINE:
            self.attend()

    # Replies from its own connection

    def own_reply(self, asked: Asked, data: bytes) -> None:
        give_reply(self, asked, data)
        if self._ended and self._own is not None and self._own.blocked:
            self.finish("client", "eof")

    def own_lost(self, error: bytes, missing: list[Asked]) -> None:
        """Its own connection is gone, and with it these replies."""
        own, self._own = self._own, None
        assert own is not None
        if own.cut_off:
            self.broken()
            return
        give_errors(self, error, missing)
        if own.stateful or own.part_sent:
            self.finish("upstream", "state_lost")
        self.client.resume(SERVER_FULL)
        self.attend()

    # Subscriptions that are apart

    def subscribe(self, treatment: Treatment, run: Task) -> None:
        """The command under way begins or ends some. All earlier replies are there."""
        subscriptions = self._subscriptions
        if subscriptions is None:
            connection = self._open(treatment)
            if connection is None:
                return
            subscriptions = self._subscriptions = Subscriptions(self, connection, self.client.write)
            self.client.write = subscriptions.write
        elif refusal := self._cannot_join(subscriptions.connection, run):
            self.done()
            self.reply(run, refusal)
            return
        self.skip = False
        self.waiting = True
        self.done()
        subscriptions.subscribe(treatment, run)

    def _cannot_join(self, connection: DedicatedConnection, run: Task) -> bytes:
        """What is replied to a command that cannot be sent to where other subscriptions are."""
        return b""

    def subscription_reply(self, asked: Asked, data: bytes, connection: DedicatedConnection) -> None:
        give_reply(self, asked, data)

    def drop_subscriptions(self) -> None:
        """There are none, or they are of no use any more."""
        subscriptions, self._subscriptions = self._subscriptions, None
        if subscriptions is not None:
            if not self.closing:
                self.client.write = subscriptions.send_client
            connection = subscriptions.connection
            connection.pool.give_back(connection)

    @property
    def subscribed_apart(self) -> bool:
        return self._subscriptions is not None

    # What else happens

    def client_writable(self, writable: bool) -> None:
        """The client does not read for now, or does again."""
        if self._own is not None:
            self._own.hold_reading(not writable)
        if self._subscriptions is not None:
            self._subscriptions.connection.hold_reading(not writable)
        if writable:
            self.client.reads()
            self.client.resume(CLIENT_FULL)
        else:
            self._pause(CLIENT_FULL)

    def ended(self) -> None:
        """The client will send no more. It may wait for replies all the same (``printf | nc``), and a server would
        have done all that it had read before it saw the end. Most of those that have to wait for long are gone, though,
        and look no different as long as nothing is sent to them: so the wait is not for ever. Nobody waits for what
        only others can bring about (``BLPOP``), as with a server."""
        self._ended = True
        if self._own is not None and self._own.blocked:
            self.finish("client", "eof")
        self.attend()
        if self.hub.config.half_close_timeout and not self.closing:
            self.client.await_replies(self._progress)

    def _ended_unread(self) -> None:
        """The client has ended its side while it is not read, as it has sent much behind a command that blocks."""
        if self._own is not None and self._own.blocked:
            self.finish("client", "eof")

    def _progress(self) -> tuple[int, int, int]:
        """Changes with every reply, also where the client wants none."""
        return self.conn.activity, self._outstanding, len(self._todo)

    def filters_blocked(self, blocked: bool) -> None:
        """Message filters hold something, or enough: the client is not to be read for now."""
        if blocked:
            self._pause(FILTERS)
        else:
            self.client.resume(FILTERS)

    def too_long(self) -> None:
        """A command has come in parts that has to be looked at as a whole."""
        self.give(TOO_LONG)
        self.finish("proxy", "command_too_long")

    def drain(self) -> None:
        self.draining = True
        self.attend()

    def closed(self, reason: CloseReason) -> None:
        """The connection is over. What the client has sent is done all the same, but for what it waits for."""
        self.client.closed()
        self._attention = False
        self._todo.clear()
        if self.front is not None:
            self.front.close(reason)
        self.drop_own()
        self.drop_subscriptions()
        self._leave_link()
        # Where replies are still to come, those hold this object, and are not to hold all that was the client's.
        del self.conn, self._splitter

    def attend(self) -> None:
        """Do what can be done now, and find out what is left."""
        self.work()
        if self.closing:
            return
        if self.front is not None:
            self.front.go_on()
        todo, own = self._todo, self._own
        idle = self.is_idle and (self.front is None or self.front.is_idle)
        if idle and (error := self._splitter.error) is not None:
            self.hub.stats.protocol_errors_total.add(error.code)
            self.give(error.reply)
            self.finish("client", error.code, str(error))
        elif idle and self._ended:
            self.finish("client", "eof")
        elif idle and self.draining and own is None and not self.subscribed_apart:
            self.finish("proxy", "drain")
        else:
            self._slow = bool(todo or self.waiting or own is not None or self.mute or self.skip or self._closely)
            self._limit()
            waits = self.front is not None and not self.front.is_idle
            self._attention = bool(
                todo or waits or self.client.pauses or self._ended or self.draining or self._splitter.error
            )

    def _limit(self) -> None:
        """Read the client, or do not, as there is much or little to be done."""
        if not self._todo:
            self._todo_size = 0
            self.client.resume(TODO)
        elif self._todo_size > TODO_LIMIT:
            self._pause(TODO)
        if self._outstanding <= self.hub.config.max_pipeline // 2:
            self.client.resume(PIPELINE)

    def _pause(self, reason: int) -> None:
        self.client.pause(reason)
        self.client.await_end(self._ended_unread)
        self._attention = True
