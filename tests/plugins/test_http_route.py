"""``l4proxy route``."""

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
        (["GET", "http://a.test/", "--listener", "other"], "--listener: there is no listener 'other' (known: "),
        (["G T", "http://a.test/"], "METHOD: 'G T' is no method"),
        (["GET", "http://a.test/", "--source", "a.test"], "--source: 'a.test' is not an address"),
    ],
)
def test_route_says_what_is_wrong(
    file: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", file, *arguments]) == 2
    assert words in capsys.readouterr().err


MORE = """
[[listeners]]
address = "127.0.0.1:0"
[[listeners.filters]]
use = "http"
[[listeners.filters.routes]]
prefix = "/api"
percent = 10
clusters = [{ cluster = "app", weight = 3 }, { cluster = "app2" }]
rewrite_prefix = "/v2"
[[listeners.filters.routes]]
prefix = "/api"
cluster = "app"
rewrite_host = "app.internal"
hash_policy = [{ cookie = "sid" }]
retry = { attempts = 2, per_try_timeout = "1s", hedge = true }
[[listeners.filters.routes]]
path = "/old"
redirect = { scheme = "https", host = "new.test", code = 308 }
[[listeners.filters.routes]]
path = "/rare"
percent = 1
respond = {}
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:1"]
[[clusters]]
name = "app2"
endpoints = ["127.0.0.1:1"]
"""


def test_route_says_what_the_upstream_gets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "more.toml"
    path.write_text(MORE)
    assert main(["route", str(path), "GET", "http://a.test/x/../api/users?a=1"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        "the path in its normal form is /api/users?a=1",
        "virtual host *",
        "0 /api/*                   takes 10 % of them",
        "because of path /api/*",
        "clusters app 75 %, app2 25 %",
        "the upstream gets GET /v2/users?a=1",
        "timeout 60 s",
        "1 /api/*                   takes it",
        "because of path /api/*",
        "cluster app",
        "the upstream gets Host: app.internal",
        "endpoint by cookie sid",
        "timeout 60 s",
        "up to 2 retries on connect-failure, refused-stream, reset",
        "a try has 1 s, then another try begins beside it",
    ]
    assert main(["route", str(path), "GET", "http://a.test/old?q"]) == 0
    assert "redirect with 308 to https://new.test/old?q" in capsys.readouterr().out
    assert main(["route", str(path), "GET", "http://a.test/rare"]) == 0
    assert "no route takes the others: 404" in capsys.readouterr().out
    assert main(["route", str(path), "CONNECT", "http://a.test:443"]) == 1
    assert "no route takes it: 404" in capsys.readouterr().out
