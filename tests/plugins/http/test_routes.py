from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy.config.structure import structure
from l4proxy.plugins.http.config import HttpConfig
from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.message import HttpRequest
from l4proxy.plugins.http.routes import RouteTable, VirtualHostTable, route_tables
from l4proxy.registry import Registry


def config(**options: Any) -> HttpConfig:
    return structure(HttpConfig, options, registry=Registry())


def request(target: str = "/", method: str = "GET", host: str = "a.test", **fields: str) -> HttpRequest:
    pairs = [("Host", host), *((name.replace("_", "-"), value) for name, value in fields.items())]
    return HttpRequest(method, target, Headers.of(pairs).block)


def table(*routes: dict[str, Any]) -> RouteTable:
    ((_, made),) = route_tables(config(routes=[{"respond": {}, **route} for route in routes]))
    return made


def taken(routes: RouteTable, target: str, client: str = "192.0.2.1", **options: Any) -> int | None:
    """The number of the route, found by the index and by looking at each: both have to agree."""
    asked = request(target, **options)
    found = routes.find(asked, client)
    last = routes.explain(asked, client)[-1]
    assert (None if last.failed or last.route.config.percent == 0.0 else last.route) is found
    return None if found is None else found.order


@pytest.mark.parametrize(
    ("route", "yes", "no"),
    [
        ({"path": "/a"}, ["/a", "/a?b"], ["/", "/a/", "/ab", "/A", "/a/b", "*"]),
        ({"path": "/"}, ["/", "/?a"], ["/a", "//"]),
        ({"path": "*"}, ["*"], ["/", "/*"]),
        ({"prefix": "/a"}, ["/a", "/a/", "/a/b/c", "/a?b=/c"], ["/", "/ab", "/b/a"]),
        ({"prefix": "/a/"}, ["/a", "/a/", "/a/b"], ["/ab"]),
        ({"prefix": "/"}, ["/", "/a", "/a/b", "//"], ["*"]),
        ({"pattern": "/u/{id}"}, ["/u/1", "/u/a%20b"], ["/u", "/u/", "/u/1/", "/u/1/2"]),
        ({"pattern": "/u/{id}/{rest...}"}, ["/u/1", "/u/1/", "/u/1/2/3"], ["/u", "/u/"]),
        ({"regex": "/a[0-9]+"}, ["/a1", "/a12"], ["/a", "/a1b", "/x/a1"]),
        ({}, ["/", "/a"], []),
    ],
)
def test_paths(route: dict[str, Any], yes: list[str], no: list[str]) -> None:
    routes = table({"path": "/never", "headers": ["never"]}, route)
    assert [taken(routes, target) for target in yes] == [1] * len(yes)
    assert [taken(routes, target) for target in no] == [None] * len(no)


@pytest.mark.parametrize(
    ("route", "yes", "no"),
    [
        ({"methods": ["GET", "PUT"]}, {"method": "PUT"}, {"method": "POST"}),
        ({"headers": ["x-a"]}, {"X_A": ""}, {}),
        ({"headers": [{"name": "X-A", "invert": True}]}, {}, {"X_A": "1"}),
        ({"headers": [{"name": "x-a", "exact": "1"}]}, {"X_A": "1"}, {"X_A": "12"}),
        ({"headers": [{"name": "x-a", "prefix": "1"}]}, {"X_A": "12"}, {"X_A": "21"}),
        ({"headers": [{"name": "x-a", "suffix": "1"}]}, {"X_A": "21"}, {"X_A": "12"}),
        ({"headers": [{"name": "x-a", "contains": "b"}]}, {"X_A": "abc"}, {"X_A": "ac"}),
        ({"headers": [{"name": "x-a", "regex": "[a-c]+"}]}, {"X_A": "abc"}, {"X_A": "abd"}),
        ({"headers": [{"name": "x-a", "exact": "1", "invert": True}]}, {"X_A": "2"}, {"X_A": "1"}),
        ({"query": ["q"]}, {"target": "/?p&q"}, {"target": "/?p"}),
        ({"query": [{"name": "q q", "exact": "a b"}]}, {"target": "/?q%20q=a+b"}, {"target": "/?q%20q=ab"}),
        ({"cookies": [{"name": "c", "exact": "1"}]}, {"Cookie": "a=2; c=1"}, {"Cookie": "cc=1"}),
        ({"source": ["10.0.0.0/8"]}, {"client": "10.1.2.3"}, {"client": "11.1.2.3"}),
        ({"percent": 0.0}, None, {}),
    ],
)
def test_conditions(route: dict[str, Any], yes: dict[str, Any] | None, no: dict[str, Any]) -> None:
    routes = table(route)
    if yes is not None:
        assert taken(routes, yes.pop("target", "/"), **yes) == 0
    assert taken(routes, no.pop("target", "/"), **no) is None


