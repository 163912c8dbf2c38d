"""Which arguments of a command are keys, by the server's own rules ("key specifications", Redis 7).

A specification says where the first key is (at a place, or behind a keyword), and how the others follow (up to a last
one, or as many as a number says). `read_key_specs` reads the way the table writes them::

    1 range 0 1 0 RO access              GET: one key, at 1
    1 range -1 2 0 OW update             MSET: every second argument from 1 on
    2 keynum 0 1 1 RW access update      EVAL: the number of keys stands at 2, the first key behind it
    STREAMS@1 range -1 1 2 RO access     XREAD: behind STREAMS, half of what follows
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

__all__ = ["KeySpec", "find_keys", "read_key_specs"]


class KeySpec(NamedTuple):
    """One group of keys."""

    keyword: bytes
    """What the first key stands behind; empty: the first key is at ``begin``."""
    begin: int
    """Where the first key is, or the search for the keyword begins; negative: from the end, backwards."""
    find: str
    """``range``, ``keynum``, or ``unknown`` where only code can tell."""
    numbers: tuple[int, int, int]
    """Of a range: the last key, relative to the first (negative: to the end), the step, and what part of the arguments
    are keys (2: half of them). Of a number of keys: where it is and where the first key is, both relative to
    ``begin``, and the step."""
    flags: frozenset[str]
    """``RO RW OW RM`` and ``access update insert delete``: what the command does with the key and what is in it;
    ``not_key``: it only decides the node."""

    @property
    def reads(self) -> bool:
        """Whether something of the key's value is told, or copied."""
        return "access" in self.flags

    @property
    def writes(self) -> bool:
        """Whether the key or its value is changed."""
        return not self.flags.isdisjoint(("insert", "update", "delete"))


Found: TypeAlias = list[tuple[int, KeySpec]]


def read_key_specs(text: str) -> tuple[KeySpec, ...]:
    """Of the table's notation; several are separated by ``;``."""
    return tuple(_read(spec.split()) for spec in text.split(";") if spec)


def _read(words: list[str]) -> KeySpec:
    begin, find, first, second, third, *flags = words
    keyword, _, start = begin.rpartition("@")
    return KeySpec(keyword.encode(), int(start), find, (int(first), int(second), int(third)), frozenset(flags))


def find_keys(name: str, specs: Sequence[KeySpec], arguments: Sequence[bytes]) -> Found:
    """Where the keys are, each with the specification that says so. What does not fit has no keys."""
    special = _SPECIAL.get(name)
    if special is not None:
        return special(specs, arguments)
    found: Found = []
    for spec in specs:
        if spec.find != "unknown":
            found += [(at, spec) for at in _positions(spec, arguments)]
    return found


def _positions(spec: KeySpec, arguments: Sequence[bytes]) -> range:
    argc = len(arguments)
    first = _behind_keyword(spec, arguments) if spec.keyword else spec.begin
    if not 0 < first < argc:
        return range(0)
    one, two, three = spec.numbers
    if spec.find == "keynum":
        count = arguments[first + one] if first + one < argc else b""
        first, step = first + two, three
        last = first + (int(count) - 1) * step if count.isdigit() else -1
    else:
        step = two
        end = first + (argc - first) // three if three else argc
        last = (first if one >= 0 else end) + one
    return range(first, last + 1, step) if last < argc else range(0)


def _behind_keyword(spec: KeySpec, arguments: Sequence[bytes]) -> int:
    argc, keyword = len(arguments), spec.keyword
    places = range(spec.begin, argc - 1) if spec.begin > 0 else range(argc + spec.begin, 1, -1)
    return next((at + 1 for at in places if arguments[at].upper() == keyword), 0)


def _of_sort(specs: Sequence[KeySpec], arguments: Sequence[bytes]) -> Found:
    """``SORT key [BY p] [LIMIT o c] [GET p ...] [STORE key]``: the keyword could also be an argument of another one."""
    found: Found = [(1, specs[0])]
    at, store = 2, 0
    while at < len(arguments) - 1:
        word = arguments[at].upper()
        if word == b"STORE":
            store = at + 1
        at += {b"LIMIT": 3, b"GET": 2, b"BY": 2, b"STORE": 2}.get(word, 1)
    if store and specs[-1].writes:
        found.append((store, specs[-1]))
    return found if len(arguments) > 1 else []


def _of_set(specs: Sequence[KeySpec], arguments: Sequence[bytes]) -> Found:
    """``SET key value [GET] ...`` tells the old value only with ``GET``."""
    if len(arguments) < 2:
        return []
    reads = any(word.upper() == b"GET" for word in arguments[3:])
    return [(1, specs[0] if reads else specs[0]._replace(flags=frozenset(("OW", "update"))))]


def _of_bitfield(specs: Sequence[KeySpec], arguments: Sequence[bytes]) -> Found:
    """``BITFIELD key GET ...`` changes something only where there is more than ``GET``."""
    if len(arguments) < 2:
        return []
    changes = any(word.upper() in (b"SET", b"INCRBY") for word in arguments[2:])
    return [(1, specs[0] if changes else specs[0]._replace(flags=frozenset(("RO", "access"))))]


def _of_migrate(specs: Sequence[KeySpec], arguments: Sequence[bytes]) -> Found:
    """``MIGRATE host port key|"" ...``: the keys are behind KEYS where there is none at 3."""
    one = [(at, specs[0]) for at in _positions(specs[0], arguments)]
    if one and arguments[3]:
        return one
    return [(at, specs[1]) for at in _positions(specs[1], arguments)]


_SPECIAL: dict[str, Callable[[Sequence[KeySpec], Sequence[bytes]], Found]] = {
    "BITFIELD": _of_bitfield,
    "SET": _of_set,
    "SORT": _of_sort,
    "SORT_RO": _of_sort,
    "MIGRATE": _of_migrate,
}
