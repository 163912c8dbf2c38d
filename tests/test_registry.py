from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest

from l4proxy.errors import PluginError
from l4proxy.filter import Filter, NoConfig
from l4proxy.matcher import Matcher, PeekInfo
from l4proxy.message import MessageFilter, Request, Response
from l4proxy.registry import Kind, Registry, options_of

C = TypeVar("C")


@dataclass(frozen=True)
class GateConfig:
    token: str = ""


@dataclass
class MutableConfig:
    token: str = ""


class Anonymous(Filter[NoConfig]):
    pass


class Gate(Filter[GateConfig]):
    """Let nobody in.

    Unless they know the word.
    """

    name = "gate"
    status = "alpha"


class Yes(Matcher[bool]):
    name = "yes"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        return self.config


class Cors(MessageFilter[NoConfig, Request, Response]):
    name = "cors"
    protocol = "http"


class HttpFault(MessageFilter[NoConfig, Request, Response]):
    name = "fault"
    protocol = "http"


class KafkaFault(MessageFilter[NoConfig, Request, Response]):
    name = "fault"
    protocol = "kafka"


@pytest.fixture
def registry() -> Registry:
    return Registry()


def refusal(cls: object, kind: Kind = Kind.FILTER) -> str:
    with pytest.raises(PluginError) as caught:
        Registry().register(kind, cls, "acme")  # type: ignore[arg-type]
    return str(caught.value)


def test_what_is_registered_is_found(registry: Registry) -> None:
    registry.register(Kind.FILTER, Gate, "acme")
    assert registry.find(Kind.FILTER, "gate") is Gate
    assert registry.names(Kind.FILTER) == ["gate"]
    assert registry.names(Kind.MATCHER) == []
    assert registry.names_of("acme") == [(Kind.FILTER, "gate")]


def test_entries_say_who_registered_what(registry: Registry) -> None:
    registry.register(Kind.FILTER, Gate, "acme")
    (entry,) = registry.entries(Kind.FILTER)
    assert (entry.name, entry.cls, entry.plugin, entry.doc) == ("gate", Gate, "acme", "Let nobody in.")
    assert (entry.status, entry.posture, entry.protocol) == ("alpha", "untrusted_client", "")


def test_an_unknown_name_gets_the_nearest_one(registry: Registry) -> None:
    registry.register(Kind.FILTER, Gate, "acme")
    with pytest.raises(LookupError, match=r"unknown filter 'gat' \(did you mean 'gate'\?\)"):
        registry.find(Kind.FILTER, "gat")


def test_message_filters_have_names_of_their_own_in_each_protocol(registry: Registry) -> None:
    for cls in (HttpFault, KafkaFault, Cors):
        registry.register(Kind.MESSAGE_FILTER, cls, "acme")
    assert registry.find(Kind.MESSAGE_FILTER, "fault", "http") is HttpFault
    assert registry.find(Kind.MESSAGE_FILTER, "fault", "kafka") is KafkaFault
    assert registry.find(Kind.MESSAGE_FILTER, "cors") is Cors
    assert registry.names(Kind.MESSAGE_FILTER, "http") == ["cors", "fault"]
    with pytest.raises(LookupError, match="message filter 'fault' speaks http and kafka: say which"):
        registry.find(Kind.MESSAGE_FILTER, "fault")
    with pytest.raises(LookupError, match="message filter 'cors' speaks http, not redis"):
        registry.find(Kind.MESSAGE_FILTER, "cors", "redis")
    with pytest.raises(LookupError, match=r"unknown http message filter 'corse' \(did you mean 'cors'\?\)"):
        registry.find(Kind.MESSAGE_FILTER, "corse", "http")


def test_two_plugins_cannot_have_one_name(registry: Registry) -> None:
    registry.register(Kind.FILTER, Gate, "acme")
    with pytest.raises(
        PluginError, match=r"plugin 'evil': filter Gate \(.*test_registry.py:\d+\): .* taken by plugin 'acme'"
    ):
        registry.register(Kind.FILTER, Gate, "evil")


def test_a_name_that_is_expected_is_taken_too(registry: Registry) -> None:
    registry.expect(Kind.FILTER, "gate", "acme", lambda: None)
    with pytest.raises(PluginError, match="taken by plugin 'acme'"):
        registry.register(Kind.FILTER, Gate, "evil")


def test_an_expected_plugin_is_loaded_when_its_name_is_asked_for(registry: Registry) -> None:
    loads = []

    def load() -> None:
        loads.append("acme")
        registry.register(Kind.FILTER, Gate, "acme")

    registry.expect(Kind.FILTER, "gate", "acme", load)
    assert registry.names(Kind.FILTER) == ["gate"]
    assert registry.names_of("acme") == [(Kind.FILTER, "gate")]
    assert not loads
    assert registry.find(Kind.FILTER, "gate") is Gate
    assert registry.find(Kind.FILTER, "gate") is Gate
    assert loads == ["acme"]


