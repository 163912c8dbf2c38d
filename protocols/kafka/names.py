"""Where topics, groups and transactional ids are named in messages, for who allows, hides or renames some of them.

What a field names is told from the declarations, by its name and by what it stands in; a test holds that no text in any
API is forgotten. `names_of` reads the names of one message where they lie, and asks about each of them (`Decide`): one
may stay, become another, or be dropped with the element of a list that it stands in. What comes out is a splice, so
everything else stays as it was, record batches and unknown tagged fields included.

Newer versions number topics instead (KIP-516), and a number tells nothing of a name. A client that is not offered these
versions speaks in names (`newest_by_name`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.schema import Field, Schema
from l4proxy.protocols.kafka.splice import Change, Span, encode_count, encode_string
from l4proxy.protocols.kafka.walker import Walker

__all__ = [
    "COORDINATOR",
    "GROUP",
    "MESSAGE",
    "NO_ID",
    "TOPIC",
    "TOPIC_ID",
    "TOPIC_PATTERN",
    "TRANSACTIONAL_ID",
    "TRANSACTIONAL_ID_PATTERN",
    "Decide",
    "Named",
    "Names",
    "kind_of",
    "names_of",
    "newest_by_name",
]

TOPIC = "topic"
TOPIC_ID = "topic_id"
"""A topic whose name is not in the message."""
GROUP = "group"
TRANSACTIONAL_ID = "transactional_id"
COORDINATOR = "coordinator"
"""A group or a transactional id: the request says which."""
TOPIC_PATTERN = "topic_pattern"
TRANSACTIONAL_ID_PATTERN = "transactional_id_pattern"
MESSAGE = "message"
"""A text for people, which may have names in it."""
NO_ID = bytes(16)

Decide = Callable[[str, bytes], bytes | None]
"""``decide(kind, name)``: the name to be written; None drops it. Ids of topics, patterns, and messages for people are
names here, too."""

_BY_NAME = {
    "topic": TOPIC, "topic_name": TOPIC, "topic_names": TOPIC, "subscribed_topic_names": TOPIC,
    "topic_id": TOPIC_ID, "subscribed_topic_regex": TOPIC_PATTERN,
    "group_id": GROUP, "group_ids": GROUP, "groups_names": GROUP, "groups": GROUP,
    "transactional_id": TRANSACTIONAL_ID, "transactional_ids": TRANSACTIONAL_ID,
    "error_message": MESSAGE, "batch_index_error_message": MESSAGE,
    "v3_and_below_transactional_id": TRANSACTIONAL_ID, "transactional_id_pattern": TRANSACTIONAL_ID_PATTERN,
}  # fmt: skip
_LISTS_OF_TOPICS = {
    "topics", "topic_data", "topic_results", "v3_and_below_topics", "results_by_topic_v3_and_below",
}  # fmt: skip
"""Lists in which ``name`` is that of a topic."""
_ANSWERS_ABOUT_TOPICS = {
    ("Produce", "responses"), ("DeleteTopics", "responses"), ("AlterPartitionReassignments", "responses"),
    ("CreatePartitions", "results"),
}  # fmt: skip
_RESOURCES = {2: TOPIC, 3: GROUP, 5: TRANSACTIONAL_ID}
"""Types of resources in access control lists."""
_CONFIG_RESOURCES = {2: TOPIC, 32: GROUP}
_COORDINATORS = {0: GROUP, 1: TRANSACTIONAL_ID}
_TYPED = {
    "resource_name": "resource_type", "resource_name_filter": "resource_type_filter", "key": "key_type",
    "coordinator_keys": "key_type",
}  # fmt: skip
"""Fields of which another one, beside them, says what they name."""
_ACLS = ("DescribeAcls", "CreateAcls", "DeleteAcls")
_ASK_BY_NUMBER = {"Metadata", "ConsumerGroupHeartbeat"}
"""Whoever asks for topics by their ids here is told their names, or names nothing: members of a group say which they
own, and were given."""
_NOT_COUNTED = "forgotten_topics_data"


def kind_of(api: Api, parent: str, field: Field) -> str:
    """What a field of a list or structure called ``parent`` names; empty: nothing. ``typed``: another one says."""
    if field.type not in ("string", "uuid"):
        return ""
    if field.name in _TYPED and (field.name != "key" or api.name == "FindCoordinator"):
        return COORDINATOR if parent == "coordinators" else "typed"
    if field.name == "name":
        return TOPIC if parent in _LISTS_OF_TOPICS or (api.name, parent) in _ANSWERS_ABOUT_TOPICS else ""
    return _BY_NAME.get(field.name, "")


class Named(NamedTuple):
    """What was decided about a message."""

    changes: list[Change]
    refused: tuple[str, bytes] | None
    """A name that would be dropped, and is not one of a list: the first one."""
    dropped: list[tuple[str, bytes]]
    kept: int
    """Names in lists that stay."""


class _Decision:
    """A message while it is being read."""

    def __init__(self, decide: Decide, flexible: bool) -> None:
        self.decide = decide
        self.flexible = flexible
        self.changes: list[Change] = []
        self.refused: tuple[str, bytes] | None = None
        self.dropped: list[tuple[str, bytes]] = []
        self.kept = 0


class _Struct:
    """What is read of a structure, and what becomes of it."""

    def __init__(self, api: Api, version: int, parent: str, fields: Sequence[Field], *, listed: bool) -> None:
        self.selection: list[str] = ["@"] if listed else []
        self.scalars: list[tuple[str, int, int]] = []
        """What it names; where in a walker's tuple the name is, and its type, where it has one, else -1."""
        self.lists: list[tuple[str, int, int, int, _Struct | None]] = []
        """Name of the field, where its span is and its value, the type if there is one, and the structure if it is of
        such."""
        self.inner: list[tuple[int, _Struct]] = []
        types: dict[str, int] = {}
        for field in fields:
            if not field.exists(version) or field.tag is not None:
                continue
            if field.name in _TYPED.values():
                types[field.name] = self._select(field.name)
        for field in fields:
            if field.exists(version) and field.tag is None:
                self._add(api, version, parent, field, types)

    def _select(self, text: str) -> int:
        self.selection.append(text)
        return len(self.selection) - 1

    def _add(self, api: Api, version: int, parent: str, field: Field, types: dict[str, int]) -> None:
        if field.fields:
            inner = _Struct(api, version, field.name, field.fields, listed=field.array)
            if not inner.names_something:
                return
            text = f"{field.name}({' '.join(inner.selection)})"
            if field.array:
                span = self._select(f"{field.name}@")
                self.lists.append((field.name, span, self._select(text), -1, inner))
            else:
                self.inner.append((self._select(text), inner))
            return
        kind = kind_of(api, parent, field)
        if not kind:
            return
        span = self._select(f"{field.name}@")
        value = self._select(field.name)
        if kind == "typed":
            typed = types.get(_TYPED[field.name], -1)
            kind = "acl" if api.name in _ACLS else "coordinator_key" if "key" in field.name else "config"
        else:
            typed = -1
        if field.array:
            self.lists.append((kind, span, value, typed, None))
        else:
            self.scalars.append((kind, value, typed))

    @property
    def names_something(self) -> bool:
        return bool(self.scalars or self.lists or self.inner)

    @property
    def numbers_topics(self) -> bool:
        structs = [inner for _, inner in self.inner] + [inner for *_, inner in self.lists if inner is not None]
        return any(kind == TOPIC_ID for kind, *_ in self.scalars) or any(inner.numbers_topics for inner in structs)

    def decide(self, read: tuple[Any, ...], decision: _Decision) -> bool:
        """Return False where the structure is to be dropped. Changes are noted in order of kinds, and sorted later."""
        named = False
        for kind, at, typed in self.scalars:
            name = read[at]
            if name is None or (kind == TOPIC_ID and (named or name == NO_ID)):
                continue
            kind = _kind(kind, read, typed)
            if not kind:
                continue
            named = named or kind == TOPIC
            new = decision.decide(kind, name)
            if new is None:
                decision.dropped.append((kind, name))
                return False
            if new is not name and new != name:
                decision.changes.append((*read[at - 1], encode_string(new, flexible=decision.flexible)))
        for at, inner in self.inner:
            if read[at] is not None and not inner.decide(read[at], decision):
                return False
        for name, span, at, typed, struct in self.lists:
            if read[at] is None:
                continue
            if struct is None:
                self._decide_names(_kind(name, read, typed), read[span], read[at], decision)
            else:
                _decide_elements(name, struct, read[span], read[at], decision)
        return True

    def only(
        self, read: tuple[Any, ...], decision: _Decision, wanted: Container[tuple[str, bytes]], *, top: bool
    ) -> bool:
        """Drop whatever does not belong to a wanted name; return False where nothing does."""
        if not top and any((_kind(kind, read, typed), read[at]) in wanted for kind, at, typed in self.scalars):
            return True
        found = False
        for name, span, at, typed, struct in self.lists:
            if read[at] is None:
                continue
            if struct is None:
                kind = _kind(name, read, typed)
                self._decide_names(kind, read[span], read[at], decision)
                found = found or any((kind, one) in wanted for one in read[at])
                continue
            keep = []
            for element in read[at]:
                before = len(decision.changes)
                keep.append(struct.only(element, decision, wanted, top=False))
                if not keep[-1]:
                    del decision.changes[before:]
            _drop(read[span], read[at], keep, decision)
            found = found or any(keep)
        return found

    def _decide_names(self, kind: str, span: Span, names: list[bytes], decision: _Decision) -> None:
        """An array of names, or of ids."""
        if not kind:
            return
        kept = []
        for name in names:
            new = decision.decide(kind, name)
            if new is None:
                decision.dropped.append((kind, name))
            else:
                kept.append(new)
        decision.kept += len(kept)
        if kept != names:
            encoded = [encode_string(name, flexible=decision.flexible) for name in kept]
            new = encode_count(len(kept), flexible=decision.flexible) + b"".join(encoded)
            decision.changes.append((*span, new))


