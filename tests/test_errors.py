"""Errors as their reader sees them."""

from __future__ import annotations

import pytest

from l4proxy.errors import ConfigError, ConfigProblem, L4ProxyError, PluginError, UpstreamError, did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "text"),
    [
        ("tcp_prxy", ["echo", "tcp_proxy"], " (did you mean 'tcp_proxy'?)"),
        ("zzz", ["b", "a"], " (known: a, b)"),
        ("zzz", [], ""),
    ],
)
def test_a_misspelt_word_gets_the_nearest_or_all_known_ones(word: str, known: list[str], text: str) -> None:
    assert did_you_mean(word, known) == text
    assert did_you_mean(word, iter(known)) == text


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (ConfigProblem("listeners[0].port", "is no port"), "listeners[0].port: is no port"),
        (ConfigProblem("a", "is wrong", file="x.toml", line=3), "x.toml:3: a: is wrong"),
        (ConfigProblem("a", "is wrong", file="x.toml"), "x.toml: a: is wrong"),
        (ConfigProblem("", "is empty", file="x.toml"), "x.toml: is empty"),
        (ConfigProblem("", "is empty"), "is empty"),
    ],
)
def test_a_problem_says_where_it_stands(problem: ConfigProblem, text: str) -> None:
    assert str(problem) == text


def test_a_refused_configuration_lists_every_problem() -> None:
    problems = [ConfigProblem("a", "is wrong"), ConfigProblem("b", "is missing")]
    error = ConfigError(problems)
    assert str(error) == "a: is wrong\nb: is missing"
    assert error.problems is problems


def test_a_connect_failure_that_is_reported_has_used_up_its_attempts() -> None:
    assert UpstreamError("UF", "connect_refused", "refused", 111).flags == ("UF", "URX")
    assert UpstreamError("UH", "no_healthy_upstream", "none").flags == ("UH",)


def test_everything_raised_on_purpose_has_one_base() -> None:
    assert {ConfigError, PluginError, UpstreamError} <= set(L4ProxyError.__subclasses__())
