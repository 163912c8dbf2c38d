from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from services.certs import Certs

GOOD = """
[[listeners]]
address = "127.0.0.1:0"
filter_chains = [
  { match = { port = [80] }, filters = ["echo"] },
  { filters = [{ use = "tcp_proxy", cluster = "c" }] },
]

[[clusters]]
name = "c"
endpoints = ["127.0.0.1:1"]
"""
BAD = """
[[listeners]]
address = "127.0.0.1:0"
filters = ["ehco"]

[[clusters]]
name = "c"
endpoint = ["127.0.0.1:1"]
"""
REFUSES = """
from l4proxy import hookimpl

@hookimpl
def config_loaded(config):
    raise ValueError("never on a Monday")
"""


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(text: str, name: str = "proxy.toml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_good_file(l4proxy: Any, file: Any) -> None:
    path = file(GOOD)
    assert l4proxy("check", path) == (0, f"{path}: ok (1 listener, 2 filter chains, 1 cluster)\n", "")


def test_a_good_file_for_programs(l4proxy: Any, file: Any) -> None:
    path = file(GOOD)
    status, out, err = l4proxy("check", "--json", path)
    assert (status, err) == (0, "")
    counts = {"listeners": 1, "filter_chains": 2, "clusters": 1}
    assert json.loads(out) == {"ok": True, "file": path, "problems": [], "remarks": [], **counts}


def test_what_is_worth_knowing(l4proxy: Any, file: Any) -> None:
    path = file(GOOD.replace("127.0.0.1:0", ":6380").replace("tcp_proxy", "redis_proxy"))
    status, out, err = l4proxy("check", path)
    assert (status, err) == (0, "")
    assert f"note: {path}:6: listeners[0].filter_chains[1].filters[0]: clients of :6380 can come from" in out
    (remark,) = json.loads(l4proxy("check", "--json", path)[1])["remarks"]
    assert (remark["file"], remark["line"]) == (path, 6)


def test_everything_that_is_wrong(l4proxy: Any, file: Any) -> None:
    path = file(BAD)
    status, out, err = l4proxy("check", path)
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f"error: {path}:4: listeners[0].filters[0]: unknown filter 'ehco' (did you mean 'echo'?)",
        f"error: {path}:8: clusters[0].endpoint: unknown key (did you mean 'endpoints'?)",
    ]


