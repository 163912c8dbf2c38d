from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from l4proxy.plugins.http.deadlines import COARSE, EARLY, Deadlines


class Timers:
    """A clock by hand: ``fire`` calls what is due first."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        self.calls.append((delay, callback))

    def fire(self) -> None:
        self.calls.sort(key=lambda call: call[0])
        self.calls.pop(0)[1]()


class Item:
    """Asks for what is in ``answers``, in turn."""

    def __init__(self, *answers: float) -> None:
        self.bucket: set[Any] | None = None
        self.answers = list(answers)
        self.asked = 0

    def check_time(self, now: float) -> float:
        self.asked += 1
        return self.answers.pop(0)


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def deadlines(timers: Timers) -> Deadlines:
    return Deadlines(timers)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "late"), [(0.05, 0.11), (1.0, 0.11), (9.9, 0.11), (COARSE, 1.01), (300.0, 1.01)])
def test_never_early_and_hardly_late(deadlines: Deadlines, timers: Timers, seconds: float, late: float) -> None:
    for fraction in range(100):
        deadlines.watch(Item(), 1000 + fraction / 97, seconds)
    assert all(seconds <= delay <= seconds + late for delay, _ in timers.calls)


def test_those_of_one_moment_share_a_timer(deadlines: Deadlines, timers: Timers) -> None:
    now = 1000.01
    items = [Item(0) for _ in range(100)]
    for item in items:
        deadlines.watch(item, now, 5)
    assert len(timers.calls) == 1
    timers.fire()
    assert [(item.asked, item.bucket) for item in items] == [(1, None)] * 100
    assert timers.calls == []


def test_who_has_left_is_not_asked(deadlines: Deadlines, timers: Timers) -> None:
    item, other = Item(0), Item(0)
    for one in (item, other):
        deadlines.watch(one, 1000, 5)
    assert item.bucket is not None
    item.bucket.discard(item)
    timers.fire()
    assert (item.asked, other.asked) == (0, 1)


def test_one_who_leaves_while_others_are_asked(deadlines: Deadlines, timers: Timers) -> None:
    """As an exchange does that ends because of another one's time limit."""
    items: list[Item] = []

    class Ends(Item):
        def check_time(self, now: float) -> float:
            for item in items:
                if item.bucket is not None:
                    item.bucket.discard(item)
            return super().check_time(now)

    items += [Ends(0), Ends(0), Ends(0)]
    for item in items:
        deadlines.watch(item, 1000, 5)
    timers.fire()
    assert sum(item.asked for item in items) == 1


def test_who_is_not_over_is_asked_again(deadlines: Deadlines, timers: Timers) -> None:
    item = Item(3, 0)
    deadlines.watch(item, time.monotonic(), 5)
    timers.fire()
    (again,) = timers.calls
    assert 3 - EARLY <= again[0] <= 3.2
    timers.fire()
    assert item.asked == 2
    assert timers.calls == []


def test_another_limit_takes_the_place_of_the_first(deadlines: Deadlines, timers: Timers) -> None:
    item = Item(0)
    deadlines.watch(item, 1000, 5)
    deadlines.rewatch(item, 1000, 1)
    timers.fire()
    timers.fire()
    assert item.asked == 1
