"""Conditions of routes: compiled once into functions of a request."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from l4proxy.networks import NetworkSet

if TYPE_CHECKING:
    from l4proxy.plugins.http.field_config import FieldMatch
    from l4proxy.plugins.http.message import HttpRequest
    from l4proxy.plugins.http.route_config import Route

__all__ = ["Condition", "compile_conditions", "cookie", "query_parameter", "safe_regex", "value_test"]

MAX_REGEX = 500
"""Characters of a regular expression."""
MAX_SUBJECT = 4096
"""Characters of a text that one is tried on; a longer one does not match."""

Test = Callable[[str | None], bool]


class Condition:
    """``holds(request, client)`` says whether, ``text`` says what. ``chance``: it holds of some requests at random."""

    __slots__ = ("chance", "holds", "text")

    def __init__(self, text: str, holds: Callable[[HttpRequest, str], bool], *, chance: bool = False) -> None:
        self.text = text
        self.holds = holds
        self.chance = chance


def safe_regex(text: str) -> re.Pattern[str]:
    """A regular expression that cannot keep the proxy busy: nothing that repeats is repeated, nothing refers back, and
    at most three repetitions have no upper bound. Raises ValueError."""
    if len(text) > MAX_REGEX:
        raise ValueError(f"the regular expression has more than {MAX_REGEX} characters")
    bare = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", text, flags=re.DOTALL)
    if re.search(r"\\[1-9]", text) or "(?=" in bare or "(?!" in bare or "(?<" in bare.replace("(?P<", ""):
        raise ValueError(f"{text!r}: references to groups and looking around are not allowed")
    if re.search(r"\)[*+{]", bare):
        raise ValueError(f"{text!r}: a group is repeated, which could take for ever")
    if len(re.findall(r"[*+]|\{[0-9]*,\}", bare)) > 3:
        raise ValueError(f"{text!r}: more than three unbounded repetitions could take for ever")
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text!r}: {error}") from None


def value_test(match: FieldMatch) -> Test:
    """Raises ValueError."""
    test: Test
    if match.exact is not None:
        exact = match.exact
        test = lambda value: value == exact  # noqa: E731
    elif match.prefix is not None:
        prefix = match.prefix
        test = lambda value: value is not None and value.startswith(prefix)  # noqa: E731
    elif match.suffix is not None:
        suffix = match.suffix
        test = lambda value: value is not None and value.endswith(suffix)  # noqa: E731
    elif match.contains is not None:
        contains = match.contains
        test = lambda value: value is not None and contains in value  # noqa: E731
    elif match.regex is not None:
        pattern = safe_regex(match.regex)
        test = lambda value: (  # noqa: E731
            value is not None and len(value) <= MAX_SUBJECT and pattern.fullmatch(value) is not None
        )
    else:
        test = lambda value: value is not None  # noqa: E731
    return (lambda value: not test(value)) if match.invert else test


def _told(kind: str, match: FieldMatch) -> str:
    how = next(
        (f" {key} {getattr(match, key)!r}" for key in ("exact", "prefix", "suffix", "contains", "regex")
         if getattr(match, key) is not None),
        " is there",
    )  # fmt: skip
    return f"{kind} {match.name}{how}{', inverted' if match.invert else ''}"


def query_parameter(query: str, name: str) -> str | None:
    """The value of the first parameter of a name; empty where it has none."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name or ("%" in key and unquote_plus(key) == name):
            return unquote_plus(value)
    return None


def cookie(request: HttpRequest, name: str) -> str | None:
    value = request.field("cookie")
    for part in value.split(";") if value else ():
        key, equals, text = part.strip().partition("=")
        if equals and key == name:
            return text.strip('"')
    return None


def compile_conditions(route: Route) -> tuple[Condition, ...]:
    """All but that on the path, the cheap ones first. Raises ValueError."""
    made: list[Condition] = []
    if route.methods:
        methods = frozenset(route.methods)
        made.append(Condition(f"method {' or '.join(route.methods)}", lambda request, _client: request.kind in methods))
    made += map(_of_header, route.headers)
    made += map(_of_query, route.query)
    made += map(_of_cookie, route.cookies)
    if route.source:
        networks = NetworkSet(route.source)
        text = f"source {', '.join(map(str, route.source))}"
        made.append(Condition(text, lambda _request, client: client in networks))
    if route.percent < 100:
        fraction = route.percent / 100
        text = f"percent {route.percent:g}"
        made.append(Condition(text, lambda _request, _client: random.random() < fraction, chance=True))
    return tuple(made)


def _of_header(match: FieldMatch) -> Condition:
    test, name = value_test(match), match.name.lower()
    return Condition(_told("header", match), lambda request, _client: test(request.field(name)))


def _of_query(match: FieldMatch) -> Condition:
    test, name = value_test(match), match.name
    return Condition(_told("query", match), lambda request, _client: test(query_parameter(request.query, name)))


def _of_cookie(match: FieldMatch) -> Condition:
    test, name = value_test(match), match.name
    return Condition(_told("cookie", match), lambda request, _client: test(cookie(request, name)))
