from __future__ import annotations

import time

import pytest

from l4proxy.plugins.sniff.cells import cell_text, clock_text, fitted, seconds_text, size_text, width_of
from l4proxy.table import Cell, ColumnKind

KIND = ColumnKind


@pytest.mark.parametrize(("kind", "value", "text"), [
    (KIND.TEXT, "orders", "orders"),
    (KIND.TEXT, "evil\x1b[2J", r"evil\x1b[2J"),
    (KIND.TEXT, None, ""),
    (KIND.NUMBER, 1234567, "1,234,567"),
    (KIND.NUMBER, 1.5, "1.50"),
    (KIND.BYTES, 9999, "9999 B"),
    (KIND.BYTES, 1536 * 1024, "1.5 MiB"),
    (KIND.BYTE_RATE, 20480.0, "20.0 KiB/s"),
    (KIND.SECONDS, 0.0125, "12.50 ms"),
    (KIND.RATIO, 0.125, "12.5%"),
    (KIND.RATE, 0.0, "0"),
    (KIND.RATE, 0.25, "0.2"),
    (KIND.RATE, 1234.5, "1,234"),
    (KIND.RATE, None, ""),
])  # fmt: skip
def test_values_as_people_read_them(kind: ColumnKind, value: Cell, text: str) -> None:
    assert cell_text(kind, value) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0.00025, "250 us"), (0.001, "1.00 ms"), (0.25, "250 ms"), (1.25, "1.2 s"), (299, "299.0 s"), (600, "10 min"),
])  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_sizes_have_no_end() -> None:
    assert size_text(5 << 60) == "5120.0 PiB"


def test_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert [clock_text(1_700_000_000.9999, digits) for digits in (0, 3, 6)] == [
        "22:13:21",
        "22:13:21.000",
        "22:13:20.999900",
    ]
    assert cell_text(KIND.TIME, 1_700_000_000.25) == "22:13:20.250"


@pytest.mark.parametrize(("text", "width", "right", "shown"), [
    ("abc", 5, False, "abc  "), ("abc", 5, True, "  abc"), ("abcdef", 4, False, "abc…"), ("abc", 0, False, ""),
    ("日本語", 6, False, "日本語"), ("日本語", 5, False, "日本…"), ("日本語", 4, False, "日… "),
    ("e\u0301e", 3, False, "e\u0301e "),
])  # fmt: skip
def test_texts_take_exactly_the_room_they_are_given(text: str, width: int, right: bool, shown: str) -> None:
    assert fitted(text, width, right=right) == shown
    assert width_of(shown) == width
