"""Paths and plain values of a configuration as text."""

from __future__ import annotations

__all__ = ["join", "toml_text"]


def join(path: str, key: str) -> str:
    """The path of ``key`` in the table at ``path``: ``listeners[0].name``."""
    bare = key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()
    step = key if bare else toml_text(key)
    return f"{path}.{step}" if path else step


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
