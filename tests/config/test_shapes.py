from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Any

import pytest

from l4proxy.address import Address
from l4proxy.config.hints import shape_of
from l4proxy.config.shapes import fits, form_of
from l4proxy.config.types import UseAccessLogger, UseFilter


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("raw", "form"),
    [("", "text"), (1, "integer"), (1.0, "float"), (True, "boolean"), ([], "array"), ((), "array"), ({}, "table"),
     (None, "null"), (date(1979, 5, 27), "object"), (Address(), "object")],
)  # fmt: skip
def test_forms(raw: object, form: str) -> None:
    assert form_of(raw) == form


def test_which_member_of_a_union_a_value_belongs_to() -> None:
    assert fits(shape_of(int | None), None)
    assert fits(shape_of(Address), Address())
    assert fits(shape_of(Colour), Colour.RED)
    assert fits(shape_of(tuple[int, ...]), (1,))
    assert fits(shape_of(dict[str, int]), {})
    assert not fits(shape_of(Colour), "red")
    assert not fits(shape_of(Address), "x")
    assert not fits(shape_of(int | None), "x")


@pytest.mark.parametrize(("hint", "name"), [(UseFilter, "a filter"), (UseAccessLogger, "an access logger")])
def test_kinds_of_plugins_have_an_article(hint: Any, name: str) -> None:
    assert shape_of(hint).name == name
