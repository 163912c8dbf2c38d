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
    openings, shapes, slow, client = view.openings, view.shapes, view.slow_seconds, Side.CLIENT
    for seer, side, data, at in passed:
        talk, size = seer.conversation, len(data)
        waiting = talk.waiting
        if side is client:
            if talk.steady and LENGTH_OF_NAME < size < SINGLE and len(waiting) < talk.room:
                opening, count = data[: data[LENGTH_OF_NAME] + TO_OPENING], 1
                plan, last = openings.get(opening, UNKNOWN)
                if not data.startswith(LAST_BULKS[size - last], last) or data[-1] != LF:
                    shape = shapes.get((opening, size))
                    plan, count = shape[:2] if shape is not None and shape[2](data) else (None, 0)
                if plan is not None and (count == 1 or not view.looks_at_all):
                    stats = plan.stats
                    stats.commands_total += count
                    stats.request_bytes_total += size
                    waiting.append((plan, count, at, data, size))
                    continue
        elif talk.quick and waiting:
            plan, count, since, _, asked_size = entry = waiting[0]
            took = at - since
            if count == 1:
                plain = (
                    size < SINGLE and data.startswith(WHOLE_BULKS[size]) and data[-1] == LF
                ) or data in COMMON_REPLIES
            else:
                plain = replies_alike(data, count)
            if plain and 0.0 <= took < slow:
                waiting.popleft()
                bucket, all_took = bisect_left(SECONDS, took), took * count
                stats = plan.stats
                stats.reply_bytes_total += size
                seconds = stats.seconds
                seconds.counts[bucket] += count
                seconds.sum += all_took
                seconds = talk.endpoint.seconds  # type: ignore[union-attr]  # it has spoken
                seconds.counts[bucket] += count
                seconds.sum += all_took
                talk.now = at
                talk.commands += count
                talk.request_bytes += asked_size
                talk.reply_bytes += size
                if plan.takes_keys:
                    view.until_look -= count
                    if view.until_look < 0 or size > view.big_floor or asked_size > view.big_floor:
                        talk.look(entry, size, at)
                continue
        seer.look(side, data, at)
