from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from l4proxy.cli.explain import KINDS, sections
from l4proxy.plugin_manager import PluginManager
from l4proxy.registry import Kind

EXPLAINED = [(kind, name) for kind in KINDS for name in PluginManager().registry.names(kind)]
MESSAGES = """
from dataclasses import dataclass
from typing import Any
from l4proxy import MessageFilter, hookimpl

@dataclass(frozen=True, slots=True)
class StampConfig:
    text: str = "x"
    "What is stamped."

class Stamp(MessageFilter[StampConfig, Any, Any]):
    "Stamp {protocol} messages."
    name = "stamp"
    protocol = "{protocol}"

@hookimpl
def register_message_filters(register):
    register(Stamp)
"""


def test_everything_by_kind(l4proxy: Any) -> None:
    status, out, err = l4proxy("explain")
    assert (status, err) == (0, "")
    assert "filters\n  " in out
    assert "\nload balancers\n  " in out
    assert "\nsections\n  " in out
    named = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert {name for _, name in EXPLAINED} | {"listeners", "clusters", "clusters.tls", "admin"} <= named
    assert max(map(len, out.splitlines())) <= 80  # COLUMNS


@pytest.mark.parametrize(("kind", "name"), EXPLAINED)
def test_every_plugin_has_a_page(l4proxy: Any, kind: Kind, name: str) -> None:
    status, out, err = l4proxy("explain", name)
    assert (status, err) == (0, "")
    assert f"{name} ({kind.value})\n\n" in out
    assert out.endswith("\n")


@pytest.mark.parametrize("path", [path for path, _ in sections()])
def test_every_section_has_a_page(l4proxy: Any, path: str) -> None:
    status, out, err = l4proxy("explain", path)
    assert (status, err) == (0, "")
    assert out.startswith(f"{path} (section)\n\n")


def test_the_page_of_a_filter(l4proxy: Any) -> None:
    out = l4proxy("explain", "tcp_proxy").out
    assert '\n    filters = [{ use = "tcp_proxy", cluster = "backend" }]\n' in out
    assert '\n  idle_timeout = "1h"\n      a duration; default "1h"\n' in out


def test_one_name_can_stand_for_several_things(l4proxy: Any) -> None:
    out = l4proxy("explain", "proxy_protocol").out
    assert out.startswith("proxy_protocol (matcher)\n")
    assert "\n\nproxy_protocol (preamble)\n" in out
    out = l4proxy("explain", "tls").out
    titles = [line for line in out.splitlines() if line.endswith((" (matcher)", " (section)"))]
    assert titles == ["tls (matcher)", "listeners.tls (section)", "clusters.tls (section)"]


def test_message_filters_of_several_protocols(l4proxy: Any, tmp_path: Path) -> None:
    for protocol in ("http", "redis"):
        (tmp_path / f"{protocol}_stamps.py").write_text(MESSAGES.format(protocol=protocol))
    out = l4proxy("explain", "stamp", "--plugin-dir", str(tmp_path)).out
    assert "Stamp http messages." in out
    assert "Stamp redis messages." in out
    out = l4proxy("explain", "--plugin-dir", str(tmp_path)).out
    assert re.search(r"stamp \(redis\) +Stamp redis messages\.", out)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tcpproxy", " (did you mean 'tcp_proxy'?)"),
        ("listener", " (did you mean 'listeners'?)"),
        ("qqqqq", " (l4proxy explain lists what there is)"),
    ],
)
def test_a_name_that_is_not_there(l4proxy: Any, name: str, hint: str) -> None:
    assert l4proxy("explain", name) == (2, "", f"error: nothing is called {name!r}{hint}\n")