def test_everything_that_is_wrong_for_programs(l4proxy: Any, file: Any) -> None:
    path = file(BAD)
    status, out, err = l4proxy("check", path, "--json")
    assert (status, err) == (2, "")
    said = json.loads(out)
    assert (said["ok"], said["file"]) == (False, path)
    assert said["problems"] == [
        {
            "path": "listeners[0].filters[0]",
            "file": path,
            "line": 4,
            "cause": "unknown filter 'ehco' (did you mean 'echo'?)",
        },
        {
            "path": "clusters[0].endpoint",
            "file": path,
            "line": 8,
            "cause": "unknown key (did you mean 'endpoints'?)",
        },
    ]


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("nix.toml", None, "nix.toml: cannot be read: No such file or directory"),
        ("a.toml", "[[listeners]\n", "a.toml:1: "),
        ("a.json", '{"listeners": [}', "a.json:1: "),
        ("a.ini", "x", "a.ini"),
    ],
)
def test_files_that_cannot_be_read(l4proxy: Any, tmp_path: Path, name: str, text: str | None, cause: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    path = str(tmp_path / name)
    status, out, err = l4proxy("check", path)
    assert (status, out) == (2, "")
    assert cause in err
    status, out, err = l4proxy("check", path, "--json")
    assert (status, err) == (2, "")
    assert not json.loads(out)["ok"]


def test_certificates_are_loaded(l4proxy: Any, file: Any, certs: Certs, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    tls = '[[listeners]]\naddress = "127.0.0.1:0"\nfilters = ["echo"]\n[listeners.tls]\ncert = "{}"\nkey = "{}"\n'
    good = file(tls.format(certs.server.cert, certs.server.key), "good.toml")
    assert l4proxy("check", good).status == 0
    for cert in ("empty.pem", "missing.pem"):
        bad = file(tls.format(cert, certs.server.key), "bad.toml")
        status, _out, err = l4proxy("check", bad)
        assert status == 2
        assert err.startswith(f"error: {bad}:")
        assert ": listeners[0].tls" in err
        assert cert in err


def test_what_clusters_are_made_of_is_tried(l4proxy: Any, file: Any, tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("[1]")
    path = file(
        GOOD + 'discovery = { use = "endpoints_file", path = "endpoints.json" }\n[clusters.tls]\nca = "no.pem"\n'
    )
    status, _out, err = l4proxy("check", path)
    assert status == 2
    assert f"error: {path}:" in err
    assert "clusters[0].tls" in err


LISTENER = """
[[listeners]]
address = "127.0.0.1:0"
[[listeners.filters]]
use = "{}"
{}

[[clusters]]
name = "backend"
endpoints = ["127.0.0.1:1"]
"""
NAMED = {
    "http": [
        ('upstreams = { bakend = { protocol = "http2" } }', "upstreams.bakend"),
        ('filters = [{ use = "health_check", min_endpoints = { bakend = 1 } }]', "filters[0].min_endpoints.bakend"),
        ('filters = [{ use = "mirror", cluster = "bakend" }]', "filters[0].cluster"),
        ('filters = [{ use = "ext_authz", cluster = "bakend" }]', "filters[0].cluster"),
        ('filters = [{ use = "grpc_health", services = { "a.B" = "bakend" } }]', 'filters[0].services."a.B"'),
        ('routes = [{ prefix = "/", clusters = [{ cluster = "bakend" }] }]', "routes[0].clusters[0].cluster"),
        (
            'routes = [{ prefix = "/", cluster_header = "x", allowed_clusters = ["bakend"] }]',
            "routes[0].allowed_clusters[0]",
        ),
    ],
    "redis_proxy": [
        ('read_cluster = "bakend"', "read_cluster"),
        ('mirrors = [{ cluster = "bakend" }]', "mirrors[0].cluster"),
        ('routes = [{ prefix = "a", cluster = "bakend" }]', "routes[0].cluster"),
    ],
    "kafka_proxy": [
        ('routes = [{ topics = ["a"], cluster = "bakend" }]', "routes[0].cluster"),
        ('filters = [{ use = "mirror", topics = ["a"], cluster = "bakend" }]', "filters[0].cluster"),
    ],
}


@pytest.mark.parametrize(
    ("use", "options", "where"), [(use, *one) for use, several in NAMED.items() for one in several]
)
def test_a_cluster_that_is_not_there(l4proxy: Any, file: Any, use: str, options: str, where: str) -> None:
    path = file(LISTENER.format(use, f'cluster = "backend"\n{options}'))
    status, out, err = l4proxy("check", path)
    cause = "there is no cluster 'bakend' (did you mean 'backend'?)"
    assert (status, out) == (2, "")
    assert err == f"error: {path}:7: listeners[0].filters[0].{where}: {cause}\n"
    assert l4proxy("run", path) == (status, out, err)


def test_a_cluster_that_a_filter_makes_for_itself_has_a_name_too(l4proxy: Any, file: Any) -> None:
    forward = 'routes = [{ prefix = "/", forward = { allow = ["a.test"], name = "out" } }]'
    for name, status in (("out", 0), ("outt", 2)):
        upstreams = f'upstreams = {{ {name} = {{ idle_timeout = "1s" }} }}'
        assert l4proxy("check", file(LISTENER.format("http", f"{upstreams}\n{forward}"))).status == status


@pytest.mark.parametrize(
    ("use", "options", "where"),
    [
        ("http", 'error_pages = { 503 = "page.htm" }', "error_pages.503"),
        ("http", 'routes = [{ prefix = "/", respond = { file = "page.htm" } }]', "routes[0].respond.file"),
        ("http", 'filters = [{ use = "basic_auth", file = "page.htm" }]', "filters[0].file"),
        (
            "http",
            'routes = [{ prefix = "/", cluster = "backend", filters = [{ use = "basic_auth", file = "page.htm" }] }]',
            "routes[0].filters[0].file",
        ),
        ("http", 'filters = [{ use = "jwt_authn", jwks = "page.htm" }]', "filters[0].jwks"),
        ("redis_proxy", 'filters = [{ use = "auth", file = "page.htm" }]', "filters[0].file"),
    ],
)
def test_a_file_that_is_not_there(l4proxy: Any, file: Any, tmp_path: Path, use: str, options: str, where: str) -> None:
    (tmp_path / "page.html").touch()
    path = file(LISTENER.format(use, f'cluster = "backend"\n{options}'))
    status, out, err = l4proxy("check", path)
    cause = f"cannot read {tmp_path}/page.htm: No such file or directory (did you mean '{tmp_path}/page.html'?)"
    assert (status, out) == (2, "")
    assert err == f"error: {path}:7: listeners[0].filters[0].{where}: {cause}\n"


def test_every_filter_is_tried(l4proxy: Any, file: Any) -> None:
    path = file(
        LISTENER.format("direct_response", 'file = "a.txt"')
        + LISTENER.partition("[[clusters]]")[0]
        .format("direct_response", 'file = "b.txt"')
        .replace('address = "', 'name = "b"\naddress = "')
    )
    status, _out, err = l4proxy("check", path)
    assert status == 2
    assert [line.partition(": cannot read")[0] for line in err.splitlines()] == [
        f"error: {path}:6: listeners[0].filters[0].file",
        f"error: {path}:17: listeners[1].filters[0].file",
    ]


def test_what_stands_in_files_is_read(l4proxy: Any, file: Any, tmp_path: Path) -> None:
    (tmp_path / "users.acl").write_text("user ann on +@raed\n")
    path = file(LISTENER.format("redis_proxy", 'cluster = "backend"\nfilters = [{ use = "auth", file = "users.acl" }]'))
    assert "filters[0].filters[0].file: " in (err := l4proxy("check", path).err)
    assert "users.acl: line 1: there is no category @raed" in err


def test_folders_of_logs_have_to_be_there(l4proxy: Any, file: Any, tmp_path: Path) -> None:
    path = file(
        '[[listeners]]\naddress = "127.0.0.1:0"\nfilters = ["echo"]\n'
        'access_log = [{ use = "file", path = "b/b.log" }]\n'
        '[[access_log]]\nuse = "file"\npath = "a/a.log"\n'
    )
    status, _out, err = l4proxy("check", path)
    assert status == 2
    causes = [f"cannot open {tmp_path}/{name}/{name}.log: there is no folder {tmp_path}/{name}" for name in "ba"]
    assert err.splitlines() == [
        f"error: {path}:4: listeners[0].access_log[0].path: {causes[0]}",
        f"error: {path}:7: access_log[0].path: {causes[1]}",
    ]


def test_nothing_outside_is_touched(l4proxy: Any, file: Any, tmp_path: Path) -> None:
    """No socket is made, no log opened."""
    path = file(
        '[[listeners]]\naddress = "unix:proxy.sock"\nfilters = ["echo"]\n[[access_log]]\nuse = "file"\npath = "a.log"\n'
    )
    assert l4proxy("check", path).status == 0
    assert os.listdir(tmp_path) == ["proxy.toml"]
    assert not Path("proxy.sock").exists()


def test_a_plugin_may_refuse(l4proxy: Any, file: Any, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "picky.py").write_text(REFUSES)
    path = file(GOOD)
    status, _out, err = l4proxy("check", path, "--plugin-dir", str(tmp_path / "plugins"))
    assert status == 2
    assert "refused by plugin 'picky': never on a Monday" in err


def test_broken_plugins_are_problems_beside_the_others(l4proxy: Any, file: Any, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "broken.py").write_text("import nothing_like_that")
    options = ["--plugin-dir", str(tmp_path / "plugins")]
    for text, count in ((GOOD, 1), (BAD, 3)):
        status, out, _err = l4proxy("check", file(text), "--json", *options)
        problems = json.loads(out)["problems"]
        assert (status, len(problems)) == (2, count)
        assert "nothing_like_that" in problems[0]["cause"]
