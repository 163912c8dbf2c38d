"""Which servers a command is for: by its keys, by what the server says of it, or by nothing.

A plan is made for each command: one server; several, whose replies become one; or an answer right away, where it cannot
be done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from l4proxy.plugins.redis.replies import CROSS_SLOT, NO_ROUTE, error_reply
from l4proxy.plugins.redis.target import Shard, Target
from l4proxy.protocols.redis.keys import find_keys
from l4proxy.protocols.redis.merge import (
    SPLIT_STEP,
    compose_cursor,
    gather_values,
    merge,
    merge_info,
    split,
    split_cursor,
)
from l4proxy.protocols.redis.request import arguments, encode_command
from l4proxy.protocols.redis.values import Failure, Value

if TYPE_CHECKING:
    from l4proxy.plugins.redis.treatment import Treatment
    from l4proxy.protocols.redis.commands import Command, CommandTable

__all__ = ["Answer", "Mirror", "Plan", "Route", "Router", "Scatter", "Single"]


class Single(NamedTuple):
    """A command for one shard."""

    target: Target
    shard: Shard
    command: bytes
    key: bytes | None = None
    """Its first key; None: it has none."""
    reads: bool = False
    """It only reads, so that a replica may answer."""
    mirrors: tuple[Mirror, ...] = ()
    """Who is to get a copy."""


class Scatter(NamedTuple):
    """Commands for several shards, and how their replies become one."""

    commands: list[Single]
    merge: Callable[[list[Value]], Value]
    replicas: bool = False
    """Also for the replicas of these shards."""


class Answer(NamedTuple):
    """What the proxy itself says."""

    data: bytes


Plan: TypeAlias = Single | Scatter | Answer


class Mirror(NamedTuple):
    """Another cluster that gets copies of commands that write."""

    target: Target
    percent: float


class Route(NamedTuple):
    """Where the keys that begin with ``prefix`` are."""

    prefix: bytes
    target: Target
    instead: bytes | None = None
    """What the prefix is replaced by; None: it stays."""
    reads: Target | None = None
    """Where commands go that only read."""
    mirrors: tuple[Mirror, ...] = ()

    @property
    def is_plain(self) -> bool:
        """It does not matter which command it is."""
        return not (self.target.routed or self.mirrors or self.reads)

    def key(self, key: bytes) -> bytes:
        """What the servers know a key as."""
        return key if self.instead is None else self.instead + key[len(self.prefix) :]


_ONE_WILL_DO = frozenset(("CLIENT|SETINFO", "PING", "WAIT"))
"""What is for all shards by the server's word, and is not worth it."""


_DEBUG_OF_A_KEY = frozenset((b"HTSTATS-KEY", b"LISTPACK", b"OBJECT", b"SDSLEN", b"ZIPLIST"))
"""What ``DEBUG`` tells of a key; the server's table knows of none."""


