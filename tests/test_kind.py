from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from l4proxy.filter import Filter
from l4proxy.kind import Kind, base_of, options_of
from l4proxy.matcher import Matcher, PeekInfo

C = TypeVar("C")


@dataclass(frozen=True)
class GateConfig:
    token: str = ""


class Gate(Filter[GateConfig]):
    name = "gate"


class Yes(Matcher[bool]):
    name = "yes"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        return self.config


def test_the_base_of_a_kind() -> None:
    assert base_of(Kind.FILTER, Gate) is Filter
    assert base_of(Kind.MATCHER, Yes) is Matcher
    assert base_of(Kind.FILTER, Yes) is None
    assert base_of(Kind.FILTER, Filter) is None
    assert base_of(Kind.FILTER, type("Mine", (type("Filter", (), {}),), {})) is None


def test_options_are_found_through_bases_in_between() -> None:
    class Mixin(Generic[C]):
        pass

    class Middle(Filter[C]):
        pass

    class Leaf(Mixin[int], Middle[GateConfig]):
        pass

    class LeafOfLeaf(Leaf):
        pass

    assert options_of(Gate) is GateConfig
    assert options_of(Leaf) is GateConfig
    assert options_of(LeafOfLeaf) is GateConfig
    assert options_of(Middle) is None
    assert options_of(Yes) is bool
