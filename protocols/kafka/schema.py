"""Kafka's messages as declarations: a notation of one line per field, read into trees.

::

    declare('''
        transactional_id string?  3+
        acks int16
        timeout_ms int32
        topics []
          name string             0-12
          topic_id uuid           13+
          partitions []
            index int32
            records records?
    ''', flexible=9)

A line is a name, a type, and the versions that have the field (``3+``, ``0-12``, ``4``; all when it says nothing).
Types are those of the protocol guide; ``[]`` before one makes it an array. ``[]`` and ``{}`` alone stand for an array
of structures and a structure, whose fields follow, indented. ``?`` says that it may be null. ``@1`` makes it a tagged
field, with its tag. Names are those of Kafka's message definitions, in snake_case. ``...`` as the last line says that
more follows that is not declared.

From the first ``flexible`` version on, lengths are variable-size integers ("compact"), and every structure ends in
tagged fields (KIP-482). Fields outside their versions are not on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FIXED", "NEWEST", "Field", "Schema", "declare"]

NEWEST = 32767
"""The highest version there can be: of fields that were never removed."""

FIXED = {
    "bool": "?", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "float64": "d",
    "uuid": "16s",
}  # fmt: skip
"""Types of a fixed size, with their ``struct`` formats."""

_VARIABLE = {"string", "bytes", "records"}
_LINE = re.compile(
    r"(?P<indent> *)(?P<name>[a-z]\w*) (?P<array>\[\])?(?P<type>\{\}|\w+)?(?P<null>\?)?"
    r"(?: +(?P<since>\d+)(?:(?P<on>\+)|-(?P<until>\d+))?)?(?: +@(?P<tag>\d+))?"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``type`` is ``struct`` where it has ``fields`` of its own; ``tag`` is None unless it is tagged."""

    name: str
    type: str
    array: bool
    nullable: bool
    since: int
    until: int
    tag: int | None
    fields: tuple[Field, ...]

    def exists(self, version: int) -> bool:
        return self.since <= version <= self.until


@dataclass(frozen=True, slots=True)
class Schema:
    """One message, all versions of it. ``flexible`` is the first flexible version, None where there is none.

    ``whole`` is False where the declaration ends before the message does."""

    fields: tuple[Field, ...]
    flexible: int | None
    whole: bool = True

    def is_flexible(self, version: int) -> bool:
        return self.flexible is not None and version >= self.flexible


def declare(text: str, *, flexible: int | None) -> Schema:
    """Read a declaration. Raises ValueError, with the line, where it is not one."""
    lines = [line for line in text.splitlines() if line.strip()]
    whole = not lines or lines[-1].strip() != "..."
    parsed = [_parse(line) for line in (lines if whole else lines[:-1])]
    margin = parsed[0][0] if parsed else 0
    fields, rest = _nest(parsed, margin)
    if rest:
        raise ValueError(f"{rest[0][1]['name']} is indented less than the first field")
    return Schema(fields, flexible, whole)


_Line = tuple[int, dict[str, str]]


def _parse(line: str) -> _Line:
    found = _LINE.fullmatch(line.rstrip())
    if found is None or not (found["type"] or found["array"]):
        raise ValueError(f"not a field: {line.strip()!r}")
    if found["type"] not in (None, "{}", *FIXED, *_VARIABLE):
        raise ValueError(f"not a type: {line.strip()!r}")
    return len(found["indent"]), found.groupdict()


def _nest(lines: list[_Line], indent: int) -> tuple[tuple[Field, ...], list[_Line]]:
    fields = []
    while lines and lines[0][0] >= indent:
        depth, words = lines.pop(0)
        if depth > indent:
            raise ValueError(f"{words['name']} is indented more than what is in front of it")
        below: tuple[Field, ...] = ()
        if words["type"] in (None, "{}"):
            below, lines = _nest(lines, lines[0][0] if lines and lines[0][0] > indent else indent + 1)
            if not below:
                raise ValueError(f"{words['name']} has no fields")
        fields.append(_field(words, below))
    return tuple(fields), lines


def _field(words: dict[str, str], below: tuple[Field, ...]) -> Field:
    since = int(words["since"] or 0)
    until = int(words["until"]) if words["until"] else since if words["since"] and not words["on"] else NEWEST
    return Field(
        name=words["name"],
        type="struct" if below else words["type"],
        array=bool(words["array"]),
        nullable=bool(words["null"]),
        since=since,
        until=until,
        tag=int(words["tag"]) if words["tag"] else None,
        fields=below,
    )


def walk(fields: tuple[Field, ...], path: str = "") -> Iterator[tuple[str, Field]]:
    """Every field with its path (``topics.partitions.index``), outer ones first."""
    for field in fields:
        yield path + field.name, field
        yield from walk(field.fields, f"{path}{field.name}.")
