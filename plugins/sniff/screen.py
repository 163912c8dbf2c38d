"""A browser's state as the lines of a screen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from l4proxy.plugins.sniff.browser import Browser, Place
from l4proxy.plugins.sniff.cells import cell_text, fitted
from l4proxy.plugins.sniff.grid import grid
from l4proxy.terminal import BOLD, CYAN, DIM, RED, YELLOW, Painter, printable

__all__ = ["HELP", "Head", "screen"]

REVERSE = "7"
KEYS = "q quit  ? help  ←→ tables  ↑↓ rows  Enter open  Esc back  s sort  r reverse  / filter  p pause"
HELP = """
  ← →  Tab  1 2 3   the other tables
  ↑ ↓  PgUp PgDn    move among the rows; Home goes to the top and stays there
  Enter             open the row: what belongs to it in another table
  Esc               back
  s  S              sort by the next column, by the one before
  r                 sort the other way round
  /                 show only rows with a text in them; Enter keeps it, Esc drops it
  p  Space          pause: what is shown stays as it is, what passes goes on
  q  Ctrl-C         quit, with a summary

  Any key goes on.
""".strip("\n").splitlines()


class Head(NamedTuple):
    """What stands above the tables. ``message`` is the last line of the log."""

    title: str
    clock: str
    facts: Sequence[tuple[str, str]]
    message: str = ""


def screen(browser: Browser, head: Head, columns: int, lines: int, paint: Painter) -> list[str]:
    """Exactly ``lines`` lines, each ``columns`` wide. Tells the browser how many rows there is room for."""
    above = [_title(browser, head, columns, paint), _facts(head, columns, paint), _tabs(browser, columns, paint)]
    below = [_message(head, columns, paint), _foot(browser, columns, paint)]
    room = max(0, lines - len(above) - len(below))
    if browser.help:
        body = [fitted(line, columns) for line in HELP[:room]]
    else:
        browser.page = max(1, room - 1)
        body = _table(browser, columns, room, paint)
    return [*above, *body, *[""] * (room - len(body)), *below][:lines]


def _title(browser: Browser, head: Head, columns: int, paint: Painter) -> str:
    state = " PAUSED" if browser.paused else " END" if browser.averages else ""
    right = f"{state} {head.clock}" if head.clock else state
    return paint(fitted(printable(head.title), max(0, columns - len(right))), BOLD) + paint(right[:columns], CYAN)


def _facts(head: Head, columns: int, paint: Painter) -> str:
    return paint(fitted("  ".join(f"{name} {printable(value)}" for name, value in head.facts), columns), DIM)


def _tabs(browser: Browser, columns: int, paint: Painter) -> str:
    """The names of the tables, the current one marked, with the way to where we are; cut off without breaking paint.
    Where they do not fit, those in front give way to the current one."""
    parts: list[tuple[str, str]] = []
    for at, table in enumerate(browser.tables):
        here = at == browser.at
        text = _way(browser.way) if here else table.name
        parts.append((f" {at + 1} {text} ", REVERSE if here else ""))
    first = 0
    while first < browser.at and sum(len(text) for text, _ in parts[first : browser.at + 1]) + bool(first) > columns:
        first += 1
    line = "…" if first else ""
    left = columns - len(line)
    for text, style in parts[first:]:
        shown = text if len(text) <= left else fitted(text, left)
        line += paint(shown, style) if style else shown
        left -= len(shown)
        if left <= 0:
            break
    return line


def _way(way: Sequence[Place]) -> str:
    texts = [way[0].table.name]
    for before, place in pairwise(way):
        texts[-1] += " " + "/".join(cell_text(before.table.columns[0].kind, value) for _, value in place.opened)
        texts.append(place.table.name)
    return " > ".join(texts)


def _table(browser: Browser, columns: int, room: int, paint: Painter) -> list[str]:
    place = browser.place
    marks = [(" ▼" if place.descending else " ▲") if at == place.sort else "" for at in range(len(place.table.columns))]
    shown = browser.rows[place.top : place.top + browser.page]
    header, *rows = grid(place.table.columns, shown, columns, marks)
    if not rows:
        nothing = "  nothing fits" if place.filter else "  nothing yet"
        return [paint(fitted(header, columns), BOLD), "", fitted(nothing, columns)][:room]
    painted = [
        paint(fitted(row, columns), REVERSE) if place.top + at == place.row else fitted(row, columns)
        for at, row in enumerate(rows)
    ]
    return [paint(fitted(header, columns), BOLD), *painted][:room]


def _message(head: Head, columns: int, paint: Painter) -> str:
    return paint(fitted(printable(head.message), columns), YELLOW) if head.message else ""


def _foot(browser: Browser, columns: int, paint: Painter) -> str:
    place = browser.place
    if browser.typing:
        return paint(fitted(f"/{place.filter}█", columns), BOLD)
    rows = f"{min(place.row + 1, len(browser.rows))}/{len(browser.rows)}"
    filtered = f"/{place.filter}  " if place.filter else ""
    left = max(0, columns - len(rows) - 1)
    return paint(filtered[:left], RED) + paint(fitted(KEYS, max(0, left - len(filtered))) + f" {rows}"[:columns], DIM)
