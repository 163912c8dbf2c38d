"""Commands that were sent on a connection of a client's own, and who hears what comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from l4proxy.plugins.redis.treatment import Role, Treatment

if TYPE_CHECKING:
    from l4proxy.plugins.redis.message import RedisRequest
    from l4proxy.plugins.redis.session import Task
    from l4proxy.plugins.redis.stats import Tally
    from l4proxy.stream import Stream

__all__ = ["SUBSCRIPTIONS", "Asked", "Owner", "answers_to"]

_now = time.monotonic
SUBSCRIPTIONS = frozenset((Role.SUBSCRIBE, Role.UNSUBSCRIBE))
"""Each has an answer for each channel."""


class Asked:
    """Commands that were sent and have no reply yet."""

    __slots__ = ("command", "count", "effect", "hidden", "silent", "since", "stats", "task", "total",
                 "treatment")  # fmt: skip

    def __init__(
        self,
        treatment: Treatment,
        stats: Tally,
        command: bytes,
        count: int,
        effect: Callable[[bytes], object] | None = None,
        hidden: bool = False,
        task: Task | None = None,
        silent: bool = False,
    ) -> None:
        self.treatment = treatment
        self.stats = stats
        self.command = command
        self.count = count
        """Replies that are missing; -1: as many as the connection has subscriptions of that kind."""
        self.total = 1 if treatment.role in SUBSCRIPTIONS else count
        """Commands."""
        self.effect = effect
        """Called with the reply, unless that is an error, before the client gets it."""
        self.hidden = hidden
        """The client has not asked for it, and does not get the reply."""
        self.silent = silent
        """The client has asked for it, and wants no reply."""
        self.task = task
        """What it was in the session; None, where the client has not asked for it."""
        self.since = _now()

    @property
    def request(self) -> RedisRequest | None:
        """What message filters know it as."""
        return self.task[3] if self.task is not None and len(self.task) == 4 else None

    @property
    def missing(self) -> int:
        """Commands without a reply."""
        return min(self.total, self.count) if self.count > 0 else 1


class Owner(Protocol):
    """The client who has the connection."""

    def own_reply(self, asked: Asked, data: bytes) -> None:
        """A reply, or the end of one of which ``own_part`` has had the beginning. There are more to come while
        ``asked.count`` is above 0."""

    def own_part(self, asked: Asked | None, data: bytes) -> None:
        """A part of a reply, or of what is unasked, that goes on."""

    def own_unasked(self, data: bytes) -> None:
        """A message, a push, or a line of ``MONITOR``."""

    def move(self, stream: Stream, size: int) -> bool:
        """Let the kernel move the next ``size`` bytes of that reply to the client. False: they have to be read."""

    def own_writable(self, writable: bool) -> None:
        """The server does not read for now, or does again."""

    def own_settled(self) -> None:
        """All replies are there."""

    def own_lost(self, error: bytes, missing: list[Asked]) -> None:
        """The connection is gone, and with it these replies."""


def answers_to(treatment: Treatment, argc: int) -> int:
    """How many answers a subscription has, or an end of some; -1: as many as there are of that kind."""
    return argc - 1 or (1 if treatment.role is Role.SUBSCRIBE else -1)
