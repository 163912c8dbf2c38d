from __future__ import annotations

import pytest

from l4proxy.exchange import Exchange
from l4proxy.inspector import Link
from l4proxy.plugins.sniff.sight import Recorded
from l4proxy.stats_registry import StatsRegistry
from sniffing import LINK, sight_of


class Tap:
    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def opened(self, link: Link, at: float) -> None:
        self.heard.append(("opened", link.id))

    def data(self, link: Link, from_client: bool, data: bytes, at: float) -> None:
        self.heard.append(("data", from_client, data))

    def eof(self, link: Link, from_client: bool, at: float) -> None:
        self.heard.append(("eof", from_client))

    def lost(self, link: Link, from_client: bool, size: int | None, at: float) -> None:
        self.heard.append(("lost", from_client, size))

    def stopped(self, link: Link, at: float) -> None:
        self.heard.append(("stopped", link.id))

    def closed(self, link: Link, at: float) -> None:
        self.heard.append(("closed", link.id))


def test_exchanges_are_shown_to_those_who_look() -> None:
    sight, seen = sight_of()
    connection = sight.connection(LINK, 1.0)
    connection.client_data(b"GET a\n", 1.0)
    connection.server_data(b"OK 1\n", 2.0)
    assert seen.lines == ["GET asked=a answer=1"]


def test_only_those_that_were_chosen() -> None:
    sight, seen = sight_of(patterns={"word": ["P*"]})
    sight.connection(LINK, 1.0).client_data(b"QUIET a\nGET b\n", 1.0)
    assert seen.lines == []


def test_where_nobody_looks_none_are_made() -> None:
    sight, _ = sight_of(begin=False)
    sight.views.clear()
    sight.begin(StatsRegistry())
    assert sight.watch.inspector.on_exchange is None


def test_a_view_that_fails_is_not_the_inspectors_fault() -> None:
    sight, seen = sight_of()

    def fail(exchange: Exchange) -> None:
        raise BrokenPipeError

    failures: list[Exception] = []
    sight.on_failure = failures.append
    seen.exchange = fail  # type: ignore[method-assign]
    connection = sight.connection(LINK, 1.0)
    connection.client_data(b"QUIET a\nQUIET b\n", 1.0)
    assert [type(error) for error in failures] == [BrokenPipeError]
    assert not connection.stopped
    sight, seen = sight_of()
    seen.exchange = fail  # type: ignore[method-assign]
    with pytest.raises(BrokenPipeError):
        sight.connection(LINK, 1.0).client_data(b"QUIET a\n", 1.0)


def test_a_tap_gets_everything_first_also_what_nobody_understands() -> None:
    sight, seen = sight_of()
    sight.tap = tap = Tap()
    connection = sight.connection(LINK, 1.0)
    assert isinstance(connection, Recorded)
    connection.client_data(b"QUIET a\n", 1.0)
    connection.client_lost(5, 1.0)
    connection.server_lost(None, 1.0)
    try:
        connection.client_data(b"\nSTOP\n", 1.0)
    except Exception as error:
        connection.failed(error, 1.0)
    assert not connection.stopped
    connection.server_data(b"anything", 1.0)
    connection.client_eof(1.0)
    connection.server_eof(1.0)
    connection.close(1.0)
    assert tap.heard == [
        ("opened", 7), ("data", True, b"QUIET a\n"), ("lost", True, 5), ("lost", False, None),
        ("data", True, b"\nSTOP\n"), ("stopped", 7), ("data", False, b"anything"), ("eof", True), ("eof", False),
        ("closed", 7),
    ]  # fmt: skip
    assert seen.lines == ["QUIET asked=a", "stop the client wants no watching"]
    assert sight.watch.active == set()
