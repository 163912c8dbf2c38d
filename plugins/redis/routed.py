"""A client whose commands go to several servers, each where its keys are.

Each command has its *turn* in the order of replies, and its reply waits until those before it were given. Behind a turn
there may be one command for one server, several whose replies become one, or an answer of the proxy's own (``sent``).

What needs a connection of the client's own gets one to the server that has its keys. A transaction goes where its first
key is; one of which a command is for another server is aborted, as it would be by a Redis Cluster. What a client
subscribes to in RESP3 leaves it free to send other commands anywhere.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.asked import SUBSCRIPTIONS
from l4proxy.plugins.redis.by_key import send_by_key, send_pipeline
from l4proxy.plugins.redis.client_side import CLIENT_FULL, PIPELINE
from l4proxy.plugins.redis.lanes import PAUSE, Lanes
from l4proxy.plugins.redis.message import request_of
from l4proxy.plugins.redis.own import send_to_own
from l4proxy.plugins.redis.receivers import NOBODY, Receiver, Unheard
from l4proxy.plugins.redis.replies import (
    ABORTED,
    CROSS_SLOT,
    MOVED_AWAY,
    OK,
    QUEUED,
    RefusedCommand,
    is_refusal,
    not_while_subscribed,
    of_upstream_error,
)
from l4proxy.plugins.redis.routed_special import ROUTED_HANDLERS
from l4proxy.plugins.redis.router import Answer, Scatter, Single
from l4proxy.plugins.redis.sent import ASKING, MAX_TRIES, Block, Gather, Joined, Sent, Turn, tries_for
from l4proxy.plugins.redis.session import Next, Session
from l4proxy.plugins.redis.special import Handler
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.request import encode_command, one_by_one

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.filter import Conn
    from l4proxy.plugins.redis.asked import Asked
    from l4proxy.plugins.redis.dedicated import DedicatedConnection
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.plugins.redis.identity import Identity
    from l4proxy.plugins.redis.lanes import Movable, Place
    from l4proxy.plugins.redis.pool import Pool
    from l4proxy.plugins.redis.router import Mirror
    from l4proxy.plugins.redis.session import Task
    from l4proxy.plugins.redis.shared import SharedConnection
    from l4proxy.plugins.redis.target import Advice, Shard, Target
    from l4proxy.reason import CloseReason

__all__ = ["RoutedSession"]

MAX_UNPLACED = 1000
"""Commands of a transaction that may wait for the first one with a key."""
DISCARD = encode_command(b"DISCARD")
MULTI = encode_command(b"MULTI")


class RoutedSession(Session):
    """Made for each client, where it matters which server a command goes to."""

    __slots__ = ("_ask_first", "_elsewhere", "_flush_later", "_flushing", "_links", "_order", "_own_target",
                 "_promised", "_reached", "_regroups", "_spoilt", "_tries", "_unplaced", "lanes")  # fmt: skip

    def __init__(self, hub: Hub, conn: Conn) -> None:
        self._order: deque[Turn] = deque()
        """Commands whose replies the client has not got."""
        self._flushing = False
        self._flush_later = False
        self._links: dict[tuple[Target, Endpoint | None, bool], Joined] = {}
        self._reached: dict[Shard, Joined] = {}
        """Those of ``_links`` that lead to the primaries of shards, as far as they were asked for."""
        self._promised = False
        """A transaction has begun, and no command has said yet which server it is for."""
        self._unplaced: list[tuple[Treatment, bytes]] = []
        """Its commands so far, which have no keys."""
        self._spoilt = False
        """A command of the transaction was for another server: it is to be aborted."""
        self.lanes = Lanes(self)
        self._regroups = False
        """Keys have gone to other servers while replies were outstanding."""
        self._own_target: Target | None = None
        self._elsewhere: Advice | None = None
        """Where the server of its own connection has sent it."""
        self._ask_first = False
        """The next command to its own connection is there by ``ASK``."""
        self._tries = 0
        super().__init__(hub, conn)
        self._slow = self._closely = not hub.router.ready
        hub.sessions[self] = None

    # Connections

    def join(self, target: Target, endpoint: Endpoint | None, *, replica: bool = False) -> Joined:
        """The shared connection to a server that this client uses. Raises UpstreamError."""
        key = (target, endpoint, replica)
        joined = self._links.get(key)
        if joined is None or not (joined.link.usable or joined.outstanding):
            link = target.pool(self.identity, endpoint, replica=replica).shared_connection()
            link.join()
            if joined is not None:
                joined.link.leave()
            joined = self._links[key] = Joined(link)
            self._reached.clear()
        if joined.link.full:
            self._slow_down(joined.link)
        return joined

    def reach(self, target: Target, shard: Shard, reads: bool) -> Joined:
        """The one for a command for a shard, which only ``reads``, or does more. The hot path. Raises UpstreamError."""
        if reads and not target.reads_from_primary:
            endpoint, replica = target.node(shard, self.id)
            return self.join(target, endpoint, replica=replica)
        joined = self._reached.get(shard)
        if joined is not None:
            link = joined.link
            if link.usable and not link.full and link.endpoint is shard.primary:
                return joined
        joined = self.join(target, shard.primary)
        self._reached[shard] = joined
        return joined

    def become(self, identity: Identity, link: SharedConnection | None = None) -> None:
        super().become(identity)
        self._tries = 0
        if link is not None:
            link.leave()  # what goes to which server is found out command by command

    def _leave_link(self) -> None:
        for joined in self._links.values():
            joined.link.leave()
        self._links.clear()
        self._reached.clear()

    # Commands

    def _send_at_once(self, data: bytes) -> bytes:
        target = self.hub.router.simple
        if target is not None and not self.lanes.lanes:
            data = send_pipeline(self, target, data)
            if self._outstanding > self.hub.config.max_pipeline:
                self._pause(PIPELINE)
        return data

    def _intercept(self, treatment: Treatment, run: Task) -> Next:
        router = self.hub.router
        if not router.ready:
            self.waiting = True
            router.when_ready(self._go_on)
            return Next.WAIT
        if self._regroups and self._outstanding:
            return Next.WAIT
        self._regroups = False
        self._closely = self._promised
        if not run[1]:
            return self._too_long()
        if self._own is not None and self._own.waiting:
            return Next.WAIT
        return self._begun(treatment, run) if self._promised else Next.GO

    def _too_long(self) -> Next:
        """A part of a command, which is too long to be held until it is known where it goes."""
        if not (self._outstanding or (self._own is not None and self._own.waiting)):
            self.too_long()
        return Next.WAIT

    def _go_on(self) -> None:
        if not self.closing:
            self.resume()

    def _share(self, receiver: Receiver, treatment: Treatment, run: Task) -> None:
        target = self.hub.router.simple if treatment.keyed and not self.lanes.lanes else None
        rest = send_by_key(self, receiver, treatment, target, run) if target is not None else run[2]
        if rest:
            for command in one_by_one((run[0], run[1], rest)):
                self._share_one(receiver, treatment, command)
        if self._outstanding > self.hub.config.max_pipeline:
            self._pause(PIPELINE)

    def _share_one(self, receiver: Receiver, treatment: Treatment, command: bytes) -> None:
        turn = self._turn(receiver)
        try:
            plan = self.hub.router.plan(command)
        except UpstreamError as error:
            self.answer(turn, of_upstream_error(error))
            return
        match plan:
            case Single():
                turn.take(Sent(self, plan, treatment, turn))
                for mirror in plan.mirrors:
                    self._mirror(mirror, plan, treatment)
            case Scatter():
                Gather(self, turn, plan, treatment)
            case Answer():
                self.answer(turn, plan.data)

    def _turn(self, receiver: Receiver) -> Turn:
        turn = Turn(receiver)
        self.queue(turn)
        return turn

    def queue(self, turn: Turn) -> None:
        """Its turn is behind all others."""
        self._outstanding += turn.count
        self._order.append(turn)

    def replace(self, turn: Turn, turns: list[Turn]) -> None:
        """What had one turn has several."""
        order = self._order
        if turn in order:
            at = order.index(turn)
            order.rotate(-at)
            order.popleft()
            order.extendleft(reversed(turns))
            order.rotate(at)

    def under_way(self, place: Place, refused: Movable) -> list[Movable]:
        """The commands for a place of keys that were sent and have no reply, in order, and the one that was refused."""
        return [one for turn in list(self._order) if not turn.done for one in turn.under_way(place, refused)]

    def servers_changed(self) -> None:
        """Keys are on other servers now. What was sent to those that had them may still come back to be sent again;
        what the client sends from now on must not overtake it."""
        if self._outstanding:
            self._regroups = self._closely = self._slow = True

    def _mirror(self, mirror: Mirror, plan: Single, treatment: Treatment) -> None:
        """Send a copy; what is answered is for nobody."""
        if random.random() * 100 >= mirror.percent:
            return
        target = mirror.target
        with contextlib.suppress(UpstreamError):
            shard = target.default_shard() if plan.key is None else target.shard(plan.key)
            self.join(target, shard.primary).link.send(NOBODY, treatment, 1, plan.command)

    def share_block(self, block: list[Task]) -> bool:
        """To the server that has all its keys, if there is one."""
        treated = [(task[0].note, command) for task in block for command in one_by_one((task[0], task[1], task[2]))]
        try:
            placed = self.hub.router.plan_block(treated)
        except UpstreamError:
            placed = None
        if placed is None:
            return False
        one, sent = placed
        turns = [self._turn(self._replied_to(task)) for task in block for _ in range(task[1])]
        turns[0].take(Block(self, one, turns, sent))
        return True

    def _replied_to(self, task: Task) -> Receiver:
        silent, self.skip = self.mute or self.skip, False
        return Unheard(self, request_of(task)) if silent else self.receiver(task)

    def ask_again(self, treatment: Treatment, run: Task, before: bytes) -> None:
        plan = self.hub.router.plan(run[2])
        assert isinstance(plan, Single)  # it has been answered
        joined = self.join(plan.target, plan.shard.primary)
        joined.link.send(NOBODY, self.hub.script, 1, before)
        joined.link.send(self.receiver(run), treatment, 1, plan.command)

    # Replies

    def answer(self, turn: Turn, data: bytes) -> None:
        """The reply to a command is there, whether it is its turn or not."""
        if self._disconnects and self.fails(data):
            return
        order = self._order
        if len(order) == 1 and turn.client is self and turn.parts is None and order[0] is turn and not self._flushing:
            order.popleft()
            if turn.held is not None:
                self._release(turn)
            self.replied(data, turn.count)
            return
        turn.data = data
        turn.done = True
        if len(order) == 1:
            self.flush()
        elif not self._flush_later and self._order and self._order[0] is turn:
            self._flush_later = True
            self.hub.poller.defer(self._flush_deferred)

    def _flush_deferred(self) -> None:
        self._flush_later = False
        self.flush()

    def turn_part(self, turn: Turn, data: bytes, link: SharedConnection) -> None:
        """A part of a long reply. It waits for its turn, and if it is very long, so does the server."""
        turn.begun = True
        if self._order and self._order[0] is turn and not turn.parts:
            turn.client.part(data)
            if self.client.pauses & CLIENT_FULL:
                self.client.exceed(0, link, self.owed)
            return
        if turn.parts is None:
            turn.parts = []
        turn.parts.append(data)
        turn.size += len(data)
        if turn.size > self.hub.config.reply_buffer and turn.held is None:
            turn.held = link
            link.hold(turn)

    def flush(self) -> None:
        """Give the client the replies whose turn it is; what is its own in one piece."""
        if self._flushing:
            return
        self._flushing = True
        order, own, replies = self._order, list[bytes](), 0
        while order and order[0].done:
            turn = order.popleft()
            data = b"".join([*turn.parts, turn.data]) if turn.parts else turn.data
            self._release(turn)
            if turn.client is self:
                own.append(data)
                replies += turn.count
                continue
            if own:
                self.replied(b"".join(own), replies)
                own, replies = [], 0
            turn.client.replied(data, turn.count)
        if own:
            self.replied(b"".join(own), replies)
        self._flushing = False
        if order and (order[0].done or order[0].parts):
            self._begin_turn(order[0])

    def _begin_turn(self, turn: Turn) -> None:
        if turn.done:
            self.flush()
            return
        parts, turn.parts = turn.parts, None
        self._release(turn)
        turn.client.part(b"".join(parts or ()))

    def _release(self, turn: Turn) -> None:
        if turn.held is not None:
            turn.held.release(turn)
            turn.held = None

    # A connection of its own

    def _endpoint(self) -> tuple[Pool, Endpoint | None]:
        elsewhere, self._elsewhere = self._elsewhere, None
        plan = self.hub.router.plan(self._todo[0][2])
        if not isinstance(plan, Single):
            raise RefusedCommand(plan.data if isinstance(plan, Answer) else CROSS_SLOT)
        endpoint = plan.shard.primary
        if elsewhere is not None and elsewhere.endpoint is not None:
            endpoint = elsewhere.endpoint
            self._ask_first = elsewhere.asking
        self._own_target = plan.target
        return plan.target.pool(self.identity, endpoint), endpoint

    @property
    def subscribes_apart(self) -> bool:
        """In RESP3, subscriptions leave the client free to send commands to other servers."""
        return self.identity.protocol == 3

    def _cannot_join(self, connection: DedicatedConnection, run: Task) -> bytes:
        """Channels of ``SSUBSCRIBE`` are where keys would be that are called so."""
        try:
            plan = self.hub.router.plan(run[2])
        except UpstreamError as error:
            return of_upstream_error(error)
        if isinstance(plan, Single) and (plan.key is None or _is_for(plan, connection)):
            return b""
        return plan.data if isinstance(plan, Answer) else CROSS_SLOT

    def subscription_reply(self, asked: Asked, data: bytes, connection: DedicatedConnection) -> None:
        if (answer := self._answer_of(connection, asked, data, self.drop_subscriptions)) is not None:
            super().subscription_reply(asked, answer, connection)

    def _send_to_own(self, own: DedicatedConnection, treatment: Treatment, run: Task) -> bool:
        if self._outstanding:
            return False
        if not run[1]:
            return self._too_long() is Next.TAKEN
        if run[1] > 1:
            self._split_run()
            return True
        if treatment.ends and treatment.name == "EXEC" and self._spoilt:
            return self._abort(own, run)
        try:
            plan = self.hub.router.plan(run[2])
        except UpstreamError as error:
            plan = Answer(of_upstream_error(error))
        if isinstance(plan, Single) and plan.key is not None:
            if self._ask_first:
                own.send(self.hub.asking, ASKING, hidden=True)
            if self._ask_first or _is_for(plan, own):
                self._ask_first = False
                return send_to_own(self, own, treatment, (run[0], run[1], plan.command, *run[3:]))
            plan = Answer(CROSS_SLOT)
        if isinstance(plan, Single) or (isinstance(plan, Scatter) and plan.commands[0].key is None):
            return send_to_own(self, own, treatment, run)
        if own.waiting:
            return False
        self._spoilt |= own.multi
        self.done()
        if own.subscribed and self.identity.protocol == 2 and treatment.role not in SUBSCRIPTIONS:
            self.reply(run, not_while_subscribed(treatment.name))  # whoever has the key
        else:
            self.reply(run, plan.data if isinstance(plan, Answer) else CROSS_SLOT)
        return True

    def _abort(self, own: DedicatedConnection, run: Task) -> bool:
        """End a transaction of which a command was refused here."""
        if own.waiting:
            return False
        own.send(self.hub.discard, DISCARD, hidden=True)
        self._spoilt = False
        self.done()
        self.reply(run, ABORTED)
        return True

    def _begun(self, treatment: Treatment, run: Task) -> Next:
        """The first command of a transaction that has a key says which server it is for."""
        if self._outstanding:
            return Next.WAIT
        if run[1] > 1:
            self._split_run()
            return Next.TAKEN
        if treatment.ends and (treatment.name == "DISCARD" or not self._unplaced):
            self._end_promise()
            self.done()
            self.reply(run, b"*0\r\n" if treatment.name == "EXEC" else OK)
            return Next.TAKEN
        if treatment.role in (Role.QUIT, Role.RESET):
            self._end_promise()
            return Next.GO
        if self._may_go_anywhere(treatment, run):
            self._unplaced.append((treatment, run[2]))
            self.done()
            self.reply(run, QUEUED)
            return Next.TAKEN
        own = self.begin_own(treatment)
        if own is not None:
            own.send(self.hub.multi, MULTI, hidden=True)
            own.multi = True
            for earlier, command in self._unplaced:
                own.send(earlier, command, hidden=True)
            self._end_promise()
        return Next.TAKEN

    def _may_go_anywhere(self, treatment: Treatment, run: Task) -> bool:
        """Whether a command of a transaction has no key, and nothing wrong that the server would have to say now."""
        if treatment.ends or not (treatment.plain and run[1]) or not treatment.command.fits(run[0].argc):
            return False
        try:
            plan = self.hub.router.plan(run[2])
        except UpstreamError:
            return False
        return isinstance(plan, Single) and plan.key is None and len(self._unplaced) < MAX_UNPLACED

    def _end_promise(self) -> None:
        self._promised = False
        self._unplaced = []

    def promise(self, run: Task) -> None:
        """``MULTI``: it is sent when it is known where."""
        self._promised = self._closely = True
        self.done()
        self.reply(run, OK)

    def own_reply(self, asked: Asked, data: bytes) -> None:
        if (answer := self._answer_of(self._own, asked, data, self.drop_own)) is not None:
            super().own_reply(asked, answer)

    def _answer_of(
        self, connection: DedicatedConnection | None, asked: Asked, data: bytes, drop: Callable[[], None]
    ) -> bytes | None:
        """What the client is told where this came on a connection of its own. None: nothing, as the server has not done
        the command, and another one will; ``drop`` gives the connection back then."""
        target = self._own_target
        if data[:1] == b"-" and connection is not None and target is not None and asked.task is not None:
            advice = target.advice(data, connection.endpoint)
            if advice is not None and connection.stateful:
                data = MOVED_AWAY
            elif advice is not None and self._tries < MAX_TRIES:
                drop()
                self._elsewhere = advice
                self._take_up(asked.task, target if advice.endpoint is None else None)
                return None
        self._tries = 0
        return data

    def own_lost(self, error: bytes, missing: list[Asked]) -> None:
        """Where nothing was sent yet, another server will do, or the same one later."""
        own, target = self._own, self._own_target
        tasks = [asked.task for asked in missing if asked.task is not None]
        unsent = own is not None and not (own.ready or own.stateful or self._part_sent)
        if unsent and tasks and len(tasks) == len(missing) and self._waits(target, error, own):
            self._own = None
            self._todo.extendleft(reversed(tasks[1:]))
            self._take_up(tasks[0], target)
        else:
            super().own_lost(error, missing)

    def _refuse(self, error: bytes) -> None:
        promised = self._promised
        if self._todo[0][1] and self._waits(self._own_target, error):
            self._take_up(self._todo.popleft(), self._own_target)
            return
        super()._refuse(error)
        if promised:
            self.finish("upstream", "state_lost")

    def not_changed(self, run: Task, error: bytes, by: Endpoint | None = None) -> None:
        target = self.hub.default
        if by is not None and target.may_move and not is_refusal(error):
            target.lost(by)
        if self._waits(target, error):
            self._take_up(run, target)
        else:
            super().not_changed(run, error)

    def _waits(self, target: Target | None, error: bytes, own: DedicatedConnection | None = None) -> bool:
        """Whether something that could not be sent to a target for this reason is tried again; that ends."""
        if target is None or not target.may_move or self.closing or self._tries >= tries_for(error):
            self._tries = 0
            return False
        if own is not None and own.endpoint is not None:
            target.lost(own.endpoint)
        return True

    def _take_up(self, task: Task, target: Target | None) -> None:
        """Do it again, after a pause where ``target`` has to become another."""
        self._tries += 1
        self._todo.appendleft(task)
        self.waiting = True
        if target is None:
            self.hub.timers.call_later(0.0, self._go_on)
        else:
            target.retry_after(PAUSE * 2 ** (self._tries - 1), self._go_on)

    def closed(self, reason: CloseReason) -> None:
        super().closed(reason)
        self.hub.sessions.pop(self, None)
        for turn in self._order:
            self._release(turn)
        self._order.clear()

    handlers: ClassVar[dict[Role, Handler]] = ROUTED_HANDLERS


def _is_for(plan: Single, connection: DedicatedConnection) -> bool:
    """Whether a command goes to the server of a connection."""
    primary = plan.shard.primary
    return plan.target.name == connection.pool.name and (primary is None or primary is connection.endpoint)
