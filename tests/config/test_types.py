from __future__ import annotations

from pathlib import Path

import pytest

from l4proxy.config.types import PortRange, Secret

NO_FOLDER = Path()


def test_port_ranges() -> None:
    assert PortRange.from_config("8000-8999") == PortRange(8000, 8999)
    assert PortRange.from_config(80) == PortRange.from_config("80") == PortRange(80, 80)
    ports = PortRange(8000, 8002)
    assert [port for port in range(7999, 8005) if port in ports] == [8000, 8001, 8002]
    assert [str(PortRange(1, 1)), str(PortRange(1, 2))] == ["1", "1-2"]
    for wrong in ("", "80-", "-80", "http", "1-2-3", 80.0, True, None, -1, "99999", "2-1"):
        with pytest.raises(ValueError, match=r"port|backwards"):
            PortRange.from_config(wrong)


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret("geheim: ü") == Secret("geheim: ü")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_where_secrets_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("TOKEN", "from the environment")
    assert Secret.read("plain", NO_FOLDER).reveal() == "plain"
    assert Secret.read({"file": "token"}, tmp_path).reveal() == "from a file"
    assert Secret.read({"file": str(tmp_path / "token")}, NO_FOLDER).reveal() == "from a file"
    assert Secret.read({"env": "TOKEN"}, NO_FOLDER).reveal() == "from the environment"


def test_secret_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_bytes(b"\n")
    for name, cause in (
        ("binary", "not UTF-8 text"),
        ("empty", "is empty"),
        ("missing", "No such file"),
        (".", "director"),
    ):
        with pytest.raises(ValueError, match=cause):
            Secret.read({"file": name}, tmp_path)
