"""Commands of one client that servers have sent elsewhere, or that have to be sent again later, and those behind them.

Without such, all commands for a key go over one connection, in order. When the first of several is sent elsewhere, the
others must not overtake it. So there is a *lane* for each such place of keys: what goes to the same server as those
already under way follows them at once; whatever else is for that place waits until they have arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.sent import Sent
    from l4proxy.plugins.redis.target import Target

__all__ = ["Lane", "Lanes"]

Place: TypeAlias = "tuple[Target, Hashable]"


class Lane:
    __slots__ = ("endpoint", "flying", "place", "waiting")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.endpoint: Endpoint | None = None
        """Where those under way are sent; None: they will be sent again after a pause."""
        self.flying = 0
        self.waiting: deque[Sent] = deque()


class Lanes:
    """Those of one client."""

    def __init__(self) -> None:
        self.lanes: dict[Place, Lane] = {}

    def holds(self, sent: Sent) -> bool:
        """Whether a command that is about to be sent has to wait, and then it does."""
        if sent.lane is not None or not sent.single.key:
            return False
        lane = self.lanes.get(_place(sent))
        if lane is None:
            return False
        lane.waiting.append(sent)
        return True

    def enter(self, sent: Sent, endpoint: Endpoint | None) -> bool:
        """A command is sent to ``endpoint`` instead, or later. False: it has to wait for others, and will be sent."""
        if not sent.single.key:
            return True
        lane = sent.lane
        if lane is None:
            place = _place(sent)
            lane = self.lanes.get(place)
            if lane is None:
                lane = self.lanes[place] = Lane(place)
            elif lane.waiting or endpoint is None or lane.endpoint is not endpoint:
                lane.waiting.append(sent)
                return False
            lane.flying += 1
            sent.lane = lane
        lane.endpoint = endpoint
        return True

    def leave(self, sent: Sent) -> None:
        """Its reply is there. What has waited is sent when all are."""
        lane, sent.lane = sent.lane, None
        if lane is None:
            return
        lane.flying -= 1
        if not lane.flying:
            del self.lanes[lane.place]
            for waiting in lane.waiting:
                waiting.send_again()


def _place(sent: Sent) -> Place:
    target = sent.single.target
    return target, target.place(sent.single.key)
