"""What is known of one Redis, or of several that serve together: shared by all observers that have the same name."""

from __future__ import annotations

from collections import deque
from math import ceil
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from l4proxy.plugins.redis_watch.asked import Asked, Plan
from l4proxy.plugins.redis_watch.sketch import BigKey, BigKeys, HotKeys, Tally
from l4proxy.plugins.redis_watch.stats import (
    PREFIXES,
    CommandStats,
    EndpointStats,
    PrefixStats,
    RedisWatchStats,
    WatchedClientStats,
)
from l4proxy.plugins.shared_view import SharedView
from l4proxy.protocols.bounded import remember
from l4proxy.protocols.redis.commands import CommandTable, Head
from l4proxy.protocols.redis.openings import opening_of, shape_of
from l4proxy.protocols.redis.request import whole_run
from l4proxy.stats import OTHER
from l4proxy.stats_registry import StatsRegistry

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.config import RedisWatchConfig
    from l4proxy.plugins.redis_watch.conversation import RedisConversation
    from l4proxy.protocols.redis.patterns import Shape

__all__ = ["Client", "SlowCommand", "View", "view_of"]

MAX_ENDPOINTS = 1000
"""Servers that a table shows."""
MAX_OPENINGS = 4096
"""Openings that are remembered; when there are more, all are found out again."""
MAX_CLIENTS = 10_000
"""Clients that are told apart at a time; the others are one."""
LONGEST_KEY = 128
"""Bytes of a key that are looked at."""
SHOWN_COMMAND = 128
"""Characters of a slow command that are kept."""


class Client:
    """Connections of one name, or address."""

    __slots__ = ("connections", "host", "name", "seen", "stats")

    def __init__(self, name: str, stats: WatchedClientStats) -> None:
        self.name = name
        self.stats = stats
        self.connections = 0
        self.seen = 0.0
        self.host = ""


class SlowCommand(NamedTuple):
    number: int
    at: float
    seconds: float
    client: str
    address: str
    command: str


class View(SharedView):
    """Everything that is known, and counted, under one name."""

    conversations: set[RedisConversation]

    def __init__(self, registry: StatsRegistry, config: RedisWatchConfig) -> None:
        super().__init__(registry)
        name = config.name
        self.name = name
        self.stats = registry.group(RedisWatchStats, name=name)
        self.table = CommandTable()
        self.openings: dict[bytes, tuple[Plan, int]] = {}
        """Of plain commands that were seen: what they are, and what `openings` says."""
        self.shapes: dict[tuple[bytes, int], tuple[Plan, int, Shape]] = {}
        """The same of several in one chunk, by their opening and how many bytes they are: what they are, how many, and
        whether other bytes are so, too."""
        self.plans: dict[str, Plan] = {}
        self.endpoints: dict[str, EndpointStats] = {}
        self.clients: dict[str, Client] = {}
        self.prefixes: dict[bytes, PrefixStats] = {}
        self._other_prefixes: PrefixStats | None = None
        self._slow_commands = 0
        self.change(config)

    def change(self, config: RedisWatchConfig) -> None:
        """Begin to look at keys anew, by these options."""
        self.config = config
        self.slow_seconds = config.slow_log or float("inf")
        self.prefix_end = config.prefix_end.encode()
        self.until_look: float = 0 if config.hot_keys else float("inf")
        """Commands with keys that need not be looked at. The hot path counts it down; below 0, one is."""
        self._stride, self._looks, self._pace_since = 1, 0, 0.0
        self._most_looks: float = config.keys_per_second or float("inf")
        self._chance = Random().random
        self.hot, self.hot_before = HotKeys(config.hot_keys), HotKeys(0)
        self.hot_since = self.hot_before_since = self.hot_until = 0.0
        self.big = BigKeys(config.big_keys, config.big_from)
        self.big_floor = self.big.floor
        self.slow: deque[SlowCommand] = deque(maxlen=config.slow_log_length)

    def plan(self, head: Head) -> Plan:
        """What is done with commands that begin so. It is the head's ``note`` from now on."""
        name = head.name if head.command.name else "(unknown)"
        plan = self.plans.get(name)
        if plan is None:
            stats = self.registry.group(CommandStats, name=self.name, command=name)
            plan = self.plans[name] = Plan(name, head.command, stats)
        head.note = plan
        return plan

    def plain(self, data: bytes) -> tuple[Plan, int] | tuple[None, int]:
        """What a chunk is, and how many, if it is one plain command or several that are alike."""
        run = whole_run(self.table.heads, data)
        plan: Plan | None = run[0].note if run is not None else None
        if run is None or plan is None or plan.role:
            return None, 0
        head, count = run
        if count == 1 and (opening := opening_of(head, data)) is not None:
            remember(self.openings, opening[0], (plan, opening[1]), MAX_OPENINGS)
        elif count > 1 and (shape := shape_of(head, data, count)) is not None:
            remember(self.shapes, (shape[0], len(data)), (plan, count, shape[1]), MAX_OPENINGS)
        return plan, count

    def endpoint(self, address: str) -> EndpointStats:
        stats = self.endpoints.get(address)
        if stats is None:
            stats = self.registry.group(EndpointStats, name=self.name, endpoint=address)
            if len(self.endpoints) < MAX_ENDPOINTS:
                self.endpoints[address] = stats
        return stats

    # Keys

    def used(self, keys: list[bytes], plan: Plan, size: int, reply_size: int, at: float) -> None:
        """A command about these keys was answered, and is one that is looked at: because it is its turn, and it stands
        for several, or because it is big, as all such are. How the bytes of one with several keys are shared among
        these is not known."""
        big = size > self.big_floor or reply_size > self.big_floor
        if big and len(keys) == 1:
            self.big.offer(keys[0][:LONGEST_KEY], BigKey(max(size, reply_size), plan.name, at))
            self.big_floor = self.big.floor
        times = self._times(at) if self.until_look < 0 else 0
        of_bytes = 1 if big else times
        if len(keys) > 1 or not self.config.hot_keys:
            of_bytes = 0
        if times or of_bytes:
            for key in keys:
                self._count(key[:LONGEST_KEY], times, size * of_bytes, reply_size * of_bytes)

    def _times(self, at: float) -> int:
        """It is the turn of a command to be looked at: for how many does it stand?"""
        if at >= self.hot_until:
            self.turn(at)
        if self._looks >= self._most_looks or at >= self._pace_since + 1.0:
            self._set_pace(at)
        stride, times = self._stride, 0
        while self.until_look < 0:
            self._looks += 1
            times += stride
            self.until_look += 1 + int(self._chance() * (2 * stride - 1))
        return times

    def _count(self, key: bytes, times: int, size: int, reply_size: int) -> None:
        """``times`` are uses; the bytes are those of all of them."""
        if times:
            self._count_uses(key, times)
        if self.prefix_end:
            begin, end, _ = key.partition(self.prefix_end)
            prefix = self.prefixes.get(begin if end else b"") or self._new_prefix(begin if end else b"")
            prefix.keys_total += times
            prefix.request_bytes_total += size
            prefix.reply_bytes_total += reply_size

    def _count_uses(self, key: bytes, times: int) -> None:
        hot = self.hot
        hot.uses += times
        tally = hot.tallies.get(key)
        if tally is not None:
            tally.count += times
        else:
            hot.add(key, times)

    @property
    def looks_at_all(self) -> bool:
        """Whether there are so few commands that all are looked at."""
        return self._stride == 1 and self.config.hot_keys > 0

    def _set_pace(self, at: float) -> None:
        """Once a second, and when so many were looked at before: look at so many commands that it stays within
        ``keys_per_second``, and count each for several then."""
        elapsed = max(at - self._pace_since, 0.001)
        seen = self._looks * self._stride / elapsed
        self._stride = max(1, ceil(seen / self._most_looks)) if elapsed < 2.0 else 1
        self._looks, self._pace_since = 0, at

    def _new_prefix(self, begin: bytes) -> PrefixStats:
        """One that is not known. There are as many as have metrics of their own; the others are one."""
        if self._other_prefixes is not None and len(self.prefixes) >= PREFIXES:
            return self._other_prefixes
        shown = begin.decode(errors="backslashreplace") or "(none)"
        stats = self.registry.group(PrefixStats, name=self.name, prefix=shown)
        if stats.label_values == (OTHER, OTHER):
            self._other_prefixes = stats
        else:
            self.prefixes[begin] = stats
        return stats

    def prefix_stats(self) -> list[PrefixStats]:
        """Of all prefixes, those without metrics of their own together."""
        return [*self.prefixes.values(), *([self._other_prefixes] if self._other_prefixes is not None else [])]

    def turn(self, at: float) -> None:
        """Begin a new window: ``hot_until`` has come."""
        window = self.config.hot_window
        if self.hot_until and at < self.hot_until + window:
            self.hot_before, self.hot_before_since = self.hot, self.hot_since
        else:
            self.hot_before = HotKeys(0)
        self.hot = HotKeys(self.config.hot_keys)
        self.hot_since, self.hot_until = at, at + window

    def hottest(self) -> dict[bytes, Tally]:
        """The keys of this window and the one before."""
        found = {key: Tally(one.count, one.unsure) for key, one in self.hot_before.tallies.items()}
        for key, one in self.hot.tallies.items():
            before = found.setdefault(key, Tally(0, 0))
            before.count += one.count
            before.unsure += one.unsure
        return found

    @property
    def hot_uses(self) -> int:
        """Of all keys in that time."""
        return self.hot.uses + self.hot_before.uses

    @property
    def hot_seconds(self) -> float:
        """The time that ``hottest`` is about."""
        since = self.hot_before_since if self.hot_before.tallies else self.hot_since
        return max(self.now - since, 1.0)

    # Clients

    def enter(self, name: str, host: str, at: float) -> Client:
        """A connection goes by this name from now on."""
        client = self.clients.get(name) or self._new_client(name)
        client.connections += 1
        client.seen = at
        client.host = host
        return client

    def _new_client(self, name: str) -> Client:
        """There are as many as have metrics of their own; the others are one."""
        if len(self.clients) >= MAX_CLIENTS:
            name = OTHER
        stats = self.registry.group(WatchedClientStats, name=self.name, client=name)
        if stats.label_values == (OTHER, OTHER):
            name = OTHER
        client = self.clients.get(name)
        if client is None:
            client = self.clients[name] = Client(name, stats)
        return client

    def leave(self, client: Client, at: float) -> None:
        """A connection is over, or goes by another name. Who has asked nothing by this one was never there."""
        client.connections -= 1
        client.seen = at
        if not (client.connections or client.stats.commands_total):
            self._forget(client)

    def _forget(self, client: Client) -> None:
        if self.clients.pop(client.name, None) is not None:
            self.registry.discard(client.stats)

    # Slow commands

    def was_slow(self, asked: Asked, client: str, address: str, seconds: float) -> None:
        self._slow_commands += 1
        text = asked.text()
        text = text if len(text) <= SHOWN_COMMAND else text[: SHOWN_COMMAND - 1] + "…"
        self.slow.append(SlowCommand(self._slow_commands, asked.at, seconds, client, address, text))

    # What is not counted as it happens

    def fold(self) -> None:
        for conversation in self.conversations:
            conversation.fold()

    def collect(self) -> None:
        at = self.moment()
        self.fold()
        self.stats.in_flight = sum(conversation.in_flight for conversation in self.conversations)
        self.stats.subscribers = sum(conversation.is_subscriber for conversation in self.conversations)
        self.stats.connections_resp3 = sum(one.state.protocol == 3 for one in self.conversations)
        self.stats.connections_resp2 = len(self.conversations) - self.stats.connections_resp3
        forget_after = self.config.forget_after
        for client in list(self.clients.values()):
            if not client.connections and forget_after and at - client.seen > forget_after:
                self._forget(client)


def view_of(registry: StatsRegistry, config: RedisWatchConfig) -> View:
    """The view that all observers of this name share."""
    view = registry.shared((View, config.name), lambda: View(registry, config))
    if view.config != config:
        view.change(config)
    return view
