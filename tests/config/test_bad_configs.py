"""Every way in which a configuration can be wrong: ``bad/NAME.toml`` (or ``.json``), and what is said about it in
``bad/NAME.txt``."""

from __future__ import annotations

from pathlib import Path

import pytest

from l4proxy.config import load_file
from l4proxy.errors import ConfigError
from l4proxy.registry import Registry

BAD = Path(__file__).with_name("bad")
FILES = sorted(path for path in BAD.iterdir() if path.suffix != ".txt")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_said(path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    monkeypatch.delenv("SURELY_NOT_SET", raising=False)
    monkeypatch.setenv("DATABASE_URL", "db:5432")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("TEXT", "some")
    with pytest.raises(ConfigError) as caught:
        load_file(path.name, registry)
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text()


def test_every_text_belongs_to_a_configuration() -> None:
    assert {path.stem for path in BAD.glob("*.txt")} == {path.stem for path in FILES}
