from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.access_log.times import ISO_8601, time_formatter

AT = 1767322984.678901


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (ISO_8601, "2026-01-02T03:03:04.678Z"),
        ("%H:%M:%S", "03:03:04"),
        ("%s", "1767322984"),
        ("%s.%6f", "1767322984.678901"),
        ("%f", "678901000"),
        ("%1f", "6"),
        ("%9f|%2f", "678901000|67"),
        ("%%", "%"),
        ("%%3f %%s", "%3f %s"),
        ("%%%3f", "%678"),
        ("%d/%b/%Y:%H:%M:%S %z", "02/Jan/2026:03:03:04 +0000"),
        ("at noon", "at noon"),
        ("", ""),
    ],
)
def test_directives(pattern: str, text: str) -> None:
    assert time_formatter(pattern)(AT) == text


def test_one_formatter_follows_the_clock() -> None:
    show = time_formatter("%S.%3f")
    assert [show(at) for at in (0.0, 0.001, 59.5, 60.0, 0.25)] == ["00.000", "00.001", "59.500", "00.000", "00.250"]


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert time_formatter("%H:%M %z", local=True)(AT) == "05:03 +0200"
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999))
def test_microseconds_are_exact(second: int, microsecond: int) -> None:
    moment = datetime.fromtimestamp(second, UTC).replace(microsecond=microsecond)
    show = time_formatter("%Y-%m-%dT%H:%M:%S.%6f+00:00")
    assert show(moment.timestamp()) == moment.isoformat(timespec="microseconds")