def test_entries_loads_what_is_expected(registry: Registry) -> None:
    registry.expect(Kind.FILTER, "gate", "acme", lambda: registry.register(Kind.FILTER, Gate, "acme"))
    assert [entry.cls for entry in registry.entries(Kind.FILTER)] == [Gate]


def test_a_plugin_that_breaks_its_promise_is_named(registry: Registry) -> None:
    registry.expect(Kind.FILTER, "gate", "acme", lambda: None)
    with pytest.raises(PluginError, match="plugin 'acme' does not register the filter 'gate'"):
        registry.find(Kind.FILTER, "gate")


def test_only_classes_of_the_right_kind() -> None:
    assert "register a class, not int 5" in refusal(5)
    assert "register a class, not Gate" in refusal(Gate())
    assert "is not a subclass of l4proxy.Filter" in refusal(int)
    assert "is not a subclass of l4proxy.Matcher" in refusal(Gate, Kind.MATCHER)
    assert "is not a subclass of l4proxy.Filter" in refusal(Filter)


@pytest.mark.parametrize("name", [None, "", "Gate", "rate-limit", "_gate", "gate_", "ga te", 7, "2fast"])
def test_names_are_snake_case(name: object) -> None:
    cls = type("Bad", (Anonymous,), {"name": name})
    assert f"needs a class attribute name, such as name = 'rate_limit', not {name!r}" in refusal(cls)


def test_a_name_is_needed() -> None:
    assert "not None" in refusal(Anonymous)


def test_commands_are_spelt_as_on_a_command_line(registry: Registry) -> None:
    base = type("Command", (), {"__module__": "l4proxy.cli.command"})
    registry.register(Kind.COMMAND, type("NewPlugin", (base,), {"name": "new-plugin"}), "acme")
    assert "such as name = 'new-plugin'" in refusal(type("NewPlugin", (base,), {"name": "new_plugin"}), Kind.COMMAND)


def test_a_message_filter_says_its_protocol() -> None:
    class Mute(MessageFilter[NoConfig, Request, Response]):
        name = "mute"

    assert "needs a class attribute protocol" in refusal(Mute, Kind.MESSAGE_FILTER)


def test_a_misspelt_callback_gets_the_nearest_one() -> None:
    class Typo(Filter[NoConfig]):
        name = "typo"

        def on_client_date(self, data: bytes) -> bytes:
            return data

    message = refusal(Typo)
    assert "plugin 'acme': filter Typo (" in message
    assert "test_registry.py:" in message
    assert "on_client_date is not a callback (did you mean 'on_client_data'?)" in message


def test_a_misspelt_method_that_is_no_callback() -> None:
    class Typo(Filter[NoConfig]):
        name = "typo"

        @classmethod
        def provison(cls, config: NoConfig, server: object) -> None:
            pass

    assert "provison is not a callback (did you mean 'provision'?)" in refusal(Typo)


def test_a_misspelt_abstract_method_is_better_explained_than_a_missing_one() -> None:
    class Typo(Matcher[bool]):
        name = "typo"

        def matchh(self, peek: bytes, info: PeekInfo) -> bool:
            return True

    class Missing(Matcher[bool]):
        name = "missing"

    assert "matchh is not a callback (did you mean 'match'?)" in refusal(Typo, Kind.MATCHER)
    assert "does not implement match" in refusal(Missing, Kind.MATCHER)


def test_helpers_of_a_filter_are_its_own_business(registry: Registry) -> None:
    class Busy(Filter[NoConfig]):
        name = "busy"
        on_duty = True

        def count(self) -> int:
            return 1

        async def _on_timer(self) -> None: ...

        async def fetch(self) -> None: ...

        async def on_connect(self) -> None: ...

    registry.register(Kind.FILTER, Busy, "acme")


async def _coroutine(self: Any, data: bytes) -> bytes:
    return data


def _generator(self: Any, data: bytes) -> Iterator[bytes]:
    yield data


@pytest.mark.parametrize("function", [_coroutine, _generator])
def test_callbacks_on_the_path_of_the_bytes_are_plain_functions(function: object) -> None:
    cls = type("Slow", (Anonymous,), {"name": "slow", "on_client_data": function})
    assert "on_client_data must not be async" in refusal(cls)


def test_options_are_a_frozen_dataclass() -> None:
    class Mutable(Filter[MutableConfig]):
        name = "mutable"

    class Plain(Filter[int]):
        name = "plain"

    class Silent(Filter):  # type: ignore[type-arg]
        name = "silent"

    assert "its options, MutableConfig, are not a frozen dataclass" in refusal(Mutable)
    assert "its options, int, are not a frozen dataclass" in refusal(Plain)
    assert "derive from Filter[YourConfig], or Filter[NoConfig]" in refusal(Silent)


def test_a_matchers_options_may_be_a_plain_type(registry: Registry) -> None:
    class Tables(Matcher[MutableConfig]):
        name = "tables"

        def match(self, peek: bytes, info: PeekInfo) -> bool:
            return True

    registry.register(Kind.MATCHER, Yes, "acme")
    assert "MutableConfig, are not a frozen dataclass" in refusal(Tables, Kind.MATCHER)


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
