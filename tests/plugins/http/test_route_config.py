"""Mistakes in routes, found when the file is read, and said with the place and the cause."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.config.structure import structure
from l4proxy.plugins.http.route_config import Route
from l4proxy.registry import Registry
from refusals import refusal


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({}, "cluster: where shall it go? (write one of cluster,"),
        ({"path": "/a", "prefix": "/b", "respond": {}}, "prefix: not beside path"),
        ({"path": "a", "respond": {}}, "path: 'a' does not begin with a slash"),
        ({"pattern": "/{a}/{a}", "respond": {}}, "pattern: there are two parameters 'a'"),
        ({"pattern": "/{a...}/b", "respond": {}}, "has to be the last one"),
        ({"pattern": "/x{a}", "respond": {}}, "neither a segment nor a {parameter}"),
        ({"regex": "/(a+)+", "respond": {}}, "could take for ever"),
        ({"regex": "(", "respond": {}}, "regex: '('"),
        ({"methods": ["G T"], "respond": {}}, "methods: 'G T' is no method"),
        ({"methods": ["get"], "respond": {}}, "methods: 'get' is not GET: case matters"),
        ({"request_headers": {"set": {"content-length": "1"}}, "respond": {}}, "not for routes to change"),
        ({"request_headers": {"set": {"x": "%REG(a)%"}}, "respond": {}}, "did you mean 'REQ'"),
        ({"headers": [{"name": "a", "exact": "1", "prefix": "1"}], "respond": {}}, "prefix: not beside exact"),
        ({"cluster_header": "x"}, "allowed_clusters: say which clusters"),
        ({"clusters": [{"cluster": "a", "weight": 0}]}, "clusters: at least one weight"),
        ({"cluster": "a", "upgrades": ["h2c"]}, "upgrades: no connection is switched to h2c"),
        ({"rewrite_prefix": "/a", "cluster": "a"}, "rewrite_prefix: needs a prefix"),
        ({"prefix": "/a", "rewrite_prefix": "/b", "rewrite_path": "/c", "cluster": "a"}, "not beside rewrite_prefix"),
        ({"rewrite_path": "b", "cluster": "a"}, "rewrite_path: 'b' does not begin with a slash"),
        (
            {"pattern": "/{id}", "rewrite_path": "/{Id}", "cluster": "a"},
            "{Id} is no parameter of pattern (known: id)",
        ),
        ({"regex": "/(?P<a>x)", "rewrite_path": "/{b}", "cluster": "a"}, "{b} is no named group of regex (known: a)"),
        ({"rewrite_host": "http://a", "cluster": "a"}, "rewrite_host: 'http://a' is not a host"),
        ({"path": "/a", "redirect": {"prefix": "/b"}}, "redirect.prefix: needs a prefix of the route"),
    ],
)
def test_routes(route: dict[str, Any], words: str) -> None:
    assert words in refusal(Route, **route)


def test_what_a_rewritten_path_may_have() -> None:
    for route in (
        {"pattern": "/u/{id}/{rest...}", "rewrite_path": "/{rest}/{id}"},
        {"regex": "(?P<all>/.*)x", "rewrite_path": "{all}"},
    ):
        structure(Route, {"cluster": "a", **route}, registry=Registry())
