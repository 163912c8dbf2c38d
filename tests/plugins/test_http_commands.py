"""``l4proxy http`` and ``l4proxy route``."""

from __future__ import annotations

from pathlib import Path

import pytest

from l4proxy.cli.main import main

FILE = """
[[listeners]]
name = "web"
address = "127.0.0.1:0"
[[listeners.filters]]
use = "http"
filters = [{ use = "cors", origins = ["*"] }, "request_id"]
[[listeners.filters.virtual_hosts]]
hosts = ["*.example.com"]
[[listeners.filters.virtual_hosts.routes]]
name = "beta"
without = ["cors"]
filters = ["buffer"]
pattern = "/users/{id}"
headers = [{ name = "x-beta", exact = "1" }]
cluster = "app"
[[listeners.filters.virtual_hosts.routes]]
prefix = "/"
cluster = "app"
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:1"]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "l4proxy.toml"
    path.write_text(FILE)
    return str(path)


def test_route_says_which_and_why(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", file, "GET", "https://a.example.com/users/7?x", "-H", "X-Beta: 1"]) == 0
    out = capsys.readouterr().out
    assert "virtual host *.example.com" in out
    assert "0 beta                     takes it" in out
    assert "{id} is '7'" in out
    assert "filters request_id, buffer (the route's)" in out
    assert main(["route", file, "GET", "https://a.example.com/users/7"]) == 0
    out = capsys.readouterr().out
    assert "no: header x-beta exact '1'" in out
    assert "1 /*                       takes it" in out


def test_route_says_what_nobody_takes(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", file, "GET", "http://b.test/"]) == 1
    assert "no virtual host has 'b.test'" in capsys.readouterr().out
    assert main(["route", file, "GET", "http://a.example.com/a%2fb"]) == 1
    assert "the path is refused: escaped_slash" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["GET", "a.test/"], "is not http://host/path"),
        (["GET", "http://a.test/", "-H", "nonsense"], "has no colon"),
        (["GET", "http://a.test/", "--listener", "other"], "has no http filter"),
    ],
)
def test_route_says_what_is_wrong(
    file: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", file, *arguments]) == 2
    assert words in capsys.readouterr().err
