"""Regular expressions that cannot keep the proxy busy.

``?filter=`` takes a regular expression, and Python's engine can be made to try for ever by twenty characters, holding
the interpreter's lock meanwhile. What it takes are repetitions inside repetitions, or many of them in a row. Filters
need neither, so neither is allowed, and the worst that is left is over in twenty milliseconds.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from l4proxy.admin.http import HttpError

__all__ = ["compile_filter", "found_in"]

MAX_LENGTH = 200
"""Characters of an expression, and of the text that it is looked for in."""
MAX_REPETITIONS = 2

_ONE_CHARACTER = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
"""An escape, or a set in brackets: whatever is inside, it repeats nothing."""


def compile_filter(text: str) -> re.Pattern[str]:
    """Raises HttpError for what is no regular expression or could take too long."""
    if len(text) > MAX_LENGTH:
        raise _refused(f"it has more than {MAX_LENGTH} characters")
    if re.search(r"\\[1-9]", text):
        raise _refused("it refers back to a group")
    bare = _ONE_CHARACTER.sub("x", text)
    if "(?" in bare:
        raise _refused("groups with (? are not understood here")
    if re.search(r"\)[*+?{]", bare):
        raise _refused("a group is repeated")
    if len(re.findall(r"[*+?{]+", bare)) > MAX_REPETITIONS:
        raise _refused(f"it has more than {MAX_REPETITIONS} repetitions")
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise _refused(str(error)) from None


def found_in(pattern: re.Pattern[str], text: str) -> bool:
    """Whether the expression is found in the first 200 characters."""
    return pattern.search(text[:MAX_LENGTH]) is not None


def _refused(why: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, f"the filter is not a regular expression that can be used: {why}")