def _kind(kind: str, read: tuple[Any, ...], typed: int) -> str:
    """What a field names, by the type beside it."""
    if kind == "acl":
        return _RESOURCES.get(read[typed], "")
    if kind == "config":
        return _CONFIG_RESOURCES.get(read[typed], "")
    if kind == "coordinator_key":
        return _COORDINATORS.get(read[typed] if typed >= 0 else 0, COORDINATOR)
    return kind


def _decide_elements(
    name: str, struct: _Struct, span: Span, elements: list[tuple[Any, ...]], decision: _Decision
) -> None:
    keep = []
    for element in elements:
        before = len(decision.changes)
        keep.append(struct.decide(element, decision))
        if not keep[-1]:
            del decision.changes[before:]
    if name != _NOT_COUNTED:
        decision.kept += sum(keep)
    _drop(span, elements, keep, decision)


def _drop(span: Span, elements: list[tuple[Any, ...]], keep: list[bool], decision: _Decision) -> None:
    """Keep some elements of a list."""
    if all(keep):
        return
    decision.changes.append((span[0], elements[0][0][0], encode_count(sum(keep), flexible=decision.flexible)))
    decision.changes += [(*element[0], b"") for element, kept in zip(elements, keep, strict=True) if not kept]


class Names:
    """The names in a ``request`` or ``response`` of one API and version."""

    def __init__(self, api: Api, version: int, kind: str) -> None:
        schema = getattr(api, kind)
        self._struct = _Struct(api, version, "", schema.fields, listed=False)
        self._flexible = schema.is_flexible(version)
        # Brokers do not mind bytes behind the end of a request, and librdkafka 2.16 sends Metadata requests with some.
        open_ended = Schema(schema.fields, schema.flexible, whole=False)
        self._walk = Walker(open_ended, " ".join(self._struct.selection)).whole(version) if self else None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._struct.names_something

    @property
    def numbers_topics(self) -> bool:
        """Whether topics can be there without their names."""
        return self._struct.numbers_topics

    def decide(self, data: bytes, pos: int, stop: int, decide: Decide) -> Named:
        """Ask about each name in ``data[pos:stop]``. Raises `wire.UNREADABLE`."""
        decision = _Decision(decide, self._flexible)
        if self._walk is not None and not self._struct.decide(self._walk(data, pos, stop), decision):
            decision.refused = decision.dropped[-1]
        decision.changes.sort()
        return Named(decision.changes, decision.refused, decision.dropped, decision.kept)

    def only(self, data: bytes, pos: int, stop: int, wanted: Container[tuple[str, bytes]]) -> list[Change]:
        """What has to be changed so that nothing is left in lists but what belongs to wanted names, of which each is
        ``(kind, name)``. Raises `wire.UNREADABLE`."""

        def decide(kind: str, name: bytes) -> bytes | None:
            return name if (kind, name) in wanted else None

        decision = _Decision(decide, self._flexible)
        if self._walk is not None:
            self._struct.only(self._walk(data, pos, stop), decision, wanted, top=True)
        return sorted(decision.changes)


_MADE: dict[tuple[int, int, str], Names] = {}


def names_of(api: Api, version: int, kind: str) -> Names:
    """The same, made once: to compare APIs would cost more than to read a message."""
    names = _MADE.get((api.key, version, kind))
    if names is None:
        names = _MADE[api.key, version, kind] = Names(api, version, kind)
    return names


def newest_by_name(api: Api) -> int:
    """The newest version whose requests name topics and do not number them; -1 where there is none."""
    if api.name in _ASK_BY_NUMBER:
        return api.last
    for version in range(api.last, api.first - 1, -1):
        if not names_of(api, version, "request").numbers_topics:
            return version
    return -1
