"""What stands behind ``--use``: ``NAME``, or ``NAME:key=value,...``.

A value goes without quotes, and is read as the option's type wants it: ``delay=5s``, ``limit=10``, ``token=0123``.
Quotes are for text with a comma in it, ``message="no, sorry"``; arrays and tables are written as in a file,
``ports=[80, 443]``, but the items of an array may go without quotes, too: ``names=[a, b]``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from l4proxy.config.structure import EnvironmentText
from l4proxy.errors import ConfigError, ConfigProblem

__all__ = ["parse_use"]

_KEY = re.compile(r"\s*([^\s=,\"'\[\]{}]+)\s*=\s*")
_PLAIN = re.compile(r"[^,]*")
_PLAIN_ITEMS = re.compile(r"\[([^\[\]{}\"']*)\](?=\s*(,|$))")


def parse_use(text: str) -> dict[str, Any]:
    """Return the table that a file would hold. Raises ConfigError."""
    name, _, options = text.partition(":")
    return {"use": name, **dict(_options(text, options))}


def _options(text: str, rest: str) -> Iterator[tuple[str, Any]]:
    while rest.strip():
        key = _KEY.match(rest)
        if key is None:
            raise ConfigError([ConfigProblem(f"--use {text}", f"{rest!r} is not key=value")])
        value, size = _value(text, key[1], rest[key.end() :])
        yield key[1], value
        rest = rest[key.end() + size :].lstrip().removeprefix(",")


def _value(text: str, key: str, rest: str) -> tuple[Any, int]:
    """The value at the beginning of ``rest``, and its length."""
    if rest[:1] in ("[", "{", '"', "'"):
        return _toml_value(text, key, rest)
    size = len(_PLAIN.match(rest)[0])  # type: ignore[index]
    return EnvironmentText(rest[:size].strip()), size


def _toml_value(text: str, key: str, rest: str) -> tuple[Any, int]:
    """It ends where it is whole: at one of the commas, or at the end."""
    for size in [*(found.start() for found in re.finditer(",", rest)), len(rest)]:
        try:
            return tomllib.loads(f"value = {rest[:size]}")["value"], size
        except tomllib.TOMLDecodeError:
            continue
    items = _PLAIN_ITEMS.match(rest)
    if items is None:
        raise ConfigError(
            [ConfigProblem(f"--use {text}", f"{key}: cannot read {rest} (is a quote or bracket missing?)")]
        )
    return [EnvironmentText(item.strip()) for item in items[1].split(",") if item.strip()], items.end()
