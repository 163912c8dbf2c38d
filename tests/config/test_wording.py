"""More of it is held by ``bad/``."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import pytest

from l4proxy.config.hints import shape_of
from l4proxy.config.shapes import Scalar
from l4proxy.config.types import Duration, Range, Secret, Size, UseFilter
from l4proxy.config.wording import bounds_text, expectation, unexpected


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (str, "text"),
        (bool, "true or false"),
        (int, "a whole number, such as 5"),
        (Duration, 'a duration, such as "5s"'),
        (Duration | None, 'a duration, such as "5s"'),
        (Literal["a", "b"], '"a" or "b"'),
        (tuple[Size, ...], 'an array, such as ["64KiB"]'),
        (UseFilter, 'a filter, such as { use = "NAME" }'),
    ],
)
def test_what_is_expected(hint: Any, text: str) -> None:
    assert expectation(shape_of(hint)) == text


@pytest.mark.parametrize(
    ("hint", "raw", "text"),
    [
        (int, "5", 'found "5" (write 5, without quotes)'),
        (int, "-5", 'found "-5" (write -5, without quotes)'),
        (int, "5.5", 'found "5.5"'),
        (float, "5.5", 'found "5.5" (write 5.5, without quotes)'),
        (bool, "true", 'found "true" (write true, without quotes)'),
        (bool, "yes", 'found "yes"'),
        (str, True, 'found true (write "true")'),
        (str | None, 5, 'found the number 5 (write "5")'),
        (Literal["1.2"], 1.2, 'found the number 1.2 (write "1.2")'),
        (tuple[int, ...], 5, "found the number 5 (write [5])"),
        (Duration, date(1979, 5, 27), "found a date"),
        (Secret, 5, "found something else"),
        (int, None, "found null"),
        (int, "x" * 50, f'found "{"x" * 37}..."'),
    ],
)
def test_what_was_found(hint: Any, raw: object, text: str) -> None:
    assert unexpected(shape_of(hint), raw).endswith(f", {text}")


def test_bounds() -> None:
    def text(hint: Any) -> str:
        shape = shape_of(hint)
        assert isinstance(shape, Scalar)
        return bounds_text(shape)

    assert text(Annotated[int, Range(1, 5)]) == "from 1 to 5"
    assert text(Annotated[Duration, Range(min=0.5)]) == "at least 500ms"
    assert text(Annotated[Size, Range(max=1024)]) == "at most 1KiB"
