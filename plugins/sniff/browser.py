"""What a live view shows and how keys change it, without a terminal: which table, which rows, sorted how.

`screen` draws it; `live` brings keys, time and terminal together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from l4proxy.plugins.sniff.cells import cell_text, is_number
from l4proxy.plugins.sniff.choice import Choice
from l4proxy.plugins.sniff.rows import Rates, chosen_rows, sorted_rows
from l4proxy.table import Cell, ColumnKind, Row, Table

__all__ = ["Browser", "Place"]


@dataclass(slots=True)
class Place:
    """A table as it is looked at. ``opened`` is the row that led here: titles of columns, and their values."""

    table: Table
    sort: int
    descending: bool
    opened: tuple[tuple[str, Cell], ...] = ()
    selected: Row | None = None
    """The key of the selected row: it stays selected wherever it moves."""
    row: int = 0
    """Its place, for when it is gone."""
    top: int = 0
    """The first row that is shown."""
    filter: str = ""

    @classmethod
    def of(cls, table: Table, opened: tuple[tuple[str, Cell], ...] = ()) -> Place:
        titles = [column.title for column in table.columns]
        sort = titles.index(table.sort) if table.sort else 0
        return cls(table, sort, _goes_down(table, sort), opened)


def _goes_down(table: Table, column: int) -> bool:
    """Numbers and times are sorted largest first, texts from A to Z."""
    kind = table.columns[column].kind
    return is_number(kind) or kind is ColumnKind.TIME


@dataclass(slots=True)
class Browser:
    """``page`` is how many rows there is room for; ``now`` the time of what is seen."""

    tables: Sequence[Table]
    choice: Choice
    now: Callable[[], float]
    rates: Rates
    page: int = 20
    at: int = 0
    paused: bool = False
    typing: bool = False
    """A filter is being typed."""
    help: bool = False
    quit: bool = False
    averages: bool = False
    """Rates are over all of the time, for what is looked at is over."""
    _ways: list[list[Place]] = field(default_factory=list)
    """For each table the places that were opened from it, the current one last."""
    _rows: list[Row] = field(default_factory=list)
    _frozen: dict[str, list[Row]] = field(default_factory=dict)
    _stale: bool = False
    """Whether a key may have changed which rows there are, or their order."""

    def __post_init__(self) -> None:
        self._ways = [[Place.of(table)] for table in self.tables]

    @property
    def way(self) -> list[Place]:
        return self._ways[self.at]

    @property
    def place(self) -> Place:
        return self.way[-1]

    @property
    def rows(self) -> list[Row]:
        """The rows as they were last refreshed."""
        return self._rows

    def refresh(self) -> None:
        """Ask the inspector for rows anew, unless paused, and put them in order."""
        place = self.place
        table = place.table
        name = f"{table.name} {place.opened}"
        if not self.paused or name not in self._frozen:
            rows = chosen_rows(table, self.choice, place.opened)
            rates = self.rates.average if self.averages else self.rates.apply
            rows = rates(table, rows, self.now())
            self._frozen = {**self._frozen, name: rows} if self.paused else {}
        else:
            rows = self._frozen[name]
        if place.filter:
            rows = [row for row in rows if self._has(table, row, place.filter.lower())]
        self._rows = sorted_rows(rows, place.sort, descending=place.descending)
        self._stale = False
        self._find_selected()

    @staticmethod
    def _has(table: Table, row: Row, text: str) -> bool:
        return any(
            text in cell_text(column.kind, value).lower() for column, value in zip(table.columns, row, strict=True)
        )

    def _find_selected(self) -> None:
        place, keys = self.place, self.place.table.keys
        if place.selected is not None:
            for at, row in enumerate(self._rows):
                if row[:keys] == place.selected:
                    place.row = at
                    break
        self._move_to(place.row, follow=place.selected is not None)

    def _move_to(self, row: int, *, follow: bool = True) -> None:
        place = self.place
        place.row = max(0, min(row, len(self._rows) - 1))
        if follow:
            place.selected = self._rows[place.row][: place.table.keys] if self._rows else None
        place.top = max(0, min(place.top, len(self._rows) - self.page, place.row))
        place.top = max(place.top, place.row - self.page + 1)

    # Keys

    def key(self, key: str) -> None:
        """A key was pressed. Rows are to be refreshed then; of several keys at once, behind the last of them."""
        if self._stale and key in _OF_ROWS and not (self.typing or self.help):
            self.refresh()
        self._stale = self._stale or key not in _MOVES
        if self.typing:
            self._type(key)
        elif self.help:
            self.help = False
        elif key in _ACTIONS:
            _ACTIONS[key](self)
        elif key.isdigit() and 0 < int(key) <= len(self.tables):
            self.at = int(key) - 1

    def _type(self, key: str) -> None:
        place = self.place
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing, place.filter = False, ""
        elif key == "backspace":
            place.filter = place.filter[:-1]
        elif len(key) == 1:
            place.filter += key

    def _move(self, by: int) -> None:
        self._move_to(self.place.row + by)

    def _page(self, by: int) -> None:
        self._move(by * max(1, self.page - 1))

    def _first(self) -> None:
        """To the top, and stay there: rows that come in there are seen."""
        self.place.selected = None
        self._move_to(0, follow=False)

    def _next_table(self, by: int) -> None:
        self.at = (self.at + by) % len(self.tables)

    def _sort(self, by: int) -> None:
        place = self.place
        place.sort = (place.sort + by) % len(place.table.columns)
        place.descending = _goes_down(place.table, place.sort)

    def _reverse(self) -> None:
        self.place.descending = not self.place.descending

    def _open(self) -> None:
        """The rows of another table that belong to the selected one."""
        place = self.place
        into = next((table for table in self.tables if table.name == place.table.into), None)
        if into is None or not self._rows:
            return
        row = self._rows[place.row]
        titles = {column.title for column in into.columns}
        opened = tuple(
            (column.title, value)
            for column, value in zip(place.table.columns[: place.table.keys], row, strict=False)
            if column.title in titles
        )
        self.way.append(Place.of(into, opened))

    def _back(self) -> None:
        """One step: out of the filter, or out of the row that was opened."""
        if self.place.filter:
            self.place.filter = ""
        elif len(self.way) > 1:
            self.way.pop()

    def _toggle_pause(self) -> None:
        self.paused = not self.paused
        self._frozen = {}

    def _begin_typing(self) -> None:
        self.typing = True

    def _show_help(self) -> None:
        self.help = True

    def _quit(self) -> None:
        self.quit = True


_MOVES = {"up", "k", "down", "j", "page_up", "page_down", "home", "g", "end", "G"}
_OF_ROWS = _MOVES | {"enter"}
"""What is done to a row of those that are shown."""
_ACTIONS: dict[str, Callable[[Browser], None]] = {
    "up": lambda browser: browser._move(-1),
    "k": lambda browser: browser._move(-1),
    "down": lambda browser: browser._move(1),
    "j": lambda browser: browser._move(1),
    "page_up": lambda browser: browser._page(-1),
    "page_down": lambda browser: browser._page(1),
    "home": Browser._first,
    "g": Browser._first,
    "end": lambda browser: browser._move(len(browser._rows)),
    "G": lambda browser: browser._move(len(browser._rows)),
    "left": lambda browser: browser._next_table(-1),
    "right": lambda browser: browser._next_table(1),
    "enter": Browser._open,
    "escape": Browser._back,
    "backspace": Browser._back,
    "s": lambda browser: browser._sort(1),
    "S": lambda browser: browser._sort(-1),
    "r": Browser._reverse,
    "/": Browser._begin_typing,
    "p": Browser._toggle_pause,
    " ": Browser._toggle_pause,
    "?": Browser._show_help,
    "h": Browser._show_help,
    "q": Browser._quit,
}
