"""Paths and plain values of a configuration as text."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

__all__ = ["join", "refusal", "toml_text"]


def join(path: str, key: str) -> str:
    """The path of ``key`` in the table at ``path``: ``listeners[0].name``."""
    bare = key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()
    step = key if bare else toml_text(key)
    return f"{path}.{step}" if path else step


def refusal(path: str, error: Exception, options: Any) -> tuple[str, str]:
    """Where what was refused stands, and why. The text of an error may begin with one of the ``options`` (a dataclass)
    at ``path``, or with what is inside one: ``"file: cannot read a.html"``."""
    where, colon, cause = str(error).partition(": ")
    names = [field.name for field in dataclasses.fields(options)] if dataclasses.is_dataclass(options) else []
    if colon and re.split(r"[.\[]", where, maxsplit=1)[0] in names:
        return f"{path}.{where}" if path else where, cause
    return path, str(error)


def toml_text(value: object) -> str:
    """A plain value as it is written in TOML, on one line."""
    match value:
        case str():
            return f'"{"".join(map(_escaped, value))}"'
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(toml_text, value))}]"
        case dict():
            pairs = [f"{join('', key)} = {toml_text(item)}" for key, item in value.items()]
            return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    return str(value)


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08x}"
