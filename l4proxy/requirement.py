"""``l4proxy_requires = ">=0.1, <2"``: which versions of l4proxy a plugin was written for.

The part of PEP 440 that such a line needs: comparisons of released versions. What follows the numbers
(``0.2.0.dev1``) is not compared. A plugin with a pyproject says the same in ``dependencies``, where pip reads it; a
one-file plugin has only this.
"""

from __future__ import annotations

import operator
import re

__all__ = ["satisfies"]

_CLAUSE = re.compile(r"(>=|<=|==|!=|<|>)\s*(\d+(?:\.\d+)*)")
_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


def satisfies(version: str, requirement: str) -> bool:
    """Whether ``version`` meets every clause of ``requirement``. Raises ValueError when that is not written as it
    should be."""
    have = _numbers(version)
    for text in requirement.split(","):
        clause = _CLAUSE.fullmatch(text.strip())
        if clause is None:
            raise ValueError(f"{text.strip()!r} is not a requirement, such as '>=0.1' or '>=0.1, <2'")
        if not _COMPARE[clause[1]](have, _numbers(clause[2])):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """``(1, 2)`` for ``1.2.0``: trailing zeros are dropped, so that 1.2 and 1.2.0 are equal."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
