"""Commands of one client that servers have refused, because their keys are elsewhere or for now, and those behind them.

Without such, all commands for a key go over one connection, in order. When a server refuses one, those that were sent
behind it cannot be called back: it may refuse them, too, or do them. So what was refused waits until the replies to all
of these are there. Where one of them has written the same key in the meantime, it is not sent again, for it would be
done in the wrong order: its client is told what the server has said. All else is sent again, together, in order.

So there is a *lane* for each such place of keys. What the client sends for that place later waits until everything in
the lane is settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias

from l4proxy.plugins.redis.receivers import Nobody, Receiver

if TYPE_CHECKING:
    from l4proxy.plugins.redis.by_key import Keyed
    from l4proxy.plugins.redis.routed import RoutedSession
    from l4proxy.plugins.redis.router import Single
    from l4proxy.plugins.redis.sent import Joined, Sent, Turn
    from l4proxy.plugins.redis.target import Advice, Target

__all__ = ["PAUSE", "Lanes", "Movable", "Place"]

PAUSE = 0.1
"""Seconds until a command is sent again that a server could not do just now, the first time; then twice that, and so
on."""

Place: TypeAlias = "tuple[Target, Hashable]"


class Movable(Receiver):
    """A command, or a whole transaction, that is sent again when a server refuses it."""

    __slots__ = ("advice", "joined", "session", "single", "tries", "turn")

    def __init__(self, session: RoutedSession, single: Single, turn: Turn, joined: Joined | None = None) -> None:
        self.session = session
        self.single = single
        self.turn = turn
        self.joined = joined
        """Where it is under way."""
        self.tries = 0
        self.advice: Advice | None = None
        """What the server advised that has refused it last."""

    @property
    def place(self) -> Place | None:
        """Where its keys are; None: its order among others does not matter, because it has none, or reads what may lag
        behind anyway. Raises UpstreamError."""
        target, key = self.single.target, self.single.key
        if key is None or (self.reads and not target.reads_from_primary):
            return None
        return target, target.place(key)

    @property
    def reads(self) -> bool:
        """It changes nothing."""
        return self.single.reads

    @property
    def keys(self) -> set[bytes]:
        return self.session.hub.router.keys(self.single.command)

    def send_advised(self) -> None:
        """To the server that another one has named."""
        raise NotImplementedError

    def send_again(self) -> None:
        """To whoever has its keys by now."""
        raise NotImplementedError

    def give_up(self) -> None:
        """It is not sent again: answer it with what the server has said."""
        raise NotImplementedError

    def overtaken_by(self, later: Movable) -> bool:
        """Whether it must not be done any more, as one that was sent behind it has been. A read is answered already,
        with what there was without it."""
        return not later.reads and not self.keys.isdisjoint(later.keys)


class Lane:
    __slots__ = ("fences", "new", "refused", "under_way")

    def __init__(self) -> None:
        self.under_way: dict[Movable, bool] = {}
        """Those that were sent, in order, and whether they were refused."""
        self.fences = 0
        """Connections on which not all of them have been answered."""
        self.refused: list[Movable] = []
        """What will be sent again after a pause."""
        self.new: deque[Movable] = deque()
        """What waits for all of these."""


class Lanes:
    """Those of one client."""

    def __init__(self, session: RoutedSession) -> None:
        self.lanes: dict[Place, Lane] = {}
        self.alike: dict[Keyed, Sent] = {}
        """Commands of the fast path that are under way in a lane, and what they are if they are refused."""
        self._session = session

    def holds(self, movable: Movable) -> bool:
        """Whether a command that is about to be sent has to wait, and then it does. Raises UpstreamError."""
        if not self.lanes or (place := movable.place) is None:
            return False
        lane = self.lanes.get(place)
        if lane is None or movable in lane.under_way:
            return False
        lane.new.append(movable)
        return True

    def refused(self, movable: Movable) -> None:
        """A command was refused, or could not be sent; it is sent again when that can be done."""
        place = movable.place
        if place is None:
            self._send(movable)
            return
        lane = self.lanes.get(place)
        if lane is None:
            lane = self.lanes[place] = Lane()
            lane.under_way = dict.fromkeys(self._session.under_way(place, movable), False)
            lane.under_way[movable] = True
            self._look_behind(place, lane)
        elif movable in lane.under_way:
            lane.under_way[movable] = True
        else:
            lane.new.append(movable)

    def _send(self, movable: Movable) -> None:
        """It has no key, and so no order."""
        assert movable.advice is not None
        if movable.advice.endpoint is not None:
            movable.send_advised()
        else:
            movable.single.target.retry_after(PAUSE * 2 ** (movable.tries - 1), movable.send_again)

    def _look_behind(self, place: Place, lane: Lane) -> None:
        """Settle a lane when there is a reply to all that was sent."""
        links = {one.joined.link for one in lane.under_way if one.joined is not None}
        lane.fences = len(links) + 1
        fence = _Fence(self, place)
        for link in links:
            link.answer(fence, 1, b"")
        fence.replied(b"", 1)

    def passed(self, place: Place) -> None:
        """There is a reply to all that was sent over a connection, but those that it is about to tell."""
        lane = self.lanes[place]
        lane.fences -= 1
        if not lane.fences:
            self._session.hub.poller.defer(partial(self._settle, place))

    def _settle(self, place: Place) -> None:
        """It is known of all that is under way in a lane whether it was refused."""
        lane = self.lanes[place]
        under_way, lane.under_way = lane.under_way, {}
        self.alike = {keyed: sent for keyed, sent in self.alike.items() if sent not in under_way}
        again: list[Movable] = []
        for movable, refused in under_way.items():
            if refused:
                again.append(movable)
                continue
            overtaken = [one for one in again if one.overtaken_by(movable)]
            again = [one for one in again if one not in overtaken]
            for one in overtaken:
                one.give_up()
        if self._session.closing:
            for one in again:
                one.give_up()
            del self.lanes[place]
        elif again:
            self._again(place, lane, again)
        else:
            del self.lanes[place]
            for one in lane.new:
                one.send_again()

    def _again(self, place: Place, lane: Lane, movables: list[Movable]) -> None:
        advice = movables[0].advice
        assert advice is not None
        if advice.endpoint is None:
            lane.refused = movables
            pause = PAUSE * 2 ** (movables[0].tries - 1)
            place[0].retry_after(pause, partial(self._after_pause, place, lane))
            return
        endpoint = advice.endpoint
        together = list(takewhile(lambda one: one.advice is not None and one.advice.endpoint is endpoint, movables))
        lane.new.extendleft(reversed(movables[len(together) :]))
        self._send_together(place, lane, together, advised=True)

    def _after_pause(self, place: Place, lane: Lane) -> None:
        movables, lane.refused = lane.refused, []
        if self._session.closing:
            del self.lanes[place]
            return
        self._send_together(place, lane, movables, advised=False)

    def _send_together(self, place: Place, lane: Lane, movables: list[Movable], *, advised: bool) -> None:
        lane.under_way = dict.fromkeys(movables, False)
        for one in movables:
            if advised:
                one.send_advised()
            else:
                one.send_again()
        self._look_behind(place, lane)


class _Fence(Nobody):
    """Stands in a connection's queue behind all that was sent before."""

    __slots__ = ("_lanes", "_place")

    def __init__(self, lanes: Lanes, place: Place) -> None:
        self._lanes = lanes
        self._place = place

    def replied(self, data: bytes, count: int) -> None:
        self._lanes.passed(self._place)

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self.replied(error, count)
