"""What configurations say about fields of messages: conditions on them, and changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from l4proxy.plugins.http.conditions import safe_regex

__all__ = ["FieldChanges", "FieldMatch", "check_with"]

S = TypeVar("S")
T = TypeVar("T")


def check_with(make: Callable[[S], T], key: str, value: S) -> T:
    """Find out now what would be found out when it is used. Raises ValueError that names the key."""
    try:
        return make(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """A condition on a header field, a query parameter or a cookie. With a name alone: it is there."""

    short_form: ClassVar[str] = "name"

    name: str
    """Of a header field, in any case."""
    exact: str | None = None
    """The whole value."""
    prefix: str | None = None
    """What the value begins with."""
    suffix: str | None = None
    """What the value ends with."""
    contains: str | None = None
    """What is somewhere in the value."""
    regex: str | None = None
    """A regular expression that the whole value matches; bounded, as that of a route."""
    invert: bool = False
    """The condition must not hold; for a name alone: it is not there."""

    def __post_init__(self) -> None:
        given = [key for key in ("exact", "prefix", "suffix", "contains", "regex") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: not beside {given[0]}")
        if not self.name:
            raise ValueError("name: of what?")
        if self.regex is not None:
            check_with(safe_regex, "regex", self.regex)


@dataclass(frozen=True, slots=True)
class FieldChanges:
    """Changes of header fields. Values may have access-log operators: `"%DOWNSTREAM_REMOTE_ADDRESS%"`,
    `"%REQ(x-user)%"`."""

    set: Mapping[str, str] = field(default_factory=dict)
    """In place of all fields of the name."""
    add: Mapping[str, str] = field(default_factory=dict)
    """One field more."""
    append: Mapping[str, str] = field(default_factory=dict)
    """Behind a comma, where there is one already."""
    remove: tuple[str, ...] = ()
    """All fields of the name; a star at the end is any rest: `"x-internal-*"`."""
