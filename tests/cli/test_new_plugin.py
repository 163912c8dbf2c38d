from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_the_package_is_written_and_the_next_steps_are_said(l4proxy: Any, tmp_path: Path) -> None:
    status, out, err = l4proxy("new-plugin", "rate-limit", "--dir", str(tmp_path))
    assert (status, err) == (0, "")
    package = tmp_path / "l4proxy-rate-limit"
    written = out.partition("\n\n")[0].splitlines()
    assert sorted(written) == sorted(str(path) for path in package.rglob("*") if path.is_file())
    assert f"  cd {package}\n  pip install -e '.[test]'\n" in out


def test_it_is_written_here_unless_told_otherwise(
    l4proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert l4proxy("new-plugin", "gate").status == 0
    assert (tmp_path / "l4proxy-gate" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("Gate!", "'Gate!' cannot be the name of a plugin"),
        ("echo", "there is a filter 'echo' already"),
    ],
)
def test_names_that_cannot_be(l4proxy: Any, tmp_path: Path, name: str, cause: str) -> None:
    status, out, err = l4proxy("new-plugin", name, "--dir", str(tmp_path))
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {cause}")
    assert not list(tmp_path.iterdir())


def test_a_broken_plugin_is_no_hindrance(l4proxy: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_like_that")
    assert l4proxy("new-plugin", "gate", "--dir", str(tmp_path), "--plugin-dir", str(tmp_path)).status == 0
