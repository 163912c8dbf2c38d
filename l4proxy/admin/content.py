"""What a page says, and its two forms: aligned text for people, JSON for programs.

Both are made piece by piece, so that a page about ten thousand connections does not hold them up. Whatever a stranger
may have chosen (names, server names) is shown without control characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from l4proxy.admin.http import HttpError, Request, Response
from l4proxy.terminal import printable
from l4proxy.turns import in_turns

__all__ = [
    "Column",
    "Content",
    "human_bytes",
    "human_seconds",
    "joined",
    "json_pieces",
    "json_response",
    "outline",
    "records",
    "render",
    "table",
    "wants_json",
]

JSON = "application/json"

_AMOUNT = re.compile(r"-|-?\d+(\.\d+)?( ?[A-Za-z]{1,3}(\d+[smh])?)?")
"""What stands to the right in its column: ``12``, ``1.5 KiB``, ``3m05s``."""


@dataclass(slots=True)
class Content:
    """``data`` is JSON-able, ``text`` makes lines of it, each with its line feed."""

    data: Any
    text: Callable[[Any], Iterable[str]]


async def render(content: Content, request: Request) -> Response:
    """In the form that the request asks for: ``?format=``, else what it accepts."""
    if wants_json(request):
        return await json_response(content.data)
    return Response(await joined(content.text(content.data)))


async def json_response(data: Any) -> Response:
    return Response(await joined(json_pieces(data)), content_type=JSON)


def json_pieces(data: Any) -> Iterator[str]:
    from json import JSONEncoder

    yield from JSONEncoder(indent=2).iterencode(data)
    yield "\n"


async def joined(pieces: Iterable[str]) -> bytes:
    return "".join([piece async for piece in in_turns(pieces)]).encode()


def wants_json(request: Request) -> bool:
    """Raises HttpError for a format that a page does not have."""
    form = request.parameters.get("format", "")
    if form not in ("", "json", "text"):
        raise HttpError(HTTPStatus.BAD_REQUEST, f"there is no format {form!r} here (json or text)")
    return form == "json" or (not form and JSON in request.headers.get("accept", ""))


def table(head: Sequence[str], rows: Iterable[Sequence[str | int]], indent: str = "") -> Iterator[str]:
    """Aligned columns, numbers to the right. Empty text is shown as ``-``.

    Yields empty pieces while it measures the rows: long tables are made in turns.
    """
    cells: list[list[str]] = []
    widths = [len(title) for title in head]
    to_the_right = [True] * len(head)
    for row in rows:
        line = [str(cell) if isinstance(cell, int) else printable(cell) or "-" for cell in row]
        for at, text in enumerate(line):
            widths[at] = max(widths[at], len(text))
            to_the_right[at] &= _AMOUNT.fullmatch(text) is not None
        cells.append(line)
        yield ""
    if not cells:
        to_the_right = [False] * len(head)
    for line in [list(head), *cells]:
        aligned = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, to_the_right, strict=True)
        ]
        yield f"{indent}{'  '.join(aligned).rstrip()}\n"


Column = str | Callable[[dict[str, Any]], str | int]
"""What stands in a column: the name of a row's value, or a function of the row."""


def records(columns: Mapping[str, Column], rows: Iterable[dict[str, Any]], indent: str = "") -> Iterator[str]:
    """A table of rows that are data; ``columns`` maps titles to what stands below them."""
    return table(list(columns), ([_cell(row, column) for column in columns.values()] for row in rows), indent)


def _cell(row: dict[str, Any], column: Column) -> str | int:
    value = row[column] if isinstance(column, str) else column(row)
    return (
        value if isinstance(value, int) and not isinstance(value, bool) else "" if value in ("", []) else _plain(value)
    )


def outline(data: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Names and values below one another, what is nested indented."""
    width = max((len(name) for name, value in data.items() if not isinstance(value, dict)), default=0)
    for name, value in data.items():
        if isinstance(value, dict):
            yield f"{indent}{printable(name)}:\n"
            yield from outline(value, indent + "  ")
        else:
            yield f"{indent}{printable(name)}: {' ' * (width - len(name))}{_plain(value)}".rstrip() + "\n"


def _plain(value: Any) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_plain(item) for item in value) or "-"
        case dict():
            return " ".join(f"{key}={_plain(item)}" for key, item in value.items()) or "-"
    return printable(str(value))


def human_bytes(count: int) -> str:
    """``512 B``, ``1.5 KiB``, ``12 MiB``: three digits at most."""
    if count < 1024:
        return f"{count} B"
    size, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if size < 999.5:
            break
        size, unit = size / 1024, larger
    return f"{size:.3g} {unit}" if size < 999.5 else f"{size:.0f} {unit}"


def human_seconds(seconds: float) -> str:
    """``0.25s``, ``12s``, ``3m05s``, ``2h03m``, ``4d05h``: two units at most."""
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"
