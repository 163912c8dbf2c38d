"""Chunks of many connections, looked at together: the hot path of the ``redis`` filter.

What passes is not looked at there and then, between two system calls, but when the loop has called everybody who had
something to read: that costs less, probably because the processor's caches still have what Python needs. And as most
chunks are one plain command, or the one short reply to it, these are dealt with right here, without a call for each. A
conversation says for which of its sides that will do (``steady``, ``quick``); all else is for itself.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol, TypeAlias

from l4proxy.protocols.redis.patterns import COMMON_REPLIES, SINGLE, WHOLE_BULKS
from l4proxy.protocols.redis.request import whole_command
from l4proxy.stats import SECONDS

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.asked import Plan
    from l4proxy.plugins.redis_watch.conversation import RedisConversation
    from l4proxy.plugins.redis_watch.view import View

__all__ = ["Chunk", "Seer", "look_at_all"]


class Seer(Protocol):
    """Who has seen a chunk pass."""

    conversation: RedisConversation

    def look(self, from_client: bool, data: bytes, at: float) -> None:
        """At what is not usual. What it raises goes to ``failed``."""

    def failed(self, error: Exception) -> None:
        """Nothing more is understood."""


Chunk: TypeAlias = "tuple[Seer, bool, bytes, float]"
"""Who has seen it; whether it is the client's; and the time."""


def look_at_all(chunks: list[Chunk], view: View, *, quickly: bool = True) -> None:
    """In the order in which they came. Not ``quickly``: somebody wants to know more of each command."""
    heads = view.table.heads
    slow = view.slow_seconds if quickly else 0.0
    for seer, from_client, data, at in chunks:
        try:
            talk, size = seer.conversation, len(data)
            if from_client:
                if talk.steady and size < SINGLE and (head := whole_command(heads, data)) is not None:
                    plan: Plan | None = head.note
                    waiting = talk.waiting
                    if plan is not None and not plan.role and len(waiting) < talk.room:
                        stats = plan.stats
                        stats.commands_total += 1
                        stats.request_bytes_total += size
                        waiting.append((plan, 1, at, data, size))
                        continue
            elif talk.quick and (waiting := talk.waiting):
                entry = waiting[0]
                plan, count, since, _, asked_size = entry
                took = at - since
                if (
                    count == 1
                    and size < SINGLE
                    and ((data.startswith(WHOLE_BULKS[size]) and data.endswith(b"\r\n")) or data in COMMON_REPLIES)
                    and 0.0 <= took < slow
                ):
                    waiting.popleft()
                    stats = plan.stats
                    bucket = bisect_left(SECONDS, took)
                    seconds = stats.seconds
                    seconds.counts[bucket] += 1
                    seconds.sum += took
                    stats.reply_bytes_total += size
                    talk.buckets[bucket] += 1
                    talk.seconds += took
                    talk.commands += 1
                    talk.request_bytes += asked_size
                    talk.reply_bytes += size
                    talk.now = at
                    if plan.takes_keys:
                        view.until_look -= 1
                        if view.until_look < 0 or size > view.big_floor or asked_size > view.big_floor:
                            talk.look(entry, size, at)
                    continue
            seer.look(from_client, data, at)
        except Exception as error:
            seer.failed(error)
