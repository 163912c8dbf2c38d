"""``l4proxy http`` and ``l4proxy route``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from l4proxy.cli.main import main
from l4proxy.config import load_mapping
from l4proxy.plugin_manager import load_plugins
from l4proxy.plugins.http_commands import ForwardCommand

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


def forward(*arguments: str) -> Any:
    """The configuration of ``l4proxy forward``, checked."""
    parser = argparse.ArgumentParser()
    command = ForwardCommand()
    command.add_arguments(parser)
    draft = command.draft(parser.parse_args(["127.0.0.1:0", *arguments]))
    return load_mapping(draft.config, load_plugins().registry)


def test_forward_is_a_route_with_safe_defaults() -> None:
    config = forward("--allow", "*.example.com", "--allow", "pypi.org")
    http = config.listeners[0].chains[0].filters[-1].config
    (route,) = http.routes
    assert [str(one) for one in route.forward.allow] == ["*.example.com", "pypi.org"]
    assert (route.forward.ports, route.forward.connect_ports, route.forward.allow_private) == ((80,), (443,), False)
    assert (http.forwarded, http.via, http.filters, config.clusters) == ("off", "l4proxy", (), ())


def test_forward_may_be_told_more(tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_text("ann:secret\n")
    more = ("--ports", "80,8080", "--connect-ports", "", "--allow-private", "--users", str(users), "--quiet")
    config = forward("--allow", "*", *more)
    http = config.listeners[0].chains[0].filters[-1].config
    route = http.routes[0].forward
    assert (route.ports, route.connect_ports, route.allow_private) == ((80, 8080), (), True)
    assert (http.filters[0].name, http.filters[0].config.proxy, config.access_log) == ("basic_auth", True, ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--allow", "a b"], "--allow a b: 'a b' is not a host name"),
        (["--allow", "*", "--ports", "80,http"], "--ports: '80,http' is not ports"),
        (["--allow", "*", "--ports", "0"], "--ports"),
    ],
)
def test_forward_says_what_is_wrong(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forward", "127.0.0.1:0", *arguments]) == 2
    assert message in capsys.readouterr().err
