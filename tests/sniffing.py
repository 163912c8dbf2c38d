"""Watching a toy protocol, as tests of ``l4proxy sniff`` do it: in this process, or as a command of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import l4proxy
from l4proxy import PluginManager, Register, hookimpl
from l4proxy.exchange import Exchange
from l4proxy.filter import Peer
from l4proxy.inspector import Inspector, Link
from l4proxy.plugins.sniff.browser import Browser
from l4proxy.plugins.sniff.choice import Choice
from l4proxy.plugins.sniff.rows import Rates
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.stats_registry import StatsRegistry
from l4proxy.table import Column, ColumnKind, Row, Table
from line_inspector import LineConfig, LineExchange, LineInspector
from source_tree import ROOT

LINK = Link(7, Peer("192.0.2.1", 40000), Peer("192.0.2.2", 7777))

PLUGIN = """
import sys
sys.path.append({tests!r})
from l4proxy import hookimpl
from line_inspector import LineInspector, LineObserver

@hookimpl
def register_inspectors(register):
    register(LineInspector)

@hookimpl
def register_filters(register):
    register(LineObserver)
"""


class LinePlugin:
    @hookimpl
    def register_inspectors(self, register: Register[Any]) -> None:
        register(LineInspector)


def plugins() -> PluginManager:
    manager = PluginManager()
    manager.register(LinePlugin(), "line")
    return manager


class Seen:
    """A view that remembers."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def exchange(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    @property
    def lines(self) -> list[str]:
        """What was asked and answered, in order."""
        return [f"{one.kind} {one.text()}".strip() for one in self.exchanges]


def sight_of(
    *, begin: bool = True, inspector: type[Inspector[Any]] = LineInspector, **choice: Any
) -> tuple[Sight, Seen]:
    sight = Sight(inspector, LineConfig(), Choice(inspector, choice.pop("patterns", {}), **choice))
    seen = Seen()
    sight.views.append(seen)
    if begin:
        sight.begin(StatsRegistry())
    return sight, seen


def exchange(
    line: str = "GET a", answer: str | None = "OK 1", seconds: float | None = 0.25, at: float = 100.0
) -> LineExchange:
    return LineExchange(LINK, at, line.encode(), None if answer is None else answer.encode(), seconds)


def write_plugin(directory: Path) -> Path:
    """A directory for ``--plugin-dir`` that has the toy protocol."""
    directory.mkdir(exist_ok=True)
    (directory / "line.py").write_text(PLUGIN.format(tests=str(ROOT / "tests")))
    return directory


def command(plugin_dir: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "l4proxy", "sniff", *words, "--plugin-dir", str(plugin_dir)]


def environment() -> dict[str, str]:
    """Finds the same l4proxy as we do; times are those of UTC."""
    return {**os.environ, "PYTHONPATH": str(Path(l4proxy.__path__[0]).parent), "TZ": "UTC"}


def run(plugin_dir: Path, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(plugin_dir, *words), input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True, env=environment(), timeout=60,
    )  # fmt: skip


class Kept:
    """Two tables, the first of which leads into the second, and what is in them."""

    def __init__(self, topics: int = 5) -> None:
        self.now = 100.0
        self.topics: list[Row] = [(f"t{number}", number * 10, number) for number in range(topics)]
        self.partitions: list[Row] = [(f"t{number % topics}", number, number) for number in range(topics * 3)]
        self.asked = 0
        name, partition = Column("topic"), Column("partition", ColumnKind.NUMBER)
        count, rate = Column("records", ColumnKind.NUMBER), Column("per second", ColumnKind.RATE)
        topics_table = Table("topics", (name, count, rate), self.rows, into="partitions", sort="records")
        partitions_table = Table("partitions", (name, partition, count), lambda: self.partitions, keys=2)
        self.browser = Browser(
            [topics_table, partitions_table], Choice(LineInspector, {}), lambda: self.now, Rates(lambda: 90.0), page=3
        )
        self.browser.refresh()

    def rows(self) -> list[Row]:
        self.asked += 1
        return self.topics

    def press(self, *keys: str) -> Kept:
        for key in keys:
            self.browser.key(key)
            self.browser.refresh()
        return self

    @property
    def names(self) -> list[str]:
        """The first cells of the rows that are on the screen."""
        place = self.browser.place
        return [str(row[0]) for row in self.browser.rows[place.top : place.top + self.browser.page]]

    @property
    def selected(self) -> object:
        return self.browser.rows[self.browser.place.row][0]


def sniff_capture(protocol: str, capture: Path, *words: str) -> tuple[list[str], str]:
    """Lines of standard output of ``l4proxy sniff PROTOCOL --pcap``, and what is said beside it."""
    argv = [sys.executable, "-m", "l4proxy", "sniff", protocol, "--pcap", str(capture), *words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr
