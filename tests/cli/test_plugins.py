from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from l4proxy.default_plugins import DEFAULT_PLUGINS

GATE = """
import asyncio
from l4proxy import Filter, NoConfig, hookimpl

class Gate(Filter[NoConfig]):
    "Let some pass."
    name = "gate"
    status = "alpha"
    posture = "trusted_client"

@hookimpl
def register_filters(register):
    register(Gate)

@hookimpl
def make_event_loop():
    return None
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "gate.py").write_text(GATE)
    return tmp_path


def test_a_table_with_the_installed_ones_first(l4proxy: Any, directory: Path) -> None:
    status, out, err = l4proxy("plugins", "--plugin-dir", str(directory))
    assert (status, err) == (0, "")
    header, first, second, *others = out.splitlines()
    assert header.split() == ["PLUGIN", "VERSION", "FROM", "BRINGS", "STATUS"]
    assert first.split() == ["gate", str(directory / "gate.py"), "filter", "gate", "alpha,", "trusted_client"]
    assert second.split() == ["hook", "make_event_loop"]
    assert len(others) == len(DEFAULT_PLUGINS)
    column = header.index("BRINGS")
    assert {line[column:].split("  ")[0] for line in others} == {
        f"{row.protocol} {row.kind.value} {row.name}".strip() for row in DEFAULT_PLUGINS
    }
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_an_array_for_programs(l4proxy: Any, directory: Path) -> None:
    status, out, err = l4proxy("plugins", "--json", "--plugin-dir", str(directory))
    assert (status, err) == (0, "")
    plugins = {plugin["name"]: plugin for plugin in json.loads(out)}
    assert plugins["gate"] == {
        "name": "gate",
        "distribution": "",
        "version": "",
        "source": str(directory / "gate.py"),
        "loaded": True,
        "hooks": ["make_event_loop", "register_filters"],
        "registered": [
            {
                "kind": "filter",
                "name": "gate",
                "protocol": "",
                "status": "alpha",
                "posture": "trusted_client",
                "doc": "Let some pass.",
            }
        ],
        "problem": "",
    }
    assert plugins["echo"]["distribution"] == "l4proxy"
    assert {row.module for row in DEFAULT_PLUGINS} < set(plugins)


def test_broken_ones_are_named(l4proxy: Any, directory: Path) -> None:
    (directory / "broken.py").write_text("import nothing_like_that")
    (directory / "wrong.py").write_text(GATE.replace("register_filters", "register_filter").replace('"gate"', '"g"'))
    status, out, err = l4proxy("plugins", "--plugin-dir", str(directory))
    assert (status, err) == (1, "")
    assert "\nbroken: plugin 'broken' (" in out
    assert "  start without it: --disable-plugin broken\n" in out
    assert "\nbroken: plugin 'wrong' (" in out
    assert "there is no hook register_filter (did you mean 'register_filters'?)" in out
    assert "\ngate " in out
    status, out, _ = l4proxy("plugins", "--plugin-dir", str(directory), "--json")
    assert status == 1
    problems = {plugin["name"]: plugin["problem"] for plugin in json.loads(out)}
    assert "nothing_like_that" in problems["broken"]
    assert problems["gate"] == ""


def test_one_that_is_ours_can_break_too(l4proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "l4proxy.plugins.echo", None)
    status, out, _err = l4proxy("plugins")
    assert status == 1
    assert "broken: plugin 'echo' (" in out
    assert "filter tcp_proxy" in out


def test_disabled_ones_are_not_there(l4proxy: Any, directory: Path) -> None:
    out = l4proxy("plugins", "--plugin-dir", str(directory), "--disable-plugin", "gate").out
    assert "gate" not in out
