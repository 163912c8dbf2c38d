from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.hookspecs import hookimpl
from l4proxy.plugin_check import HOOKS, plugin_problem


def plugin(**attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(**attributes)


def hook() -> Callable[..., None]:
    @hookimpl
    def implementation() -> None: ...

    return implementation


def test_the_hooks_are_those_of_hookspecs() -> None:
    assert {"register_filters", "load_config", "make_event_loop", "config_loaded", "startup", "shutdown"} <= HOOKS
    assert "hookimpl" not in HOOKS


def test_a_good_plugin_has_no_problem() -> None:
    assert plugin_problem(plugin(register_filters=hook(), helper=lambda: None, l4proxy_requires=">=0.1, <9")) == ""


def test_a_misspelt_hook_gets_the_nearest_one() -> None:
    problem = plugin_problem(plugin(register_filter=hook()))
    assert problem == "there is no hook register_filter (did you mean 'register_filters'?)"


def test_a_hook_without_its_mark() -> None:
    problem = plugin_problem(plugin(register_filters=lambda register: None, startup=hook()))
    assert problem == "register_filters lacks its mark: put @hookimpl before it (from l4proxy import hookimpl)"


def test_a_module_that_is_no_plugin() -> None:
    assert plugin_problem(plugin(main=lambda: None)).startswith("implements no hook: mark one with @hookimpl")


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        (">=99", "needs l4proxy >=99, and this is "),
        ("99", "l4proxy_requires: '99' is not a requirement, such as '>=0.1' or '>=0.1, <2'"),
    ],
)
def test_a_plugin_for_another_version(requirement: str, problem: str) -> None:
    assert plugin_problem(plugin(register_filters=hook(), l4proxy_requires=requirement)).startswith(problem)
