from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import pytest

from l4proxy import logging_setup
from l4proxy.codec import RemoteProtocolError
from l4proxy.exchange import Exchange, Notice
from l4proxy.filter import Peer, Side
from l4proxy.inspector import Inspector, Link, StopWatching
from l4proxy.plugins.watch import LOOKS_FOR_TLS, InspectionStats, Watch, Watched
from l4proxy.stats_registry import StatsRegistry
from line_inspector import LineConfig, LineConversation, LineInspector

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
APPLICATION_DATA = b"\x17\x03\x03\x00\x20"
numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_setup, "_last_said", {})


class Sight:
    """A watch with all that it tells."""

    def __init__(self, inspector: type[Inspector[LineConfig]] = LineInspector) -> None:
        registry = StatsRegistry()
        self.inspector = inspector(LineConfig(), registry)
        self.seen: list[Exchange] = []
        self.inspector.on_exchange = self.seen.append
        self.watch = Watch(self.inspector, registry)
        self.stats = registry.group(InspectionStats, protocol=self.inspector.name)

    def begin(self, *, midway: bool = False) -> Watched:
        return self.watch.begin(Link(next(numbers), Peer("192.0.2.1", 40000), midway=midway))

    def feed(self, watched: Watched, *chunks: bytes, side: Side = Side.CLIENT) -> None:
        """As the source does it."""
        for data in chunks:
            try:
                (watched.client_data if side is Side.CLIENT else watched.server_data)(data, 1.0)
            except Exception as error:
                watched.failed(error, 1.0)

    @property
    def lines(self) -> list[str]:
        return [exchange.line().partition(" ")[2] for exchange in self.seen]


def test_what_is_fed_is_understood() -> None:
    sight = Sight()
    watched = sight.begin()
    sight.feed(watched, b"GET a\nGE", b"T b\n")
    sight.feed(watched, b"OK 1\nOK 2\n", side=Side.UPSTREAM)
    assert sight.lines == ["GET 0.000ms asked=a answer=1", "GET 0.000ms asked=b answer=2"]
    assert sight.stats.connections_active == 1
    watched.client_eof(2.0)
    watched.server_eof(2.0)
    watched.close(2.0)
    watched.close(2.0)
    assert (sight.stats.connections_total, sight.stats.connections_active) == (1, 0)
    assert sight.stats.stopped_total.values == {}


def test_after_the_first_chunk_nothing_stands_in_front_of_the_conversation() -> None:
    sight = Sight()
    watched = sight.begin()
    sight.feed(watched, b"GET a\n")
    sight.feed(watched, b"OK\n", side=Side.UPSTREAM)
    for feed in (watched.client_data, watched.server_data):
        assert isinstance(feed.__self__, LineConversation)  # type: ignore[attr-defined]


@pytest.mark.parametrize("hello", [[CLIENT_HELLO], [CLIENT_HELLO[:n] for n in (1,)] + [CLIENT_HELLO[1:]],
                                   [bytes([byte]) for byte in CLIENT_HELLO]])  # fmt: skip
