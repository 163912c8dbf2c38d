"""A toy protocol for tests of whatever watches: lines ``KIND text``, each answered in order by ``OK text`` or ``ERR
CODE``. ``QUIET`` has no answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from l4proxy.codec import RemoteProtocolError
from l4proxy.exchange import Exchange, Selector
from l4proxy.filter import Side
from l4proxy.inspector import Conversation, Framer, Inspector, Link, StopWatching
from l4proxy.plugins.observer import Observer
from l4proxy.stats import SECONDS, Stats, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry
from l4proxy.table import Column, ColumnKind, Table


@dataclass(frozen=True, slots=True)
class LineConfig:
    longest: int = 1000
    """Bytes of a line; a longer one is none."""
    show: bool = False
    """Whether texts are shown."""


class LineStats(Stats, subsystem="line"):
    requests_total = labelled_counter("Requests, by kind.", label="kind")
    errors_total = labelled_counter("Errors, by code.", label="code")
    request_seconds = histogram("How long answers took.", buckets=SECONDS)


class LineExchange(Exchange):
    __slots__ = ("answer", "asked")

    def __init__(self, link: Link, at: float, line: bytes, answer: bytes | None, seconds: float | None) -> None:
        kind, _, text = line.decode(errors="replace").partition(" ")
        word, _, told = ("", "", "") if answer is None else answer.decode(errors="replace").partition(" ")
        size = 0 if answer is None else len(answer) + 1
        error = told if word == "ERR" else ""
        super().__init__(link, at, kind, seconds, error=error, request_bytes=len(line) + 1, response_bytes=size)
        self.asked = text
        self.answer = told

    def fields(self) -> Mapping[str, Any]:
        return {"asked": self.asked, "answer": self.answer}


class LineConversation(Conversation):
    def __init__(self, inspector: LineInspector, link: Link) -> None:
        self.inspector = inspector
        self.link = link
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.kept = {Side.CLIENT: b"", Side.UPSTREAM: b""}
        self.lost_track = {Side.CLIENT: link.midway, Side.UPSTREAM: link.midway}

    def lines(self, side: Side, data: bytes) -> list[bytes]:
        *lines, rest = (self.kept[side] + data).split(b"\n")
        if max(map(len, [*lines, rest])) > self.inspector.config.longest:
            raise RemoteProtocolError("a line is too long", code="line_too_long")
        self.kept[side] = rest
        if lines and self.lost_track[side]:
            self.lost_track[side] = False
            del lines[0]
        return lines

    def client_data(self, data: bytes, at: float) -> None:
        for line in self.lines(Side.CLIENT, data):
            kind = line.partition(b" ")[0]
            if not kind.isalpha():
                raise RemoteProtocolError(f"{kind[:20]!r} is no kind", code="bad_kind")
            if kind == b"STOP":
                raise StopWatching("stop", "the client wants no watching")
            if kind == b"BUG":
                raise ZeroDivisionError("bug")
            self.inspector.line_stats.requests_total.add(kind.decode())
            if kind == b"QUIET":
                self.tell(at, line, None, None)
            elif len(self.waiting) < 100:
                self.waiting.append((at, line))

    def server_data(self, data: bytes, at: float) -> None:
        for line in self.lines(Side.UPSTREAM, data):
            if line.startswith(b"ERR "):
                self.inspector.line_stats.errors_total.add(line[4:].decode(errors="replace"))
            if self.waiting:
                asked, request = self.waiting.popleft()
                self.inspector.line_stats.request_seconds.record(at - asked)
                self.tell(asked, request, line, at - asked)

    def tell(self, at: float, line: bytes, answer: bytes | None, seconds: float | None) -> None:
        if self.inspector.on_exchange is not None:
            self.inspector.on_exchange(LineExchange(self.link, at, line, answer, seconds))

    def lost(self, side: Side, size: int | None, at: float) -> bool:
        self.kept[side] = b""
        self.lost_track[side] = True
        self.waiting.clear()
        return True

    def close(self, at: float) -> None:
        self.waiting.clear()


class LineInspector(Inspector[LineConfig]):
    """Read conversations in lines."""

    name = "line"
    ports: ClassVar[tuple[int, ...]] = (7777,)
    kind_word = "word"
    selectors = (Selector("text", "TEXT", "what was asked", lambda exchange: (exchange.asked,)),)

    def __init__(self, config: LineConfig, stats: StatsRegistry) -> None:
        super().__init__(config, stats)
        self.line_stats = stats.group(LineStats)

    def conversation(self, link: Link) -> LineConversation:
        link.state["line:midway"] = link.midway
        return LineConversation(self, link)

    def tables(self) -> Sequence[Table]:
        requests = self.line_stats.requests_total
        columns = (Column("word"), Column("requests", ColumnKind.NUMBER), Column("per second", ColumnKind.RATE))
        return [Table("words", columns, lambda: [(word, requests[word], requests[word]) for word in requests])]

    def framer(self, side: Side) -> Framer:
        kept = b""

        def cut(data: bytes) -> list[bytes]:
            nonlocal kept
            *lines, kept = (kept + data).split(b"\n")
            return [line + b"\n" for line in lines]

        return cut


class LineObserver(Observer[LineConfig]):
    """Watch conversations in lines."""

    name = "line"
    inspector = LineInspector