class Router:
    """Of one use of the filter."""

    def __init__(self, table: CommandTable, routes: Sequence[Route]) -> None:
        """``routes``: the last resort has an empty prefix."""
        self._table = table
        self._routes = sorted(routes, key=lambda route: len(route.prefix), reverse=True)
        self.first = self._routes[0]
        self.only = self.first if len(routes) == 1 and not self.first.prefix and self.first.instead is None else None
        """The only route, where it changes nothing."""
        self.simple = self.only.target if self.only is not None and not (self.only.mirrors or self.only.reads) else None
        """The only cluster, where it depends on the key alone which server a command goes to."""
        self.targets = list(dict.fromkeys(route.target for route in routes))
        """Whose keys these are; others read or get copies of them."""
        self._needed = list(dict.fromkeys((*self.targets, *(route.reads for route in routes if route.reads))))
        mirrors = (mirror.target for route in routes for mirror in route.mirrors)
        self.all_targets = list(dict.fromkeys((*self._needed, *mirrors)))

    @property
    def default(self) -> Route | None:
        """Where what has no key goes: the last resort, or the only route that there is."""
        last = self._routes[-1]
        return last if not last.prefix or len(self._routes) == 1 else None

    def route(self, key: bytes) -> Route | None:
        """The route with the longest prefix."""
        return self.only or next((route for route in self._routes if key.startswith(route.prefix)), None)

    def plan(self, command: bytes) -> Plan:
        """Raises UpstreamError where nobody serves its keys."""
        words = arguments(command)
        known = self._table.of(words)
        positions = [at for at, _ in find_keys(known.name, known.key_specs, words)]
        if known.name == "DEBUG" and len(words) > 2 and words[1].upper() in _DEBUG_OF_A_KEY:
            positions = [2]
        if positions:
            return self._by_keys(known, words, positions, command)
        if not known.name and not self._passes_unknown():
            return Answer(_unknown(words[0]))
        return self._without_keys(known, words, command)

    def _passes_unknown(self) -> bool:
        """Whether a command of which nothing is known can be sent anywhere: servers say where it belongs."""
        return self.default is not None and self.default.target.redirects

    def _by_keys(self, known: Command, words: list[bytes], positions: list[int], command: bytes) -> Plan:
        places: list[tuple[Target, Hashable]] = []
        route: Route | None = None
        changed = False
        for at in positions:
            route = self.route(words[at])
            if route is None:
                return Answer(NO_ROUTE)
            target = route.reads if route.reads is not None and known.is_readonly else route.target
            if route.instead is not None:
                words[at] = route.key(words[at])
                changed = True
            places.append((target, target.place(words[at])))
        assert route is not None
        reads, mirrors = known.is_readonly, route.mirrors if known.is_write else ()
        target, _ = places[0]
        if len(places) == 1 or len(set(places)) == 1:
            key = words[positions[0]]
            sent = encode_command(*words) if changed else command
            return Single(target, target.shard(key), sent, key, reads, mirrors)
        step = SPLIT_STEP.get(known.name)
        if step is None or len(words) != 1 + step * len(places):
            return Answer(CROSS_SLOT)
        parts = split(words, step, places)
        singles = [
            Single(target, target.shard(key := part.arguments[1]), encode_command(*part.arguments), key, reads, mirrors)
            for (target, _), part in parts.items()
        ]
        if known.name == "MGET":
            return Scatter(singles, partial(gather_values, list(parts.values())))
        return Scatter(singles, partial(merge, known.response_policy))

    def _without_keys(self, known: Command, words: list[bytes], command: bytes) -> Plan:
        route = self.default
        if route is None:
            return Answer(NO_ROUTE)
        mirrors = route.mirrors if known.is_write else ()
        if known.name == "SCAN":
            return self._scan(words, command)
        one = Single(route.target, route.target.default_shard(), command, None, known.is_readonly, mirrors)
        if known.request_policy not in ("all_shards", "all_nodes") or known.name in _ONE_WILL_DO:
            return one
        how = _MERGES.get(known.name)
        if how is None and known.response_policy == "special":
            return one
        singles = [Single(target, shard, command, None, False, mirrors) for target, shard in self.shards()]
        replicas = known.request_policy == "all_nodes"
        return Scatter(singles, how or partial(merge, known.response_policy), replicas) if singles else one

    # For sessions

    @property
    def ready(self) -> bool:
        """Whether it is known where keys are, or has taken too long to find out."""
        return all(target.ready or target.given_up for target in self._needed)

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call later; it may have to be asked again."""
        for target in self._needed:
            if not target.ready and not target.given_up:
                target.when_ready(call)
                return

    def again(self, single: Single) -> Single:
        """The same command, by what is known by now. Raises UpstreamError."""
        target = single.target
        return single._replace(shard=target.default_shard() if single.key is None else target.shard(single.key))

    def keys(self, command: bytes) -> set[bytes]:
        """Those that a command names."""
        words = arguments(command)
        return set(self._table.of(words).keys(words))

    def plan_block(
        self, commands: Sequence[tuple[Treatment, bytes]]
    ) -> tuple[Single, list[tuple[Treatment, bytes]]] | None:
        """The server of a whole transaction, and its commands as that is told them; None: there is no such server.
        Raises UpstreamError."""
        found: Single | None = None
        sent: list[tuple[Treatment, bytes]] = []
        for treatment, command in commands:
            plan = self.plan(command)
            if not isinstance(plan, Single):
                return None
            if plan.key is not None:
                if found is not None and (found.target, found.shard) != (plan.target, plan.shard):
                    return None
                found = found or plan
            sent.append((treatment, plan.command))
        if found is None:
            route = self.default
            if route is None:
                return None
            found = Single(route.target, route.target.default_shard(), b"")
        return found, sent

    def shards(self) -> list[tuple[Target, Shard]]:
        """All of them."""
        return [(target, shard) for target in self.targets for shard in target.shards()]

    def _scan(self, words: list[bytes], command: bytes) -> Plan:
        """``SCAN`` goes through one shard after the other: its cursor says where it is."""
        shards = self.shards()
        cursor = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        at, inner = split_cursor(cursor) if cursor is not None else (0, 0)
        if at >= len(shards):
            return Answer(b"*2\r\n$1\r\n0\r\n*0\r\n")  # there are fewer shards than when it began
        target, shard = shards[at]
        if cursor is None:
            return Single(target, shard, command)  # the server says what is wrong with it
        one = Single(target, shard, encode_command(words[0], b"%d" % inner, *words[2:]))
        return Scatter([one], partial(_next_cursor, at, len(shards)))


def _unknown(name: bytes) -> bytes:
    told = name[:60].decode("latin-1")
    return error_reply(f"ERR unknown command '{told}': this proxy cannot tell its keys (see custom_commands)")


def _next_cursor(at: int, shards: int, replies: list[Value]) -> Value:
    (reply,) = replies
    if not isinstance(reply, list) or len(reply) != 2:
        return reply
    inner = int(reply[0])
    following = compose_cursor(at + 1, 0) if at + 1 < shards else 0
    composed = compose_cursor(at, inner) if inner else following
    return [b"%d" % composed, reply[1]]


def _any_key(replies: list[Value]) -> Value:
    """``RANDOMKEY``: of a server that has one."""
    keys = [reply for reply in replies if isinstance(reply, bytes) and not isinstance(reply, Failure)]
    return random.choice(keys) if keys else replies[0]


_MERGES: dict[str, Callable[[list[Value]], Value]] = {"RANDOMKEY": _any_key, "INFO": merge_info}
