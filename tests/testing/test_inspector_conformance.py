"""The conformance suite of inspectors: a good one passes, each way of being bad is found."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.filter import Side
from l4proxy.inspector import Link
from l4proxy.table import Column, Table
from l4proxy.testing import check_inspector
from line_inspector import LineConversation, LineExchange, LineInspector

CLIENT, SERVER = Side.CLIENT, Side.UPSTREAM
SCRIPT = [(CLIENT, b"GET a\nPUT b c\n"), (SERVER, b"OK 1\nERR no\n"), (CLIENT, b"QUIET x\n")]
SEEN = [
    ("GET", "", {"asked": "a", "answer": "1"}),
    ("PUT", "no", {"asked": "b c", "answer": "no"}),
    ("QUIET", "", {"asked": "x", "answer": ""}),
]


def check(conversation: type[LineConversation], **more: Any) -> None:
    class Tried(LineInspector):
        def conversation(self, link: Link) -> LineConversation:
            return conversation(self, link)

    check_inspector(Tried, SCRIPT, SEEN, **more)


def test_a_good_inspector_passes() -> None:
    check(LineConversation, bad=[b"1\n", b"x" * 2000])


def test_chunks_that_are_taken_for_lines() -> None:
    class Careless(LineConversation):
        def lines(self, side: Side, data: bytes) -> list[bytes]:
            return data.splitlines()

    with pytest.raises(AssertionError, match="fed byte by byte"):
        check(Careless)


def test_other_exchanges() -> None:
    with pytest.raises(AssertionError, match=r"(?s)fed whole.*expected \[\('GET'.*but it is \[\('GET'"):
        check_inspector(LineInspector, SCRIPT[:2], SEEN)


def test_metrics_that_only_count_while_somebody_looks() -> None:
    class Shy(LineConversation):
        def client_data(self, data: bytes, at: float) -> None:
            if self.inspector.on_exchange is not None:
                super().client_data(data, at)

    with pytest.raises(AssertionError, match="while nobody wants exchanges, metrics"):
        check(Shy)


def test_a_mistake_that_shows_behind_a_gap() -> None:
    class Trusting(LineConversation):
        def lost(self, side: Side, size: int | None, at: float) -> bool:
            return size + 1 > 0  # type: ignore[operator]

    with pytest.raises(TypeError):
        check(Trusting)


def test_a_mistake_that_shows_with_damaged_bytes() -> None:
    class Fragile(LineConversation):
        def tell(self, at: float, line: bytes, answer: bytes | None, seconds: float | None) -> None:
            line.decode("ascii")
            super().tell(at, line, answer, seconds)

    with pytest.raises(AssertionError, match=r"raised UnicodeDecodeError"):
        check(Fragile, rounds=50)


def test_bad_bytes_that_are_taken() -> None:
    with pytest.raises(AssertionError, match="the watching does not end"):
        check(LineConversation, bad=[b"GET a\n"])


def test_a_row_that_does_not_fit_its_table() -> None:
    class Rows(LineInspector):
        def tables(self) -> list[Table]:
            return [Table("t", (Column("a"), Column("b")), lambda: [("x",)])]

    with pytest.raises(AssertionError, match=r"table 't': \('x',\) is no row of its 2 columns"):
        check_inspector(Rows, SCRIPT, SEEN)


def test_an_exchange_that_cannot_be_shown() -> None:
    class Silent(LineExchange):
        def text(self) -> str:
            raise LookupError

    class Conversation(LineConversation):
        def tell(self, at: float, line: bytes, answer: bytes | None, seconds: float | None) -> None:
            if self.inspector.on_exchange is not None:
                self.inspector.on_exchange(Silent(self.link, at, line, answer, seconds))

    with pytest.raises(LookupError):
        check(Conversation)
