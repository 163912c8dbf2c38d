from __future__ import annotations

from typing import Any

import pytest

from l4proxy.plugins.http.action import redirect_location, rewritten_target
from l4proxy.plugins.http.action_config import Redirect
from l4proxy.plugins.http.message import HttpRequest
from l4proxy.plugins.http.route_config import Route
from l4proxy.plugins.http.routes import CompiledRoute
from l4proxy.protocols.http_fields import FieldBlock


def rewritten(target: str, **options: Any) -> str:
    return rewritten_target(CompiledRoute(Route(cluster="up", **options), 0), target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prefix", "to", "target", "expected"),
    [
        ("/api", "/v1", "/api/users?a=b", "/v1/users?a=b"),
        ("/api", "/v1/", "/api/users", "/v1/users"),
        ("/api/", "/v1", "/api/users", "/v1/users"),
        ("/api", "/", "/api/users", "/users"),
        ("/api", "/", "/api", "/"),
        ("/api", "", "/api?a", "/?a"),
        ("/", "/v1", "/users", "/v1/users"),
        ("/api", "/v1", "/api/api", "/v1/api"),
    ],
)
def test_another_prefix(prefix: str, to: str, target: str, expected: str) -> None:
    assert rewritten(target, prefix=prefix, rewrite_prefix=to) == expected


@pytest.mark.parametrize(
    ("options", "target", "expected"),
    [
        ({"pattern": "/u/{id}"}, "/u/7?x=/u/8", "/user/7?x=/u/8"),
        ({"pattern": "/u/{id}"}, "/u/{id}", "/user/{id}"),
        ({"regex": "/u-(?P<id>[0-9]+)"}, "/u-7", "/user/7"),
    ],
)
def test_another_path_with_parameters(options: dict[str, str], target: str, expected: str) -> None:
    assert rewritten(target, rewrite_path="/user/{id}", **options) == expected


def test_what_a_client_writes_is_not_taken_for_a_parameter() -> None:
    assert rewritten("/{b}/x", pattern="/{a}/{b}", rewrite_path="/{b}/{a}") == "/x/{b}"


def test_all_that_is_left() -> None:
    assert rewritten("/f/a/b/c", pattern="/f/{one}/{rest...}", rewrite_path="/{rest}/{one}") == "/b/c/a"


@pytest.mark.parametrize(
    ("options", "host", "expected"),
    [
        ({"scheme": "https"}, "a.test", "https://a.test/x/y?z"),
        ({"scheme": "https"}, "a.test:8080", "https://a.test/x/y?z"),
        ({"scheme": "https"}, "[::1]:8080", "https://[::1]/x/y?z"),
        ({"scheme": "https", "port": 8443}, "a.test:8080", "https://a.test:8443/x/y?z"),
        ({"port": 81}, "[::1]", "http://[::1]:81/x/y?z"),
        ({"host": "b.test"}, "a.test:8080", "http://b.test/x/y?z"),
        ({"host": "b.test:1", "path": "/p"}, "a.test", "http://b.test:1/p?z"),
        ({"prefix": "/new"}, "a.test:8080", "http://a.test:8080/new/y?z"),
        ({"host": "b.test", "strip_query": True}, "a.test", "http://b.test/x/y"),
    ],
)
def test_redirects(options: dict[str, Any], host: str, expected: str) -> None:
    request = HttpRequest("GET", "/x/y?z", FieldBlock([("host", host)]))
    assert redirect_location(Redirect(**options), "/x", request) == expected
