from __future__ import annotations

import pytest

from l4proxy.cli.options import in_words_of_options
from l4proxy.errors import ConfigError, ConfigProblem

OPTIONS = {
    "listeners[0].address": "LISTEN",
    "listeners[0].filters[1]": "--use gate:n=1",
    "listeners[0].filters[10]": "tcp_proxy",
    "listeners[0].tls": "--tls-cert",
    "listeners[0].tls.key": "--tls-key",
    "admin.address": "--admin",
}


@pytest.mark.parametrize(
    ("path", "cause", "said"),
    [
        ("listeners[0].address", "is bad", "LISTEN: is bad"),
        ("listeners[0].filters[1]", "unknown filter 'gate'", "--use gate:n=1: unknown filter 'gate'"),
        ("listeners[0].filters[1].n", "is out of range", "--use gate:n=1: n: is out of range"),
        ("listeners[0].filters[1].a[2].b", "x", "--use gate:n=1: a[2].b: x"),
        ("listeners[0].filters[10].cluster", "x", "tcp_proxy: cluster: x"),
        ("listeners[0].tls.key", "x", "--tls-key: x"),
        ("listeners[0].tls.cert", "x", "--tls-cert: cert: x"),
        ("listeners[0].backlog", "x", "listeners[0].backlog: x"),
        ("listeners[0].addresses", "x", "listeners[0].addresses: x"),
        ("", "x", "x"),
        ("admin.address", "x is taken by listeners[0].address (y)", "--admin: x is taken by LISTEN (y)"),
        ("admin.address", "see listeners[0].addresses", "--admin: see listeners[0].addresses"),
    ],
)
def test_paths_become_options(path: str, cause: str, said: str) -> None:
    assert str(in_words_of_options(ConfigError([ConfigProblem(path, cause)]), OPTIONS)) == said


def test_all_problems_stay_in_their_order() -> None:
    problems = [ConfigProblem("admin.address", "one"), ConfigProblem("x", "two", file="f", line=3)]
    assert str(in_words_of_options(ConfigError(problems), OPTIONS)) == "--admin: one\nf:3: x: two"
