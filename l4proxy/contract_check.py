"""Does a class keep the contract of its kind?

What is looked for are the mistakes that would otherwise show late or never: a misspelt callback that nobody calls, an
``async def`` that nobody awaits, options that can be changed while connections share them.
"""

from __future__ import annotations

import difflib
import inspect
import re
from dataclasses import is_dataclass
from typing import Any

from l4proxy.errors import did_you_mean
from l4proxy.kind import BASES, Kind, base_of, options_of

__all__ = ["contract_problem"]

_SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAY_BE_ASYNC = frozenset({("Filter", "on_connect")})


def contract_problem(kind: Kind, cls: object) -> str:
    """The first thing that is wrong with a class, for people; empty when nothing is."""
    if not isinstance(cls, type):
        return f"register a class, not {type(cls).__name__} {cls!r}"
    base = base_of(kind, cls)
    if base is None:
        return f"is not a subclass of l4proxy.{BASES[kind]}"
    return _name_problem(kind, cls) or _callback_problem(cls, base) or _options_problem(kind, cls)


def _name_problem(kind: Kind, cls: type[Any]) -> str:
    name = getattr(cls, "name", None)
    spelling, example = (_KEBAB_CASE, "new-plugin") if kind is Kind.COMMAND else (_SNAKE_CASE, "rate_limit")
    if not isinstance(name, str) or not spelling.fullmatch(name):
        return f"needs a class attribute name, such as name = {example!r}, not {name!r}"
    if kind is Kind.MESSAGE_FILTER and not getattr(cls, "protocol", ""):
        return "needs a class attribute protocol, such as protocol = 'http'"
    return ""


def _callback_problem(cls: type[Any], base: type[Any]) -> str:
    for name, value in vars(cls).items():
        function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) or _is_method(value) else None
        if not inspect.isfunction(function) or name.startswith("_"):
            continue
        inherited = any(name in vars(parent) for parent in cls.__mro__[1:])
        if not inherited and _looks_like_callback(name, base):
            return f"{name} is not a callback{did_you_mean(name, _callbacks(base))}"
        if _is_async(function) and _must_be_sync(name, base):
            return f"{name} must not be async: it is called on the path of the bytes, and nothing would await it"
    missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
    return f"does not implement {missing}" if missing else ""


def _is_method(value: object) -> bool:
    return isinstance(value, classmethod | staticmethod)


def _callbacks(base: type[Any]) -> list[str]:
    return [
        name
        for name, value in vars(base).items()
        if not name.startswith("_") and (callable(value) or _is_method(value))
    ]


def _looks_like_callback(name: str, base: type[Any]) -> bool:
    """Names in ``on_`` are kept for callbacks, and ``provison`` is so near to ``provision`` that it is meant."""
    return name.startswith("on_") or bool(difflib.get_close_matches(name, _callbacks(base), n=1, cutoff=0.85))


def _is_async(function: Any) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
    )


def _must_be_sync(name: str, base: type[Any]) -> bool:
    promised = getattr(vars(base).get(name), "__func__", vars(base).get(name))
    return (base.__name__, name) not in _MAY_BE_ASYNC and inspect.isfunction(promised) and not _is_async(promised)


def _options_problem(kind: Kind, cls: type[Any]) -> str:
    if kind is Kind.COMMAND:
        return ""
    options = options_of(cls)
    base = BASES[kind]
    if options is None:
        return f"does not say its options: derive from {base}[YourConfig], or {base}[NoConfig] when it has none"
    if kind is Kind.MATCHER and not is_dataclass(options):
        return ""
    if not is_dataclass(options) or not _is_frozen(options):
        name = getattr(options, "__name__", options)
        return f"its options, {name}, are not a frozen dataclass: @dataclass(frozen=True, slots=True)"
    return ""


def _is_frozen(dataclass_type: Any) -> bool:
    return bool(dataclass_type.__dataclass_params__.frozen)
