"""The live view: tables on a terminal, once a second and with every key."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from l4proxy.exchange import Exchange
from l4proxy.inspector import Inspector
from l4proxy.plugins.sniff.browser import Browser
from l4proxy.plugins.sniff.cells import clock_text
from l4proxy.plugins.sniff.rows import Rates
from l4proxy.plugins.sniff.screen import REVERSE, Head, screen
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.plugins.sniff.source import Source
from l4proxy.plugins.sniff.terminal_io import Terminal
from l4proxy.table import Column, ColumnKind, Row, Table
from l4proxy.terminal import BOLD, DIM, Painter, paint, wants_colour

__all__ = ["LiveView", "can_be_live"]

KEPT = 1000
"""Exchanges of which the last ones are shown."""
INTERVAL = 1.0
RETRY = 0.1
"""Seconds until a terminal is asked again that has not yet taken the last frame."""
MESSAGE_SECONDS = 10.0
"""For how long a line of the log is shown."""

Facts = Callable[[], Iterable[tuple[str, str]]]


def can_be_live() -> bool:
    """Whether there is a terminal to draw on, and to take keys from."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return sys.stdin.isatty() or os.access("/dev/tty", os.R_OK | os.W_OK)


class LiveView:
    """Shows the inspector's tables, the last exchanges, and the connections that there are."""

    def __init__(self, inspector: type[Inspector[Any]]) -> None:
        self._exchanges: deque[Row] = deque(maxlen=KEPT)
        self._kind_word = inspector.kind_word
        self._log = _LastMessage()
        self._wake = asyncio.Event()
        self._paint: Painter = paint if wants_colour(sys.stdout) else _without_colour

    def exchange(self, exchange: Exchange) -> None:
        self._exchanges.append((
            exchange.at,
            str(exchange.link.client),
            exchange.kind,
            exchange.seconds,
            exchange.request_bytes or None,
            exchange.response_bytes or None,
            exchange.error,
            exchange.text(),
        ))  # fmt: skip

    def flush(self) -> None:
        """There is nothing to be flushed."""

    def _tables(self, sight: Sight) -> list[Table]:
        exchanges = Table(
            "exchanges",
            (
                Column("time", ColumnKind.TIME),
                Column("client"),
                Column(self._kind_word),
                Column("took", ColumnKind.SECONDS),
                Column("sent", ColumnKind.BYTES),
                Column("received", ColumnKind.BYTES),
                Column("error"),
                Column("about"),
            ),
            lambda: tuple(self._exchanges),
            keys=3,
            sort="time",
        )
        columns = (Column("connection", ColumnKind.NUMBER), Column("client"), Column("server"), Column("known"))

        def rows() -> Iterable[Row]:
            for watched in sight.watch.active:
                link = watched.link
                known = ", ".join(f"{key.partition(':')[2]} {value}" for key, value in link.state.items() if value)
                yield link.id, str(link.client), None if link.server is None else str(link.server), known

        return [*sight.watch.inspector.tables(), exchanges, Table("connections", columns, rows)]

    async def run(self, sight: Sight, source: Source, title: str, facts: Facts) -> None:
        """Until ``q``. The log is shown here meanwhile."""
        browser = Browser(self._tables(sight), sight.choice, source.now, Rates(source.began))
        self._browser = browser
        terminal = Terminal()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._resized, terminal)
        loop.add_reader(terminal.fd, self._keys, terminal, browser)
        with self._log:
            try:
                terminal.enter()
                while not browser.quit:
                    self._wake.clear()
                    ready = terminal.ready
                    if ready:
                        self._draw(terminal, browser, Head(title, "", tuple(facts())))
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), INTERVAL if ready else RETRY)
            finally:
                loop.remove_reader(terminal.fd)
                loop.remove_signal_handler(signal.SIGWINCH)
                await terminal.leave()

    def ended(self) -> None:
        """There is nothing more to come: rates are those of all of the time."""
        self._browser.averages = True
        self._wake.set()

    def _keys(self, terminal: Terminal, browser: Browser) -> None:
        for key in terminal.read_keys():
            if key == "redraw":
                terminal.forget()
            browser.key(key)
        self._wake.set()

    def _resized(self, terminal: Terminal) -> None:
        terminal.forget()
        self._wake.set()

    def _draw(self, terminal: Terminal, browser: Browser, head: Head) -> None:
        columns, lines = terminal.size
        at = browser.now()
        browser.refresh()
        head = head._replace(clock=clock_text(at, 0) if at else "", message=self._log.message)
        terminal.draw(screen(browser, head, columns, lines, self._paint))


def _without_colour(text: str, style: str) -> str:
    return paint(text, style) if style in (BOLD, DIM, REVERSE) else text


class _LastMessage(logging.Handler):
    """Takes the place of the log's handlers while there is a screen, and gives back what it got at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque(maxlen=50)
        self._at = 0.0
        self._handlers: Sequence[logging.Handler] = ()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)
        self._at = time.monotonic()

    @property
    def message(self) -> str:
        """The last one, for a while."""
        if not self._records or time.monotonic() - self._at > MESSAGE_SECONDS:
            return ""
        record = self._records[-1]
        return f"{record.levelname} {record.getMessage()}"

    def __enter__(self) -> None:
        self._handlers = logging.root.handlers[:]
        logging.root.handlers[:] = [self]

    def __exit__(self, *_: object) -> None:
        logging.root.handlers[:] = self._handlers
        for record in self._records:
            if record.levelno >= logging.WARNING:
                logging.root.handle(record)
