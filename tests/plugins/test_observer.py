from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from l4proxy import logging_setup
from l4proxy.exchange import Exchange
from l4proxy.inspector import Link
from l4proxy.plugins.observer import now
from l4proxy.testing import check_filter, harness
from l4proxy.testing.harness import Harness
from line_inspector import LineConfig, LineConversation, LineExchange, LineInspector, LineObserver


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_setup, "_last_said", {})


class Telling(LineObserver):
    @classmethod
    def logs(cls, config: LineConfig) -> Callable[[Exchange], bool]:
        return lambda exchange: exchange.kind != "QUIET"


def reasons(h: Harness) -> dict[str, int]:
    from l4proxy.plugins.watch import InspectionStats

    return h.stats.group(InspectionStats, protocol="line").stopped_total.values


def test_it_keeps_the_contract_of_filters() -> None:
    check_filter(
        LineObserver,
        client=[b"GET a\n", b"PUT b\nQUIET\n"],
        upstream=[b"OK 1\n", b"ERR 2\n"],
        expect_upstream=b"GET a\nPUT b\nQUIET\n",
        expect_client=b"OK 1\nERR 2\n",
    )


def test_what_passes_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        h = harness(Telling)
        h.client.send(b"GET a\n", b"PU", b"T b\nQUIET\n")
        h.upstream.send(b"OK 1\n", b"ERR 2\n")
    told = [(record.levelname, record.message.partition("] ")[2]) for record in caplog.records]
    assert [(level, " ".join(line.split()[1:2] + line.split()[3:])) for level, line in told] == [
        ("INFO", "GET asked=a answer=1"),
        ("WARNING", "PUT 2 asked=b answer=2"),
    ]
    assert h.connection.state["line:midway"] is False


def test_the_server_is_known_when_it_speaks() -> None:
    links: list[Link] = []

    class Remembers(LineInspector):
        def conversation(self, link: Link) -> LineConversation:
            links.append(link)
            return super().conversation(link)

    class Remembering(LineObserver):
        inspector = Remembers

    h = harness(Remembering, connect=False)
    h.client.send(b"GET a\n")
    assert links[0].server is None
    h.connect_upstream()
    h.upstream.send(b"OK\n")
    assert links[0].server == h.connection.upstream_peer is not None
    assert links[0].client == h.connection.client_peer


def test_nothing_is_built_that_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LineExchange, "__init__", None)
    h = harness(LineObserver)
    h.client.send(b"QUIET a\n")
    assert reasons(h) == {}


@pytest.mark.parametrize(("data", "reason"), [(b"STOP\n", "stop"), (b"1\n", "bad_kind"), (b"BUG\n", "failed")])
def test_what_is_not_understood_passes_all_the_same(data: bytes, reason: str) -> None:
    h = harness(LineObserver)
    h.client.send(data, b"and more")
    h.upstream.send(b"x" * 5000)
    assert (h.upstream.received, h.client.received) == (data + b"and more", b"x" * 5000)
    assert reasons(h) == {reason: 1}
    assert h.connection._detached
    h.client.eof()
    h.upstream.eof()
    assert h.finished


def test_an_end_in_the_middle() -> None:
    class Strict(LineInspector):
        def conversation(self, link: Link) -> LineConversation:
            return StrictConversation(self, link)

    class StrictConversation(LineConversation):
        def client_eof(self, at: float) -> None:
            raise ZeroDivisionError

    class StrictObserver(LineObserver):
        inspector = Strict

    h = harness(StrictObserver)
    h.client.send(b"GET")
    h.client.eof()
    h.upstream.send(b"bye")
    assert h.client.received == b"bye"
    h.upstream.eof()
    assert reasons(h) == {"failed": 1}
    assert h.finished


def test_the_clock_is_that_of_the_wall() -> None:
    assert abs(now() - time.time()) < 5
