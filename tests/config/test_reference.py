from __future__ import annotations

import re
import tomllib
from dataclasses import make_dataclass
from typing import Any, get_type_hints

import pytest

from l4proxy.config import schema
from l4proxy.config.hints import options_shape, table_of
from l4proxy.config.reference import WIDTH, reference
from l4proxy.config.structure import structure
from l4proxy.config.types import PortRange
from l4proxy.matcher import Matcher
from l4proxy.registry import Kind, Registry

PAGE = """\
forward (filter)

Connect upstream.

    filters = [{ use = "forward", cluster = "backend" }]

  cluster = "backend"
      the name of a cluster; required
      Where connections go.

  retry = "round_robin"
      a load balancer; default "round_robin"

  idle = "0s"
      a duration; default "0s"
"""


def test_a_page(registry: Registry) -> None:
    assert reference(registry.find(Kind.FILTER, "forward"), Kind.FILTER) == PAGE


def test_examples_in_docstrings_stay_as_they_are(registry: Registry) -> None:
    page = reference(registry.find(Kind.FILTER, "gate"), Kind.FILTER)
    assert '\n    filters = [{ use = "gate", wait = "5s" }, "echo"]\n' in page
    assert '\n      a duration, from 0s to 1m; default "1s"\n      How long to wait before the gate opens.\n' in page
    assert '\n      a whole number, from 1 to 10 or "endless"; default 3\n' in page


def test_tables_in_options_follow(registry: Registry) -> None:
    page = reference(registry.find(Kind.FILTER, "gate"), Kind.FILTER)
    assert page.count("In routes:") == 1
    assert page.index("In routes:") < page.index('  prefix = "..."')


def test_a_plugin_without_options(registry: Registry) -> None:
    page = reference(registry.find(Kind.FILTER, "echo"), Kind.FILTER)
    assert page == 'echo (filter)\n\nSend everything back.\n\n    filters = ["echo"]\n\n  It has no options.\n'


def test_matchers(registry: Registry) -> None:
    page = reference(registry.find(Kind.MATCHER, "source"), Kind.MATCHER)
    assert '    match = { source = ["10.0.0.0/8"] }\n' in page
    assert "Its value is an array (of items each a network)." in page


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        (Kind.LOAD_BALANCER, "ring", 'load_balancer = "ring"'),
        (Kind.DISCOVERY, "dns", 'discovery = "dns"'),
        (Kind.ACCESS_LOGGER, "file", 'access_log = [{ use = "file", path = "cert.pem" }]'),
    ],
)
def test_where_a_plugin_stands(registry: Registry, kind: Kind, name: str, line: str) -> None:
    assert f"\n    {line}\n" in reference(registry.find(kind, name), kind)


@pytest.mark.parametrize("table", [getattr(schema, name) for name in schema.__all__])
def test_every_line_of_an_option_can_be_read(
    table: type[Any], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "x")
    hints = get_type_hints(table, include_extras=True)
    page, _, _ = reference(table).partition("\n\nIn ")
    lines = dict(re.findall(r"^  (\w+) = (.*)$", page, re.M))
    assert lines.keys() == table_of(table).fields.keys()
    for name, text in lines.items():
        alone = make_dataclass("Alone", [(name, hints[name])], frozen=True)
        text = text.replace("NAME", "echo")
        if name not in (
            "preambles",
            "stats_sinks",
            "access_log",
            "health_check",
        ):  # of which the test has no plugins that need nothing
            structure(alone, tomllib.loads(f"{name} = {text}"), registry=registry)


def test_pages_are_not_too_wide(registry: Registry) -> None:
    for name in schema.__all__:
        prose = [
            line for line in reference(getattr(schema, name)).splitlines() if " = " not in line and "each" not in line
        ]
        assert max(map(len, prose)) <= WIDTH


class Ports(Matcher[PortRange]):
    name = "ports"

    def match(self, peek: bytes, info: Any) -> bool | None:
        return None


def test_what_a_plain_value_is() -> None:
    assert options_shape(Ports).example == '"8000-8999"'
    assert reference(Ports, Kind.MATCHER).startswith('ports (matcher)\n\n    match = { ports = "8000-8999" }')
