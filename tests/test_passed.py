"""Observers that are shown what has passed when the loop turn is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from l4proxy import CloseReason, Filter, NoConfig, Side
from l4proxy.filter import Passed
from l4proxy.passed import PassedChunks, now
from l4proxy.stream import READ_SIZE
from l4proxy.testing import Harness, harness

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM


class Together(Filter[NoConfig]):
    """Remembers what it is shown, and what had been sent on by then."""

    name = "together"
    observer = True

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @classmethod
    def on_passed(cls, passed: Sequence[Passed]) -> None:
        for who, side, data, _ in passed:
            who.seen.append((side, data))

    def on_client_eof(self) -> None:
        self.seen.append("client eof")

    def on_upstream_eof(self) -> None:
        self.seen.append("upstream eof")

    def on_close(self, reason: Any) -> None:
        self.seen.append(reason.detail)


class Tag(Filter[NoConfig]):
    name = "tag"

    def on_client_data(self, data: bytes) -> bytes:
        return data + b"."


def seen(h: Harness) -> list[Any]:
    return next(one.seen for one in h.filters if isinstance(one, Together))


def test_everything_is_shown_in_order_and_before_the_end() -> None:
    h = harness(Together)
    told = seen(h)
    h.client.send(b"1")
    h.upstream.send(b"2")
    h.client.send(b"3")
    h.client.eof()
    h.upstream.send(b"4")
    h.upstream.eof()
    chunks = [(CLIENT, b"1"), (UPSTREAM, b"2"), (CLIENT, b"3"), "client eof", (UPSTREAM, b"4"), "upstream eof", "eof"]
    assert told == chunks
    assert (h.upstream.received, h.client.received) == (b"13", b"24")
    assert h.finished


def test_the_last_bytes_and_the_end_in_one_turn() -> None:
    h = harness(Together, connect=False)
    told = seen(h)
    h.client.send(b"1")
    h.client.eof()
    h.connect_upstream()
    assert told == [(CLIENT, b"1"), "client eof"]


@pytest.mark.parametrize(("filters", "shown"), [((Tag, Together), b"1."), ((Together, Tag), b"1")])
def test_it_is_shown_what_passes_its_own_place(filters: Any, shown: bytes) -> None:
    h = harness(*filters)
    h.client.send(b"1")
    assert seen(h) == [(CLIENT, shown)]
    assert h.upstream.received == b"1."


def test_one_that_fails_is_taken_out_and_the_bytes_go_on() -> None:
    class Fails(Together):
        @classmethod
        def on_passed(cls, passed: Sequence[Passed]) -> None:
            raise RuntimeError("boom")

    h = harness(Fails, Tag)
    h.client.send(b"1")
    h.client.send(b"2")
    h.upstream.send(b"3")
    assert (h.upstream.received, h.client.received) == (b"1.2.", b"3")
    stats = h.chain.filters[0].stats
    assert (stats.errors_total, stats.bypassed_total) == (1, 1)


class Turn:
    """Stands in for the poller."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def defer(self, call: Any) -> None:
        self.calls.append(call)

    def over(self) -> None:
        while self.calls:
            self.calls.pop(0)()


def test_chunks_of_all_connections_are_shown_at_once_with_the_time_at_which_they_passed() -> None:
    turn, shown = Turn(), []  # type: ignore[var-annotated]
    chunks = PassedChunks(shown.append, turn)  # type: ignore[arg-type]
    for who, data in ((1, b"a"), (2, b"b"), (1, b"c")):
        chunks.note(who, CLIENT, data)  # type: ignore[arg-type]
    assert shown == []
    before = now()
    turn.over()
    assert [[(who, data) for who, _, data, _ in one] for one in shown] == [[(1, b"a"), (2, b"b"), (1, b"c")]]
    times = [at for *_, at in shown[0]]
    assert times == sorted(times)
    assert times[-1] <= before
    chunks.note(1, CLIENT, b"d")  # type: ignore[arg-type]
    chunks.show()
    turn.over()
    assert len(shown) == 2


def test_a_large_chunk_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """How large the next one is depends on how much work it was."""
    h = harness(Together)
    told = seen(h)
    waited: list[Any] = []
    monkeypatch.setattr(h.poller, "defer", waited.append)
    h.client.send(b"a")
    h.client.send(bytes(READ_SIZE))
    assert [len(data) for _, data in told] == [1, READ_SIZE]
    assert h.upstream.received == b"a" + bytes(READ_SIZE)


def test_nothing_is_shown_that_has_not_passed() -> None:
    h = harness(Together)
    told = seen(h)
    h.client.send(b"a")
    h.connection.close(CloseReason("proxy", "relay", "enough"))
    h.client.send(b"b")
    h.upstream.send(b"c")
    assert [one for one in told if isinstance(one, tuple)] == [(CLIENT, b"a")]
