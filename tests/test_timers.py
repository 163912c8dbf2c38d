"""Coarse timers: never early, late by no more than they say, cancelled in any state. Time is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4proxy.testing.memory import ManualLoop
from l4proxy.timers import TICK, Timer, Timers

EPSILON = 1e-6


class Clock:
    """A loop whose time goes by in steps, and its timers."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.timers = Timers(self.loop)

    @property
    def now(self) -> float:
        return self.loop.now

    def advance(self, seconds: float, step: float = TICK) -> None:
        end = self.loop.now + seconds
        while self.loop.now < end:
            self.loop.now = min(self.loop.now + step, end)
            self.loop.run_ready()

    def scheduled(self) -> int:
        """How many timers the event loop itself has to look after."""
        return sum(not handle.cancelled() for handle in self.loop._scheduled)  # type: ignore[attr-defined]


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.timers.close()
    clock.loop.close()


def lateness(delay: float) -> float:
    return 0.1 if delay < 10 else 1.0 if delay < 600 else 10.0


@settings(max_examples=50)
@given(st.floats(0, 5000, allow_nan=False), st.floats(0, 2))
def test_it_is_never_early_and_late_as_documented(delay: float, start: float) -> None:
    clock = Clock()
    clock.loop.now += start
    fired: list[float] = []
    began = clock.now
    clock.timers.call_later(delay, lambda: fired.append(clock.now))
    clock.advance(max(0.0, delay - EPSILON), step=3600)
    assert fired == [] or delay < EPSILON
    clock.loop.now = began + delay + lateness(delay) + EPSILON
    clock.loop.run_ready()
    assert len(fired) == 1
    clock.loop.close()


def test_the_loop_knows_of_one_timer_however_many_there_are(clock: Clock) -> None:
    fired: list[int] = []
    for number in range(5000):
        clock.timers.call_later(number % 40, partial(fired.append, number))
    assert clock.scheduled() == 1
    clock.advance(42)
    assert sorted(fired) == list(range(5000))
    assert clock.scheduled() == 0


def test_an_earlier_timer_is_not_kept_waiting_by_a_later_one(clock: Clock) -> None:
    fired: list[str] = []
    clock.timers.call_later(50, lambda: fired.append("later"))
    clock.timers.call_later(0.3, lambda: fired.append("soon"))
    clock.advance(0.5)
    assert fired == ["soon"]
    clock.advance(51)
    assert fired == ["soon", "later"]


def test_cancelling_in_any_state(clock: Clock) -> None:
    fired: list[str] = []
    waiting = clock.timers.call_later(0.2, lambda: fired.append("waiting"))
    done = clock.timers.call_later(0.1, lambda: fired.append("done"))
    waiting.cancel()
    waiting.cancel()
    clock.advance(1)
    done.cancel()
    clock.advance(1)
    assert fired == ["done"]


def test_a_timer_cancels_itself_and_its_neighbours(clock: Clock) -> None:
    fired: list[int] = []
    timers: list[Timer] = []

    def fire(number: int) -> None:
        fired.append(number)
        for timer in timers:
            timer.cancel()

    timers += [clock.timers.call_later(0.1, partial(fire, number)) for number in range(10)]
    clock.advance(1)
    assert len(fired) == 1


def test_a_timer_starts_others(clock: Clock) -> None:
    fired: list[float] = []
    began = clock.now

    def again() -> None:
        fired.append(clock.now - began)
        if len(fired) < 5:
            clock.timers.call_later((0.3, 0, 20, 0.1)[len(fired) - 1], again)

    clock.timers.call_later(0.5, again)
    clock.advance(30)
    due = [0.5, 0.8, 0.8, 20.8, 20.9]
    assert all(-EPSILON <= at - when <= 1.2 for at, when in zip(fired, due, strict=True))


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_one_that_raises_harms_no_other(
    error: type[BaseException], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fired: list[int] = []

    def fire(number: int) -> None:
        fired.append(number)
        raise error

    for number in range(20):
        clock.timers.call_later(0.1 * (number % 4), partial(fire, number))
    clock.advance(1)
    assert sorted(fired) == list(range(20))
    assert [record.message for record in caplog.records] == ["a timer's callback failed"] * 20


def test_a_loop_that_was_busy_catches_up_in_order(clock: Clock) -> None:
    fired: list[int] = []
    for number in range(8):
        clock.timers.call_later(0.2 * (8 - number), partial(fired.append, number))
    for _ in range(4):  # a turn for each tick that was missed
        clock.advance(20, step=20)
    assert fired == list(reversed(range(8)))


def test_nothing_fires_after_close(clock: Clock) -> None:
    fired: list[str] = []
    timer = clock.timers.call_later(0.1, lambda: fired.append("late"))
    clock.timers.close()
    timer.cancel()
    clock.advance(1)
    assert fired == []
    assert clock.scheduled() == 0


def test_a_timer_keeps_its_callback_alive_no_longer_than_needed(clock: Clock) -> None:
    def callback() -> None:
        pass

    ends: list[Callable[[Timer], None]] = [lambda timer: timer.cancel(), lambda timer: clock.advance(1)]
    for end in ends:
        timer = clock.timers.call_later(0.1, callback)
        end(timer)
        assert timer.callback is not callback


def test_those_of_one_tick_are_called_in_the_order_in_which_they_were_set(clock: Clock) -> None:
    called: list[int] = []
    timers = [clock.timers.call_later(TICK - number / 1000, partial(called.append, number)) for number in range(50)]
    clock.timers.call_later(TICK, timers[49].cancel)
    timers[7].cancel()
    clock.advance(1)
    assert called == [number for number in range(50) if number != 7]
