"""Values as people read them in a table."""

from __future__ import annotations

import time
import unicodedata

from l4proxy.table import Cell, ColumnKind
from l4proxy.terminal import printable

__all__ = ["cell_text", "clock_text", "fitted", "is_number", "seconds_text", "size_text", "width_of"]

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def is_number(kind: ColumnKind) -> bool:
    """Whether a column's values stand at its right edge."""
    return kind not in (ColumnKind.TEXT, ColumnKind.TIME)


def cell_text(kind: ColumnKind, value: Cell) -> str:
    """One value; nothing for None. Rates are given as numbers per second."""
    if value is None:
        return ""
    if isinstance(value, str):
        return printable(value)
    match kind:
        case ColumnKind.BYTES:
            return size_text(value)
        case ColumnKind.BYTE_RATE:
            return f"{size_text(value)}/s"
        case ColumnKind.SECONDS:
            return seconds_text(value)
        case ColumnKind.RATIO:
            return f"{value:.1%}"
        case ColumnKind.TIME:
            return clock_text(value)
        case ColumnKind.RATE:
            return f"{value:,.0f}" if value >= 100 or not value else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def size_text(size: float) -> str:
    """``1.2 MiB``; whole bytes below 10000."""
    if abs(size) < 10_000:
        return f"{size:.0f} B"
    for unit in _SIZES:
        if abs(size) < 1000 or unit == _SIZES[-1]:
            return f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def seconds_text(seconds: float) -> str:
    """``250 us``, ``1.25 ms``, ``3.2 s``, ``5 min``."""
    size = abs(seconds)
    if size < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if size < 0.1:
        return f"{seconds * 1e3:.2f} ms"
    if size < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if size < 300 else f"{seconds / 60:.0f} min"


def clock_text(at: float, digits: int = 3) -> str:
    """``12:00:01.250``, in local time."""
    whole, fraction = divmod(round(at * 10**digits), 10**digits)
    return time.strftime("%H:%M:%S", time.localtime(whole)) + (f".{fraction:0{digits}}" if digits else "")


def width_of(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` columns, cut off with an ellipsis where it is longer."""
    size = width_of(text)
    if size > width:
        kept, size = "", 0
        for c in text:
            if size + width_of(c) > width - 1:
                break
            kept += c
            size += width_of(c)
        text, size = (kept + "…", size + 1) if width else ("", 0)
    space = " " * (width - size)
    return space + text if right else text + space
