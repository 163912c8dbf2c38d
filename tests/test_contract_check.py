from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from l4proxy.contract_check import contract_problem
from l4proxy.filter import Filter, NoConfig
from l4proxy.kind import Kind
from l4proxy.matcher import Matcher, PeekInfo
from l4proxy.message import MessageFilter, Request, Response


@dataclass(frozen=True)
class GateConfig:
    token: str = ""


@dataclass
class MutableConfig:
    token: str = ""


class Anonymous(Filter[NoConfig]):
    pass


class Gate(Filter[GateConfig]):
    name = "gate"


class Yes(Matcher[bool]):
    name = "yes"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        return self.config


def test_only_classes_of_the_right_kind() -> None:
    assert "register a class, not int 5" in contract_problem(Kind.FILTER, 5)
    assert "register a class, not Gate" in contract_problem(Kind.FILTER, Gate())
    assert "is not a subclass of l4proxy.Filter" in contract_problem(Kind.FILTER, int)
    assert "is not a subclass of l4proxy.Matcher" in contract_problem(Kind.MATCHER, Gate)
    assert "is not a subclass of l4proxy.Filter" in contract_problem(Kind.FILTER, Filter)


@pytest.mark.parametrize("name", [None, "", "Gate", "rate-limit", "_gate", "gate_", "ga te", 7, "2fast"])
def test_names_are_snake_case(name: object) -> None:
    cls = type("Bad", (Anonymous,), {"name": name})
    problem = contract_problem(Kind.FILTER, cls)
    assert problem == f"needs a class attribute name, such as name = 'rate_limit', not {name!r}"


def test_a_name_is_needed() -> None:
    assert "not None" in contract_problem(Kind.FILTER, Anonymous)


def test_commands_are_spelt_as_on_a_command_line() -> None:
    base = type("Command", (), {"__module__": "l4proxy.cli.command"})
    right, wrong = (type("NewPlugin", (base,), {"name": name}) for name in ("new-plugin", "new_plugin"))
    assert contract_problem(Kind.COMMAND, right) == ""
    assert "such as name = 'new-plugin'" in contract_problem(Kind.COMMAND, wrong)


def test_a_message_filter_says_its_protocol() -> None:
    class Mute(MessageFilter[NoConfig, Request, Response]):
        name = "mute"

    assert "needs a class attribute protocol" in contract_problem(Kind.MESSAGE_FILTER, Mute)


def test_a_misspelt_callback_gets_the_nearest_one() -> None:
    class Typo(Filter[NoConfig]):
        name = "typo"

        def on_client_date(self, data: bytes) -> bytes:
            return data

    problem = contract_problem(Kind.FILTER, Typo)
    assert problem == "on_client_date is not a callback (did you mean 'on_client_data'?)"


def test_a_misspelt_method_that_is_no_callback() -> None:
    class Typo(Filter[NoConfig]):
        name = "typo"

        @classmethod
        def provison(cls, config: NoConfig, server: object) -> None:
            pass

    assert "provison is not a callback (did you mean 'provision'?)" in contract_problem(Kind.FILTER, Typo)


def test_a_misspelt_abstract_method_is_better_explained_than_a_missing_one() -> None:
    class Typo(Matcher[bool]):
        name = "typo"

        def matchh(self, peek: bytes, info: PeekInfo) -> bool:
            return True

    class Missing(Matcher[bool]):
        name = "missing"

    assert "matchh is not a callback (did you mean 'match'?)" in contract_problem(Kind.MATCHER, Typo)
    assert "does not implement match" in contract_problem(Kind.MATCHER, Missing)


def test_helpers_of_a_filter_are_its_own_business() -> None:
    class Busy(Filter[NoConfig]):
        name = "busy"
        on_duty = True

        def count(self) -> int:
            return 1

        async def _on_timer(self) -> None: ...

        async def fetch(self) -> None: ...

        async def on_connect(self) -> None: ...

    assert contract_problem(Kind.FILTER, Busy) == ""


async def _coroutine(self: Any, data: bytes) -> bytes:
    return data


def _generator(self: Any, data: bytes) -> Iterator[bytes]:
    yield data


@pytest.mark.parametrize("function", [_coroutine, _generator])
def test_callbacks_on_the_path_of_the_bytes_are_plain_functions(function: object) -> None:
    cls = type("Slow", (Anonymous,), {"name": "slow", "on_client_data": function})
    assert "on_client_data must not be async" in contract_problem(Kind.FILTER, cls)


def test_options_are_a_frozen_dataclass() -> None:
    class Mutable(Filter[MutableConfig]):
        name = "mutable"

    class Plain(Filter[int]):
        name = "plain"

    class Silent(Filter):  # type: ignore[type-arg]
        name = "silent"

    assert "its options, MutableConfig, are not a frozen dataclass" in contract_problem(Kind.FILTER, Mutable)
    assert "its options, int, are not a frozen dataclass" in contract_problem(Kind.FILTER, Plain)
    assert "derive from Filter[YourConfig], or Filter[NoConfig]" in contract_problem(Kind.FILTER, Silent)


def test_a_matchers_options_may_be_a_plain_type() -> None:
    class Tables(Matcher[MutableConfig]):
        name = "tables"

        def match(self, peek: bytes, info: PeekInfo) -> bool:
            return True

    assert contract_problem(Kind.MATCHER, Yes) == ""
    assert "MutableConfig, are not a frozen dataclass" in contract_problem(Kind.MATCHER, Tables)
