from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import l4proxy
from l4proxy.errors import PluginError
from l4proxy.plugin_source import PluginSource, default_sources, directory_sources


def refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(PluginError) as caught:
        PluginSource("broken", file=str(file)).load()
    assert "l4proxy_plugin_dir.broken" not in sys.modules
    return str(caught.value)


def test_first_party_plugins_are_called_as_their_modules() -> None:
    (source,) = default_sources(["echo"])
    assert source.name == "echo"
    assert str(source) == f"l4proxy.plugins.echo of l4proxy {l4proxy.__version__}"
    assert source.load().__name__ == "l4proxy.plugins.echo"


def test_files_of_a_directory(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "_helper.py", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [source.name for source in directory_sources(tmp_path)] == ["a", "b"]


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"--plugin-dir .*nowhere: no such directory"):
        list(directory_sources(tmp_path / "nowhere"))


def test_a_file_shadows_no_module(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("from dataclasses import dataclass\n@dataclass\nclass Word:\n    text: 'str'\n")
    (source,) = directory_sources(tmp_path)
    assert source.load().Word("x").text == "x"
    assert sys.modules["json"].__name__ == "json"


def test_an_object_in_a_module() -> None:
    assert PluginSource("name", module="l4proxy.filter", attr="Filter.on_connect").load().__name__ == "on_connect"


def test_a_missing_dependency_is_named_with_place_and_remedy(tmp_path: Path) -> None:
    message = refusal(tmp_path, "import os\nimport nowhere_to_be_found\n")
    assert message.splitlines() == [
        f"plugin 'broken' ({tmp_path}/broken.py) cannot be imported: ModuleNotFoundError: "
        "No module named 'nowhere_to_be_found'",
        f"  at {tmp_path}/broken.py:2",
        "  start without it: --disable-plugin broken",
    ]


def test_a_name_that_this_version_has_not(tmp_path: Path) -> None:
    message = refusal(tmp_path, "from l4proxy import TimeMachine\n")
    assert "cannot import name 'TimeMachine'" in message
    assert f"it may have been written for another version: this is l4proxy {l4proxy.__version__}" in message


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        ("x = 1\ndef (:\n", "SyntaxError", 2),
        ("def f():\n    raise KeyError('k')\nf()\n", "KeyError: 'k'", 2),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye", 2),
    ],
)
def test_whatever_happens_in_an_import(tmp_path: Path, text: str, error: str, line: int) -> None:
    message = refusal(tmp_path, text)
    assert error in message
    assert f"at {tmp_path}/broken.py:{line}\n" in message


def test_an_entry_point_to_nothing() -> None:
    source = PluginSource("ghost", module="l4proxy_ghost", distribution="Ghost", version="3")
    with pytest.raises(PluginError, match=re.escape("plugin 'ghost' (l4proxy_ghost of Ghost 3) cannot be imported")):
        source.load()
    with pytest.raises(PluginError, match=r"AttributeError: .*'nope'"):
        PluginSource("ghost", module="l4proxy.filter", attr="nope").load()
