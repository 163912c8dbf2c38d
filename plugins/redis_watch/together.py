"""The hot path of the ``redis`` filter: what has passed many connections in one loop turn, looked at in one loop.

Most chunks are one plain command, or the short reply to it, or a pipeline of commands of one shape with replies that
are all of one length. What those are is told by a few comparisons, and all that there is to do is to count. So that is
done right here, without a call for each. A conversation says for which of its sides that will do (``steady`` and
``quick``); all else is for itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from l4proxy.filter import Side
from l4proxy.protocols.redis.openings import LAST_BULKS, LENGTH_OF_NAME, LF, TO_OPENING
from l4proxy.protocols.redis.patterns import COMMON_REPLIES, SINGLE, WHOLE_BULKS, replies_alike
from l4proxy.stats import SECONDS

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.asked import Plan
    from l4proxy.plugins.redis_watch.conversation import RedisConversation
    from l4proxy.plugins.redis_watch.view import View

__all__ = ["Seer", "look_at_all"]

UNKNOWN: tuple[Plan | None, int] = (None, SINGLE)
"""Stands for what is known of an opening that is not: behind the end of what is looked up."""


class Seer(Protocol):
    """Whom a chunk has passed."""

    conversation: RedisConversation

    def look(self, side: Side, data: bytes, at: float) -> None:
        """At what is not usual. It raises nothing."""


def look_at_all(passed: Iterable[tuple[Seer, Side, bytes, float]], view: View) -> None:
    """In the order in which they have passed. Nobody may want to know of every single command (``on_exchange``)."""
    client, openings, shapes = Side.CLIENT, view.openings, view.shapes
    slow, big, until_look = float(view.slow_seconds), view.big_floor, view.until_look
    for seer, side, data, at in passed:
        talk = seer.conversation
        waiting = talk.waiting
        size = len(data)
        if side is client:
            if talk.steady and LENGTH_OF_NAME < size < SINGLE and len(waiting) < talk.room:
                opening = data[: data[LENGTH_OF_NAME] + TO_OPENING]
                plan, last = openings.get(opening, UNKNOWN)
                if data.startswith(LAST_BULKS[size - last], last) and data[-1] == LF:
                    stats = plan.stats  # type: ignore[union-attr]  # nothing fits what is unknown
                    stats.commands_total += 1
                    stats.request_bytes_total += size
                    waiting.append((plan, 1, at, data, size))  # type: ignore[arg-type]
                    continue
                shape = shapes.get((opening, size))
                if shape is not None and shape[2](data) and not view.looks_at_all:
                    plan, count, _ = shape
                    stats = plan.stats
                    stats.commands_total += count
                    stats.request_bytes_total += size
                    waiting.append((plan, count, at, data, size))
                    continue
        elif talk.quick and waiting:
            plan, count, since, _, asked_size = entry = waiting.popleft()
            took = all_took = at - since
            if count > 1:
                plain, all_took = replies_alike(data, count), took * count
            elif size < SINGLE and data.startswith(WHOLE_BULKS[size]):
                plain = data[-1] == LF
            else:
                plain = data in COMMON_REPLIES
            if plain and took < slow:
                bucket = bisect_left(SECONDS, took)
                stats = plan.stats
                stats.reply_bytes_total += size
                seconds = stats.seconds
                seconds.counts[bucket] += count
                seconds.sum += all_took
                seconds = talk.endpoint.seconds  # type: ignore[union-attr]  # it has spoken
                seconds.counts[bucket] += count
                seconds.sum += all_took
                talk.commands += count
                talk.request_bytes += asked_size
                talk.reply_bytes += size
                if plan.takes_keys:
                    until_look -= count
                    if until_look < 0 or size + asked_size > big:  # it may be
                        view.until_look = until_look
                        talk.look(entry, size, at)
                        until_look = view.until_look
                continue
            waiting.appendleft(entry)
        view.until_look = until_look
        seer.look(side, data, at)
        until_look = view.until_look
    view.until_look = until_look
    view.now = at
