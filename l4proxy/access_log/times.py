"""Points in time as text: strftime's directives, and Envoy's for fractions of a second."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import chain

__all__ = ["ISO_8601", "time_formatter"]

ISO_8601 = "%Y-%m-%dT%H:%M:%S.%3fZ"

_DIRECTIVE = re.compile(r"(?<!%)((?:%%)*)%([1-9]?f|s)")


def time_formatter(pattern: str, *, local: bool = False) -> Callable[[float], str]:
    """Compile ``pattern`` into a function from seconds since the epoch to text, in UTC or in local time.

    Beside strftime's directives there are ``%s`` (whole seconds since the epoch) and ``%1f`` to ``%9f`` (so many digits
    of the fraction; ``%f`` means nine). What does not change within a second is formatted once per second.
    """
    split = time.localtime if local else time.gmtime
    texts, digits, tail = _pieces(pattern)
    last_second, formatted, end = -1, texts, ""
    if digits == [3]:
        return _with_milliseconds(texts[0], tail, split)

    def format_time(at: float) -> str:
        nonlocal last_second, formatted, end
        second, microseconds = divmod(round(at * 1_000_000), 1_000_000)
        if second != last_second:
            moment = split(second)
            formatted = [time.strftime(text, moment) for text in texts]
            end = time.strftime(tail, moment)
            last_second = second
        fraction = f"{microseconds:06}000"
        ours = [fraction[:count] if count else str(second) for count in digits]
        return "".join(chain.from_iterable(zip(formatted, ours, strict=True))) + end

    return format_time


def _with_milliseconds(head: str, tail: str, split: Callable[[float], time.struct_time]) -> Callable[[float], str]:
    """The usual one, for which there is little to do; under load, many records are of the same millisecond."""
    last, last_second, before, after, text = -1, -1, "", "", ""

    def format_time(at: float) -> str:
        nonlocal last, last_second, before, after, text
        milliseconds = round(at * 1_000_000) // 1000
        if milliseconds != last:
            last, second = milliseconds, milliseconds // 1000
            if second != last_second:
                moment = split(second)
                before, after = time.strftime(head, moment), time.strftime(tail, moment)
                last_second = second
            text = f"{before}{milliseconds % 1000:03}{after}"
        return text

    return format_time


def _pieces(pattern: str) -> tuple[list[str], list[int], str]:
    """Split at our own directives: the texts before each, the digits of each (0: ``%s``), the text after the last."""
    texts, digits = [], []
    at = 0
    for found in _DIRECTIVE.finditer(pattern):
        texts.append(pattern[at : found.start()] + found[1])
        digits.append(0 if found[2] == "s" else int(found[2][:-1] or 9))
        at = found.end()
    return texts, digits, pattern[at:]
