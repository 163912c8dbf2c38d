"""``ttl`` for Redis: no key lives for longer than it should."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from l4proxy.config.types import Duration, Percent, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.values import Simple, Value
from l4proxy.stats import Stats, counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["RedisTtl", "RedisTtlConfig", "TtlRule"]

NEVER = Duration(0.0)
_ENDS = frozenset(("EXEC", "DISCARD", "RESET"))
"""What ends a transaction."""
Words = tuple[bytes, ...]
_is_number = re.compile(rb"-?[0-9]{1,19}").fullmatch
_SCALE = {b"EX": 1.0, b"PX": 0.001}
_POINT = {b"EXAT": 1.0, b"PXAT": 0.001}


@dataclass(frozen=True, slots=True)
class TtlRule:
    """What is true of keys that begin alike. The longest prefix counts."""

    example: ClassVar[str] = '{ prefix = "session:", default = "1h", max = "1d" }'

    prefix: str = ""
    """How the keys begin; all, where it is empty."""
    default: Duration = NEVER
    """How long a key lives that is set without a time; 0: for ever."""
    max: Duration = NEVER
    """The longest that a key may live; 0: as long as the client says."""
    jitter: Annotated[Percent, Range(0, 50)] = Percent(0.0)
    """Make `default` up to so much shorter, by chance, so that what was set together does not end together."""

    def __post_init__(self) -> None:
        if self.default and self.max and self.default > self.max:
            raise ValueError("default: is longer than max")


@dataclass(frozen=True, slots=True)
class RedisTtlConfig:
    rules: tuple[TtlRule, ...]
    """Rules, as `{ prefix = "session:", default = "1h", max = "1d" }`."""

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("rules: at least one is needed")


class RedisTtlStats(Stats, subsystem="redis_ttl"):
    """Times that were changed."""

    given_total = counter("Keys that were given a time to live.")
    shortened_total = counter("Times to live that were longer than they may be.")
    refused_total = counter("Commands refused because they would have made a key live for ever.")


class Shared:
    def __init__(self, config: RedisTtlConfig, stats: RedisTtlStats) -> None:
        self.stats = stats
        self.rules = sorted(((rule.prefix.encode(), rule) for rule in config.rules), key=lambda one: -len(one[0]))

    def find(self, key: bytes) -> TtlRule | None:
        return next((rule for prefix, rule in self.rules if key.startswith(prefix)), None)


class RedisTtl(RedisFilter[RedisTtlConfig]):
    """Give keys a time to live, and bound the one that clients give.

        { use = "ttl", rules = [{ prefix = "session:", default = "1h", max = "1d", jitter = 10 }, { max = "30d" }] }

    `SET`, `SETNX`, `SETEX`, `PSETEX`, `GETSET` and `GETEX` are given the time in the same step, `EXPIRE` and its kin
    are bounded, and `PERSIST` is refused where there is a `max`. Keys that come to be in another way (`INCR`, `MSET`,
    other types, scripts, `SET` with `KEEPTTL`) get a time only when the client gives them one."""

    name = "ttl"
    shared: Shared

    @classmethod
    def provision(cls, config: RedisTtlConfig, server: Server) -> Shared:
        return Shared(config, server.stats.group(RedisTtlStats))

    @classmethod
    def wanted(cls, config: RedisTtlConfig) -> frozenset[str]:
        return frozenset(cls._CHANGES) | _ENDS

    def on_connect(self) -> None:
        self._queued: set[int] = set()
        """Places of ``SETNX`` in a transaction."""

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        words = request.arguments
        rule = self.shared.find(words[1]) if len(words) > 1 else None
        if rule is None:
            return request
        change = self._CHANGES.get(request.name) or self._CHANGES[request.kind]
        changed = change(self, rule, words)
        if changed is None:
            self.shared.stats.refused_total += 1
            self.reply(request, RedisResponse.error("ERR this key may not live for ever (ttl)"))
            return None
        if changed != words:
            request.state["ttl:setnx"] = change is self._CHANGES["SETNX"]
            request.arguments = changed
        return request

    def on_response(self, response: RedisResponse) -> RedisResponse:
        """``SETNX`` was sent as ``SET ... NX``, which says it in other words."""
        request = response.request
        assert isinstance(request, RedisRequest)
        if request.name in _ENDS:
            queued, self._queued = self._queued, set()
            if queued and response.complete and isinstance(values := response.value, list):
                response.value = [_of_setnx(value) if at in queued else value for at, value in enumerate(values)]
        elif request.state.get("ttl:setnx") and response.complete:
            if response.value == Simple(b"QUEUED"):
                self._queued.add(request.queued)
            elif not response.is_error:
                response.value = _of_setnx(response.value)
        return response

    # Commands. Each returns its new arguments, or None where it may not be done.

    def _set(self, rule: TtlRule, words: Words) -> Words | None:
        """``SET key value [EX seconds | PX milliseconds | EXAT time | PXAT time | KEEPTTL] ...``"""
        options = [word.upper() for word in words]
        for at in range(3, len(words)):
            if options[at] in (*_SCALE, *_POINT) and at + 1 < len(words):
                return self._bound(rule, words, at, options[at])
            if options[at] == b"KEEPTTL":
                return words
        return (*words, *self._default(rule)) if len(words) >= 3 else words

    def _setnx(self, rule: TtlRule, words: Words) -> Words | None:
        time_to_live = self._default(rule) if len(words) == 3 else ()
        return (b"SET", *words[1:], b"NX", *time_to_live) if time_to_live else words

    def _getset(self, rule: TtlRule, words: Words) -> Words | None:
        time_to_live = self._default(rule) if len(words) == 3 else ()
        return (b"SET", *words[1:], b"GET", *time_to_live) if time_to_live else words

    def _getex(self, rule: TtlRule, words: Words) -> Words | None:
        option = words[2].upper() if len(words) > 2 else b""
        if option == b"PERSIST" and rule.max:
            return None
        return self._bound(rule, words, 2, option) if option in (*_SCALE, *_POINT) and len(words) == 4 else words

    def _setex(self, rule: TtlRule, words: Words) -> Words | None:
        """``SETEX key seconds value``, ``EXPIRE key seconds``"""
        return self._bound(rule, words, 1, b"EX")

    def _psetex(self, rule: TtlRule, words: Words) -> Words | None:
        return self._bound(rule, words, 1, b"PX")

    def _expireat(self, rule: TtlRule, words: Words) -> Words | None:
        return self._bound(rule, words, 1, b"EXAT")

    def _pexpireat(self, rule: TtlRule, words: Words) -> Words | None:
        return self._bound(rule, words, 1, b"PXAT")

    def _persist(self, rule: TtlRule, words: Words) -> Words | None:
        return None if rule.max else words

    _CHANGES: ClassVar[dict[str, Callable[[Any, TtlRule, Words], Words | None]]] = {
        "SET": _set, "SETNX": _setnx, "GETSET": _getset, "GETEX": _getex, "SETEX": _setex, "PSETEX": _psetex,
        "EXPIRE": _setex, "PEXPIRE": _psetex, "EXPIREAT": _expireat, "PEXPIREAT": _pexpireat, "PERSIST": _persist,
    }  # fmt: skip

    def _default(self, rule: TtlRule) -> Sequence[bytes]:
        seconds: float = rule.default or rule.max
        if not seconds:
            return ()
        self.shared.stats.given_total += 1
        seconds *= 1 - random.random() * rule.jitter / 100
        return b"PX", b"%d" % max(1, round(seconds * 1000))

    def _bound(self, rule: TtlRule, words: Words, at: int, unit: bytes) -> Words:
        """The time behind the word at ``at`` is at most the rule's."""
        if len(words) <= at + 1 or not _is_number(words[at + 1]):
            return words  # the server says what is wrong with it
        given = int(words[at + 1])
        longest = rule.max + (time.time() if unit in _POINT else 0)
        if not rule.max or given * (_SCALE | _POINT)[unit] <= longest:
            return words
        self.shared.stats.shortened_total += 1
        return (*words[: at + 1], b"%d" % int(longest / (_SCALE | _POINT)[unit]), *words[at + 2 :])


def _of_setnx(value: Value) -> Value:
    """What ``SETNX`` would have said."""
    return 0 if value is None else 1 if value == Simple(b"OK") else value


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RedisTtl)
