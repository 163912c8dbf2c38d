"""Mistakes in the options of the filter, found when the file is read."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.config.structure import structure
from l4proxy.plugins.http.config import HttpConfig
from l4proxy.registry import Registry
from refusals import refusal

RESPOND: dict[str, Any] = {"respond": {}}


def hosts(*names: str) -> dict[str, Any]:
    return {"hosts": list(names), "routes": [RESPOND]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "cluster: write cluster, or routes, or virtual_hosts"),
        ({"virtual_hosts": [hosts("a b")]}, "is not a host name"),
        ({"virtual_hosts": [hosts("a.*.test")]}, "is not a host name, nor *.suffix"),
        (
            {"virtual_hosts": [hosts("b"), hosts("a", "B")]},
            "virtual_hosts[1].hosts[1]: virtual_hosts[0] has 'b' already",
        ),
        ({"cluster": "a", "error_pages": {"200": "x"}}, "error_pages: '200' is neither a status"),
        ({"cluster": "a", "error_pages": {"3xx": "x"}}, "error_pages: '3xx' is neither a status"),
        ({"cluster": "a", "error_pages": {"": "x"}}, "error_pages: '' is neither a status"),
        ({"cluster": "a", "via": "a b"}, "via: 'a b' is not a name"),
        ({"cluster": "a", "server": "a\r\nb"}, "server: "),
        ({"cluster": "a", "limits": {"max_head": "10B"}}, "limits.max_head: 10B is out of range"),
        ({"cluster": "a", "limits": {"head_timeout": 5}}, 'a duration says its unit (write "5s")'),
    ],
)
def test_options(options: dict[str, Any], words: str) -> None:
    assert words in refusal(HttpConfig, **options)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"prefix": "/a"}),
        ({}, {"path": "*"}),
        ({"prefix": "/"}, {"pattern": "/{a}", "methods": ["GET"]}),
        ({"path": "/a"}, {"path": "/a", "headers": ["x"]}),
        ({"regex": "/a.*"}, {"regex": "/a.*"}),
    ],
)
def test_routes_that_are_never_reached(first: dict[str, Any], second: dict[str, Any]) -> None:
    routes = [{**first, **RESPOND}, {**second, **RESPOND}]
    words = "routes[1]: never reached: routes[0] takes all of its requests"
    assert words in refusal(HttpConfig, routes=routes)
    assert f"virtual_hosts[0].{words.replace('routes[0]', 'virtual_hosts[0].routes[0]')}" in refusal(
        HttpConfig, virtual_hosts=[{"hosts": ["a"], "routes": routes}]
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"prefix": "/"}, {"path": "*"}),
        ({"percent": "50%"}, {}),
        ({"headers": ["x"]}, {}),
        ({"path": "/a", "methods": ["GET"]}, {"path": "/a"}),
        ({"path": "/a"}, {"prefix": "/a"}),
    ],
)
def test_routes_that_are(first: dict[str, Any], second: dict[str, Any]) -> None:
    structure(HttpConfig, {"routes": [{**first, **RESPOND}, {**second, **RESPOND}]}, registry=Registry())
