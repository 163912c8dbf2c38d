from __future__ import annotations

import random

import pytest

from l4proxy.access_log.select import When
from l4proxy.config.types import Duration, Percent
from l4proxy.reason import CloseReason
from records import REFUSED, record

RESET = CloseReason("client", "relay", "reset", errno=104)


def test_without_conditions_everything_is_logged() -> None:
    wanted = When().compile()
    assert wanted(record())
    assert wanted(record(reason=REFUSED))


def test_errors_only() -> None:
    wanted = When(errors_only=True).compile()
    assert not wanted(record())
    assert wanted(record(reason=REFUSED))
    assert wanted(record(reason=RESET))


def test_by_flag() -> None:
    wanted = When(flags=("UH", "URX")).compile()
    assert wanted(record(reason=REFUSED))
    assert not wanted(record(reason=RESET))


def test_by_duration() -> None:
    wanted = When(min_duration=Duration(1.0)).compile()
    assert [wanted(record(duration=seconds)) for seconds in (0.5, 1.0, 2.0)] == [False, True, True]


def test_by_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.05, 0.1, 0.0999, 0.9])
    monkeypatch.setattr(random, "random", lambda: next(drawn))
    wanted = When(sample=Percent(10.0)).compile()
    assert [wanted(record()) for _ in range(4)] == [True, False, True, False]


def test_all_conditions_have_to_hold_and_only_then_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.4, 0.6])
    monkeypatch.setattr(random, "random", lambda: next(drawn))
    wanted = When(flags=("UF",), min_duration=Duration(1.0), sample=Percent(50.0)).compile()
    both = record(reason=REFUSED, duration=2.0)
    chosen = [wanted(one) for one in (record(duration=2.0), record(reason=REFUSED, duration=0.1), both, both)]
    assert chosen == [False, False, True, False]


def test_nothing_is_sampled_at_0_percent() -> None:
    wanted = When(sample=Percent(0.0)).compile()
    assert not any(wanted(record()) for _ in range(100))


def test_a_flag_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"flags: unknown response flag 'uf' \(did you mean 'UF'\?\)"):
        When(flags=("uf",))