def test_the_first_route_in_the_file_has_it() -> None:
    routes = table(
        {"path": "/a/b", "headers": ["x-a"]}, {"pattern": "/{one}/b"}, {"regex": "/a/.*"}, {"prefix": "/a"}, {}
    )
    assert taken(routes, "/a/b", X_A="1") == 0
    assert taken(routes, "/a/b") == 1
    assert taken(routes, "/a/c") == 2
    assert taken(routes, "/a") == 3
    assert taken(routes, "/") == 4


def test_a_share_of_requests() -> None:
    routes = table({"percent": 25}, {})
    random.seed(1)
    found = [routes.find(request(), "") for _ in range(4000)]
    assert 900 < sum(route is not None and route.order == 0 for route in found) < 1100


def test_parameters() -> None:
    pattern = table({"pattern": "/u/{id}/{rest...}"}).routes[0]
    assert pattern.found_in("/u/7/a/b") == {"id": "7", "rest": "a/b"}
    assert pattern.found_in("/u/7") == {"id": "7", "rest": ""}
    regex = table({"regex": "/(?P<lang>de|en)/(?P<page>[a-z]+)"}).routes[0]
    assert regex.found_in("/de/home") == {"lang": "de", "page": "home"}


def test_ten_thousand_routes_cost_as_much_as_ten() -> None:
    """Not measured by the clock: of how many routes does a look-up look at the conditions?"""
    routes = [{"path": f"/static/{at}"} for at in range(4000)]
    routes += [{"prefix": f"/api/v{at % 7}/service-{at}"} for at in range(4000)]
    routes += [{"pattern": f"/{{tenant}}/area-{at}/{{rest...}}"} for at in range(2000)]
    large = table(*routes)
    for target in ("/static/3999", "/api/v3/service-3/x/y", "/t/area-1999/z", "/nothing/here", "/" + "a/" * 500):
        assert len(large._candidates(target)) <= 2
        taken(large, target)
    steps = 0

    class Counted(dict[str, Any]):
        def get(self, *key: Any) -> Any:
            nonlocal steps
            steps += 1
            return super().get(*key)

    def count(node: Any) -> None:
        node.children = Counted(node.children)
        for child in (*node.children.values(), *([node.any] if node.any else [])):
            count(child)

    count(large._root)
    large.find(request("/api/v3/service-3/x/y"), "")
    assert steps <= 6


def hosts(*names: str) -> VirtualHostTable:
    one = [{"name": name, "hosts": [name], "routes": [{"respond": {}}]} for name in names]
    return VirtualHostTable(route_tables(config(virtual_hosts=one)))


def test_virtual_hosts() -> None:
    table = hosts("a.test", "*.a.test", "*.b.a.test", "a.test:8443", "[::1]", "*")
    for authority, name in (
        ("a.test", "a.test"),
        ("A.TEST:80", "a.test"),
        ("a.test.", "a.test"),
        ("a.test:8443", "a.test:8443"),
        ("x.a.test", "*.a.test"),
        ("x.y.a.test:1", "*.a.test"),
        ("x.b.a.test", "*.b.a.test"),
        ("b.a.test", "*.a.test"),
        ("[::1]:80", "[::1]"),
        ("xa.test", "*"),
        ("", "*"),
    ):
        for _ in range(2):
            found = table.find(authority)
            assert found is not None
            assert found.name == name, authority
    assert hosts("a.test").find("b.test") is None


def test_hosts_that_strangers_name_are_not_remembered_for_ever() -> None:
    table = hosts("*")
    for at in range(3000):
        table.find(f"{at}.test")
    assert len(table._known) <= 1024
