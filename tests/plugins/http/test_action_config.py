"""Mistakes in what becomes of requests, found when the file is read."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.plugins.http.route_config import Route
from refusals import refusal


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"redirect": {}}, "redirect: where to? (write scheme,"),
        ({"redirect": {"path": "x"}}, "redirect.path: 'x' does not begin with a slash"),
        ({"prefix": "/a", "redirect": {"prefix": "x"}}, "redirect.prefix: 'x' does not begin with a slash"),
        ({"prefix": "/a", "redirect": {"prefix": "/x", "path": "/y"}}, "redirect.prefix: not beside path"),
        ({"redirect": {"host": "https://a.test"}}, "redirect.host: 'https://a.test' is not a host"),
        ({"redirect": {"scheme": "https"}, "cluster": "a"}, "redirect: not beside cluster"),
        ({"respond": {"text": "a", "file": "b"}}, "respond.text: not beside file"),
        ({"respond": {"status": 204, "text": "a"}}, "respond.text: a response with status 204 has no body"),
        ({"respond": {"headers": {"x y": "1"}}}, "respond.headers: 'x y' is not the name of a header field"),
        ({"respond": {"headers": {"x": "a\nb"}}}, "is not the value of a header field"),
        ({"cluster": "a", "hash_policy": [{}]}, "write one of header, query, cookie, source_ip"),
        ({"cluster": "a", "hash_policy": [{"header": "x", "ttl": "1s"}]}, "ttl: is of a cookie"),
        ({"cluster": "a", "retry": {"hedge": True}}, "retry.hedge: needs per_try_timeout"),
        ({"cluster": "a", "retry": {"on": ["502"]}}, "retry.on[0]: unknown value '502' (known: 5xx, "),
    ],
)
def test_actions(route: dict[str, Any], words: str) -> None:
    assert words in refusal(Route, **route)