def test_tls_is_recognised_and_said_once(hello: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    sight = Sight()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            watched = sight.begin()
            sight.feed(watched, *hello)
            assert watched.stopped
            sight.feed(watched, b"GET a\n")
            watched.close(1.0)
    assert sight.stats.stopped_total.values == {"tls": 3}
    assert sight.lines == ["tls the connection is encrypted with TLS, nothing of it can be read"] * 3
    assert all(isinstance(notice, Notice) and not notice.error for notice in sight.seen)
    assert len(caplog.records) == 1
    assert sight.inspector.line_stats.requests_total.values == {}  # type: ignore[attr-defined]


def test_what_only_begins_like_tls_is_not_lost() -> None:
    sight = Sight()
    watched = sight.begin()
    sight.feed(watched, b"\x16", b"\x03", b"GET a\n")
    assert sight.stats.stopped_total.values == {"bad_kind": 1}  # it got all of it
    sight = Sight()
    watched = sight.begin()
    sight.feed(watched, b"OK 1\n", b"\x17\x03\x03\x00\x20", side=Side.UPSTREAM)
    assert not watched.stopped  # in the middle of a line protocol these bytes mean nothing


@pytest.mark.parametrize("side", Side)
def test_tls_is_recognised_from_the_middle(side: Side) -> None:
    sight = Sight()
    watched = sight.begin(midway=True)
    sight.feed(watched, *[b"\x9e\x01 the rest of a record"] * (LOOKS_FOR_TLS - 1), APPLICATION_DATA, side=side)
    assert sight.stats.stopped_total.values == {"tls": 1}
    watched = sight.begin(midway=True)
    sight.feed(watched, *[b"OK 1\n"] * LOOKS_FOR_TLS, APPLICATION_DATA, side=Side.UPSTREAM)
    assert not watched.stopped


@pytest.mark.parametrize(("data", "reason", "level"), [
    (b"STOP\n", "stop", "INFO"),
    (b"1\n", "bad_kind", "WARNING"),
    (b"BUG\n", "failed", "ERROR"),
])  # fmt: skip
def test_one_that_is_not_understood(data: bytes, reason: str, level: str, caplog: pytest.LogCaptureFixture) -> None:
    sight = Sight()
    with caplog.at_level(logging.INFO):
        watched = sight.begin()
        sight.feed(watched, data, b"GET a\n")
    assert sight.stats.stopped_total.values == {reason: 1}
    (record,) = caplog.records
    assert (record.levelname, record.name, bool(record.exc_info)) == (
        level,
        "l4proxy.inspector.line",
        reason == "failed",
    )
    assert [(one.kind, one.error) for one in sight.seen] == [(reason, "" if level == "INFO" else reason)]
    watched.client_eof(1.0)
    watched.server_eof(1.0)
    watched.lost(Side.CLIENT, 10, 1.0)
    watched.failed(ZeroDivisionError(), 1.0)
    watched.close(1.0)
    assert sight.stats.stopped_total.values == {reason: 1}
    assert (sight.stats.gaps_total, sight.stats.lost_bytes_total) == (1, 10)
    assert sight.stats.connections_active == 0


def test_gaps_are_counted_and_told() -> None:
    sight = Sight()
    watched = sight.begin()
    sight.feed(watched, b"GET a\nGET b")
    watched.lost(Side.CLIENT, 100, 1.0)
    watched.lost(Side.UPSTREAM, None, 1.0)
    sight.feed(watched, b"half a line\nQUIET c\n")
    assert sight.lines == ["QUIET asked=c"]
    assert (sight.stats.gaps_total, sight.stats.lost_bytes_total) == (2, 100)


def test_a_conversation_that_cannot_go_on_behind_a_gap_is_followed_by_another() -> None:
    closed: list[LineConversation] = []

    class Simple(LineInspector):
        def conversation(self, link: Link) -> LineConversation:
            return SimpleConversation(self, link)

    class SimpleConversation(LineConversation):
        def lost(self, side: Side, size: int | None, at: float) -> bool:
            return False

        def close(self, at: float) -> None:
            closed.append(self)

    sight = Sight(Simple)
    watched = sight.begin()
    sight.feed(watched, b"GET a\nGET b")
    watched.lost(Side.CLIENT, 100, 1.0)
    assert len(closed) == 1
    assert watched.link.midway
    sight.feed(watched, b"half a line\nQUIET c\n")
    watched.close(1.0)
    assert sight.lines == ["QUIET asked=c"]
    assert len(set(closed)) == len(closed) == 2
    assert sight.stats.connections_total == 1


def test_mistakes_at_other_times_end_the_watching_too(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(LineInspector):
        def conversation(self, link: Link) -> LineConversation:
            return BadConversation(self, link)

    class BadConversation(LineConversation):
        def client_eof(self, at: float) -> None:
            raise RemoteProtocolError("in the middle of a line", code="eof")

        def server_eof(self, at: float) -> None:
            raise StopWatching("bored")

        def lost(self, side: Side, size: int | None, at: float) -> bool:
            raise ZeroDivisionError

        def close(self, at: float) -> None:
            raise LookupError

    sight = Sight(Bad)
    ends: list[Callable[[Watched], object]] = [
        lambda one: one.client_eof(1.0),
        lambda one: one.server_eof(1.0),
        lambda one: one.lost(Side.CLIENT, 1, 1.0),
    ]
    for end in ends:
        watched = sight.begin()
        end(watched)
        assert watched.stopped
        watched.close(1.0)
    sight.begin().close(1.0)
    assert sight.stats.stopped_total.values == {"eof": 1, "bored": 1, "failed": 1}
    assert sight.stats.connections_active == 0
    assert sum("failed at the end" in record.message for record in caplog.records) == 4


def test_a_view_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    sight = Sight()
    sight.inspector.on_exchange = lambda exchange: 1 / 0
    watched = sight.begin()
    sight.feed(watched, b"QUIET a\n")
    assert watched.stopped
    assert "a view failed" in caplog.text
