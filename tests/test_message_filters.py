from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.errors import ConfigError
from l4proxy.filter import NoConfig
from l4proxy.message import MessageFilter, Request, Response
from l4proxy.message_filters import MessageFilters
from l4proxy.stats_registry import StatsRegistry
from line_protocol import LineFilter, Plain, use


@pytest.fixture
def server() -> Any:
    return SimpleNamespace(stats=StatsRegistry())


class Pool(LineFilter[NoConfig]):
    name = "pool"
    log: list[str] = []  # noqa: RUF012

    @classmethod
    def provision(cls, config: NoConfig, server: Any) -> str:
        cls.log.append("provision")
        return "shared"

    @classmethod
    def cleanup(cls, shared: str) -> None:
        cls.log.append(f"cleanup {shared}")


class Refuses(LineFilter[NoConfig]):
    name = "refuses"

    @classmethod
    def provision(cls, config: NoConfig, server: Any) -> None:
        raise ValueError("limit: must be positive")


class OfHttp(MessageFilter[NoConfig, Request, Response]):
    name = "of_http"
    protocol = "http"


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    Pool.log.clear()


def test_provision_and_cleanup_come_once(server: Any) -> None:
    filters = MessageFilters("line", [use(Pool), use(Plain)], server)
    assert Pool.log == ["provision"]
    assert filters.uses[0].shared == "shared"
    filters.cleanup()
    assert Pool.log == ["provision", "cleanup shared"]


def test_a_filter_of_another_protocol_is_refused(server: Any) -> None:
    with pytest.raises(ValueError, match="message filter 'of_http' speaks http, not line"):
        MessageFilters("line", [use(Pool), use(OfHttp)], server)
    assert Pool.log == ["provision", "cleanup shared"]


def test_what_a_filter_refuses_is_given_back_to_the_others(server: Any) -> None:
    with pytest.raises(ConfigError, match="limit: must be positive"):
        MessageFilters("line", [use(Pool), use(Refuses)], server)
    assert Pool.log == ["provision", "cleanup shared"]


def test_what_the_list_wants(server: Any) -> None:
    gets = type("Gets", (Plain,), {"name": "gets", "wants": frozenset({"GET"})})
    puts = type("Puts", (Plain,), {"name": "puts", "wants": frozenset({"PUT"})})
    filters = MessageFilters("line", [use(gets), use(puts)], server)
    assert [filters.wants(kind) for kind in ("GET", "PUT", "QUIET")] == [True, True, False]
    assert MessageFilters("line", [use(gets), use(Plain)], server).wants("QUIET")
    assert not MessageFilters("line", [], server).wants("GET")


def test_callbacks_that_nobody_wrote_are_known(server: Any) -> None:
    filters = MessageFilters("line", [use(Plain)], server)
    used = filters.uses[0]
    callbacks = (used.connects, used.reads_requests, used.reads_responses, used.cancels, used.closes)
    assert not any(callbacks)


def test_what_is_wanted_may_depend_on_the_options(server: Any) -> None:
    class Chooses(LineFilter[NoConfig]):
        name = "chooses"

        @classmethod
        def wanted(cls, config: NoConfig) -> frozenset[str]:
            return frozenset({"SAY"})

    filters = MessageFilters("line", [use(Chooses)], server)
    assert filters.wants("SAY")
    assert not filters.wants("GET")


def test_who_wants_a_kind_sees_what_becomes_it(server: Any) -> None:
    class Renames(LineFilter[NoConfig]):
        name = "renames"
        wants = frozenset({"SPEAK"})

        @classmethod
        def renames(cls, config: NoConfig) -> dict[str, str]:
            return {"SPEAK": "SAY", "SAY": "GET"}

    class Wants(LineFilter[NoConfig]):
        name = "wants"
        wants = frozenset({"SAY"})

    filters = MessageFilters("line", [use(Wants), use(Renames), use(Wants), use(Renames)], server)
    assert [one.wants for one in filters.uses if one.name == "wants"] == [{"SAY"}, {"SAY", "SPEAK"}]
    assert filters.wants("SPEAK")
    assert not filters.wants("GET")


def test_a_variant_is_the_list_with_other_filters(server: Any) -> None:
    one, two, three = (type(name, (Plain,), {"name": name}) for name in ("one", "two", "three"))
    filters = MessageFilters("line", [use(one), use(two), use(one)], server)
    names = [
        [None if each is None else each.name for each in filters.variants[number]]
        for number in (
            0,
            filters.variant([], without=["one"]),
            filters.variant([use(three), use(one)]),
            filters.variant([use(three)], without=["two"]),
        )
    ]
    assert names == [
        ["one", "two", "one"],
        [None, "two", None],
        ["one", "two", None, "three"],
        ["one", None, "one", "three"],
    ]
    assert filters.variants[1][1] is filters.uses[1]
    assert filters.variants[2][0] is not filters.uses[0]
    assert filters.length == 4


def test_what_a_variant_has_is_given_back_too(server: Any) -> None:
    filters = MessageFilters("line", [use(Pool)], server)
    assert filters
    filters.variant([use(Pool)])
    with pytest.raises(ConfigError, match="limit: must be positive"):
        filters.variant([use(Pool), use(Refuses)])
    filters.cleanup()
    assert Pool.log == ["provision"] * 3 + ["cleanup shared"] * 3
    assert not MessageFilters("line", [], server)
