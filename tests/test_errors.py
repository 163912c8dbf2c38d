"""Errors as their reader sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from l4proxy.errors import (
    ConfigError,
    ConfigProblem,
    L4ProxyError,
    PluginError,
    UpstreamError,
    cannot_read,
    did_you_mean,
    nearest_file,
)


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


def test_a_file_that_cannot_be_read_gets_the_nearest_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "busy.html").touch()
    missing = OSError(2, "No such file or directory")
    said = cannot_read(tmp_path / "bussy.html", missing)
    assert (
        said == f"cannot read {tmp_path}/bussy.html: No such file or directory (did you mean '{tmp_path}/busy.html'?)"
    )
    assert nearest_file(str(tmp_path / "zzz")) == ""
    assert nearest_file(tmp_path / "busy.html") == ""
    assert nearest_file("nix/da/a") == " (there is no folder nix/da)"
    assert cannot_read("busy.html", OSError(13, "Permission denied")) == "cannot read busy.html: Permission denied"
    not_text = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert cannot_read("busy.html", not_text) == "cannot read busy.html: it is not UTF-8 text"


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


def test_what_is_found_after_loading_gets_its_lines() -> None:
    problems = [ConfigProblem("b", "two"), ConfigProblem("a", "one"), ConfigProblem("", "three", file="other", line=9)]
    found = ConfigError(problems).located("x.toml", {"a": 1, "b": 2}.__getitem__)
    assert str(found) == "x.toml:1: a: one\nx.toml:2: b: two\nother:9: three"
