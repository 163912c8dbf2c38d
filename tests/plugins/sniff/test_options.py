from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest

from l4proxy.cli.parser import make_parser, parse_all
from l4proxy.config.types import Duration
from l4proxy.errors import ConfigError, L4ProxyError, PluginError
from l4proxy.filter import NoConfig
from l4proxy.inspector import Inspector
from l4proxy.plugin_manager import PluginManager
from l4proxy.plugins.sniff.options import add_options, choice_of, config_of, ports_of
from line_inspector import LineConfig, LineInspector
from sniffing import exchange


@dataclass(frozen=True, slots=True)
class EveryConfig:
    slow_after: Duration = Duration(0.5)
    """How long is long: `100%` of it."""
    names: tuple[str, ...] = ()
    """Some names."""
    count: int | None = None
    """A number, or none."""
    show: bool = False
    """Show."""
    sums: bool = True
    """Add up."""


class Every(Inspector[EveryConfig]):
    """Options of every kind."""

    name = "every"


class Nothing(Inspector[NoConfig]):
    """No options."""

    name = "nothing"


def parsed(inspector: type[Inspector[Any]], *words: str) -> argparse.Namespace:
    parser = make_parser("sniff x", "")
    add_options(parser, inspector)
    return parse_all(parser, words)


def config(inspector: type[Inspector[Any]], *words: str) -> Any:
    return config_of(inspector, parsed(inspector, *words), PluginManager().registry)


def test_the_options_of_an_inspector_are_options_of_the_command() -> None:
    assert config(LineInspector) == LineConfig()
    assert config(LineInspector, "--longest", "5", "--show") == LineConfig(5, True)
    assert config(Every) == EveryConfig()
    words = ["--slow-after", "2s", "--names", "a,b", "--names=c", "--count", "3", "--show", "--no-sums"]
    assert config(Every, *words) == EveryConfig(Duration(2.0), ("a", "b", "c"), 3, True, False)
    assert config(Nothing) == NoConfig()


def test_what_is_wrong_is_said_in_their_words() -> None:
    with pytest.raises(ConfigError, match=r"--slow-after: .* is not a duration"):
        config(Every, "--slow-after", "x")
    with pytest.raises(L4ProxyError, match=r"there is no option --slow-aftre \(did you mean '--slow-after'\?\)"):
        parsed(Every, "--slow-aftre", "x")
    with pytest.raises(L4ProxyError, match=r"argument --slow: .* is not a duration"):
        parsed(Every, "--slow", "fast")


def test_the_help_says_what_they_are_for() -> None:
    parser = make_parser("sniff every", "")
    add_options(parser, Every)
    text = " ".join(textwrap.dedent(parser.format_help()).split())
    assert "of every: --slow-after TIME How long is long: 100% of it. (default 500ms)" in text
    assert "--no-sums Add up." in text
    assert "(default: all)" in text


def test_an_option_may_not_be_in_the_way_of_a_common_one() -> None:
    @dataclass(frozen=True, slots=True)
    class Config:
        json: bool = False

    class Clumsy(Inspector[Config]):
        name = "clumsy"

    with pytest.raises(PluginError, match="inspector 'clumsy': its option json is in the way"):
        parsed(Clumsy)


def test_choices() -> None:
    choice = choice_of(LineInspector, parsed(LineInspector, "--word", "GET", "--word", "P*", "--slow", "100ms"))
    assert choice(exchange("PUT a", seconds=0.2))
    assert not choice(exchange("PUT a", seconds=0.05))
    assert not choice(exchange("DEL a", seconds=0.2))
    assert choice_of(LineInspector, parsed(LineInspector)).is_all
    assert not choice_of(LineInspector, parsed(LineInspector, "--text", "b", "--errors"))(exchange())


@pytest.mark.parametrize(("texts", "ports"), [
    ([], (7777,)), (["9092"], (9092,)), (["9092, 9093", "9092"], (9092, 9093)), (["all"], ()),
])  # fmt: skip
def test_ports(texts: list[str], ports: tuple[int, ...]) -> None:
    assert ports_of(LineInspector, texts) == ports


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "-1", "1-2", "٣"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"--port: .* is not a port"):
        ports_of(LineInspector, [text])
