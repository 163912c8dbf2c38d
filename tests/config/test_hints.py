from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Optional, TypeVar

import pytest

from l4proxy.address import Address
from l4proxy.config.hints import children, options_shape, shape_of, table_of
from l4proxy.config.shapes import Array, Choice, Map, MatchShape, Scalar, Table, UnionShape, UseShape
from l4proxy.config.types import ClusterName, Duration, MatchTable, Network, Percent, PortRange, Range, UseFilter
from l4proxy.errors import PluginError
from l4proxy.filter import Filter, NoConfig

if TYPE_CHECKING:
    from decimal import Decimal

C = TypeVar("C")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Odd:
    """A class of a plugin's own."""

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def from_config(cls, raw: object) -> Odd:
        if not isinstance(raw, int) or raw % 2 == 0:
            raise ValueError("must be odd")
        return cls(raw)


@dataclass(frozen=True)
class Point:
    short_form = "x"

    x: int
    y: float = 0.0


@dataclass(frozen=True)
class Tree:
    name: str
    branches: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Unresolvable:
    price: Decimal


@pytest.mark.parametrize(
    ("hint", "kind", "forms"),
    [
        (str, Scalar, {"text"}),
        (int, Scalar, {"integer"}),
        (float, Scalar, {"integer", "float"}),
        (bool, Scalar, {"boolean"}),
        (Any, Scalar, set()),
        (Duration, Scalar, {"text", "integer", "float"}),
        (Percent, Scalar, {"text", "integer", "float"}),
        (PortRange, Scalar, {"text", "integer"}),
        (Network, Scalar, {"text"}),
        (Address, Scalar, {"text"}),
        (ClusterName, Scalar, {"text"}),
        (Odd, Scalar, set()),
        (Annotated[int, Range(1, 2)], Scalar, {"integer"}),
        (Literal["a", 1], Choice, {"text", "integer"}),
        (Colour, Choice, {"text"}),
        (tuple[int, ...], Array, {"array"}),
        (list[int], Array, {"array"}),
        (frozenset[str], Array, {"array"}),
        (dict[str, int], Map, {"table"}),
        (Mapping[str, int], Map, {"table"}),
        (Tree, Table, {"table"}),
        (Point, Table, {"table", "integer"}),
        (int | None, UnionShape, {"integer", "null"}),
        (Optional[int], UnionShape, {"integer", "null"}),  # noqa: UP045
        (Annotated[int, Range(1)] | Literal["auto"], UnionShape, {"integer", "text"}),
        (UseFilter, UseShape, {"text", "table"}),
        (MatchTable, MatchShape, {"table"}),
    ],
)
def test_the_shapes_of_hints(hint: Any, kind: type, forms: set[str]) -> None:
    shape = shape_of(hint)
    assert type(shape) is kind
    assert shape.forms == forms
    assert shape.name


@pytest.mark.parametrize("hint", [set[int], tuple[int, str], dict[int, str], bytes, object, type, Literal])
def test_a_hint_that_no_configuration_can_hold(hint: Any) -> None:
    with pytest.raises(PluginError, match="an option cannot have the type"):
        shape_of(hint)


def test_a_type_that_is_imported_for_type_checkers_only() -> None:
    with pytest.raises(PluginError, match=r"test_hints\.Unresolvable: the type 'Decimal' .* outside of TYPE_CHECKING"):
        _ = table_of(Unresolvable).fields


def test_a_field_with_such_a_hint_is_named() -> None:
    bad = make_dataclass("Bad", [("fine", int), ("wrong", set[int])])
    with pytest.raises(PluginError, match=r"\.Bad\.wrong: an option cannot have the type set\[int\]"):
        _ = table_of(bad).fields


def test_tables_may_contain_themselves() -> None:
    tree = table_of(Tree)
    branches = tree.fields["branches"].shape
    assert isinstance(branches, Array)
    assert branches.item is tree


class Plain(Filter[NoConfig]):
    name = "plain"


class Base(Filter[C], Generic[C]):
    """Between the contract and a plugin."""


class Through(Base[Point]):
    name = "through"


class Inherited(Through):
    name = "inherited"


class Forward(Filter["Tree"]):
    name = "forward"


@pytest.mark.parametrize(
    ("plugin", "options"), [(Plain, NoConfig), (Through, Point), (Inherited, Point), (Forward, Tree)]
)
def test_the_options_of_a_plugin(plugin: type, options: type) -> None:
    shape = options_shape(plugin)
    assert isinstance(shape, Table)
    assert shape.cls is options


def test_what_stands_in_a_value() -> None:
    tree = Tree("a", (Tree("b"),))
    assert [(value, path) for _, value, path in children(table_of(Tree), tree, "t")] == [
        ("a", "t.name"),
        ((Tree("b"),), "t.branches"),
    ]
    assert [path for _, _, path in children(shape_of(tuple[Tree, ...]), tree.branches, "t")] == ["t[0]"]
    assert [(value, path) for _, value, path in children(shape_of(dict[str, int]), {"x": 1, "y z": 2}, "m")] == [
        ("x", "m.x"),
        (1, "m.x"),
        ("y z", 'm."y z"'),
        (2, 'm."y z"'),
    ]
    assert list(children(shape_of(int), 5, "n")) == []
