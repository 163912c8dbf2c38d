from __future__ import annotations

from dataclasses import dataclass

import pytest

from l4proxy.errors import PluginError
from l4proxy.filter import Filter, NoConfig
from l4proxy.message import MessageFilter, Request, Response
from l4proxy.registry import Kind, Registry


@dataclass(frozen=True)
class GateConfig:
    token: str = ""


class Gate(Filter[GateConfig]):
    """Let nobody in.

    Unless they know the word.
    """

    name = "gate"
    status = "alpha"


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


def test_a_class_that_breaks_its_contract_is_refused_with_its_place(registry: Registry) -> None:
    class Typo(Gate):
        name = "typo"

        def on_client_date(self, data: bytes) -> bytes:
            return data

    message = r"plugin 'acme': filter Typo \(.*test_registry.py:\d+\): on_client_date is not a callback \(did you mean"
    with pytest.raises(PluginError, match=message):
        registry.register(Kind.FILTER, Typo, "acme")
    with pytest.raises(PluginError, match="plugin 'acme': filter 5: register a class"):
        registry.register(Kind.FILTER, 5, "acme")  # type: ignore[arg-type]
    assert registry.names(Kind.FILTER) == []


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
