"""``l4proxy http`` and ``l4proxy forward``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from l4proxy.cli.main import main
from l4proxy.config import load_mapping
from l4proxy.plugin_manager import load_plugins
from l4proxy.plugins.http_commands import ForwardCommand, Http


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
    assert (http.normalize_path, http.merge_slashes, http.escaped_slashes) == (False, False, "keep")


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


@pytest.mark.parametrize(("arguments", "protocol"), [([], "auto"), (["--upstream-protocol", "http2"], "http2")])
def test_what_the_upstream_speaks(arguments: list[str], protocol: str) -> None:
    parser = argparse.ArgumentParser()
    Http().add_arguments(parser)
    draft = Http().draft(parser.parse_args(["127.0.0.1:0", "127.0.0.1:1", *arguments]))
    config = load_mapping(draft.config, load_plugins().registry)
    assert config.listeners[0].chains[0].filters[-1].config.upstream.protocol == protocol


@pytest.mark.parametrize(
    ("arguments", "logs"),
    [([], ["http_lines"]), (["--quiet"], []), (["--access-log", "-"], ["file"])],
)
def test_both_print_a_line_per_request(arguments: list[str], logs: list[str]) -> None:
    assert [use.name for use in forward("--allow", "*", *arguments).access_log] == logs
    parser = argparse.ArgumentParser()
    Http().add_arguments(parser)
    draft = Http().draft(parser.parse_args(["127.0.0.1:0", "127.0.0.1:1", *arguments]))
    assert [use["use"] for use in draft.config.get("access_log", [])] == logs
