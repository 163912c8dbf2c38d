"""Patterns of names, as options of message filters have them: text in which a star stands for any text."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Patterns"]


class Patterns:
    """``matches(name)``: whether a name is one of these, or like one. Without patterns none is."""

    def __init__(self, patterns: Iterable[str]) -> None:
        texts = [".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns]
        self._match = re.compile("|".join(texts) or "(?!)", re.DOTALL).fullmatch

    def matches(self, name: str) -> bool:
        return self._match(name) is not None
