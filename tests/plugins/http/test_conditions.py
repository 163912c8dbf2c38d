from __future__ import annotations

import random
import re
from ipaddress import ip_network
from typing import Any

import pytest

from l4proxy.plugins.http.action_config import DirectResponse
from l4proxy.plugins.http.conditions import compile_conditions, cookie, query_parameter, safe_regex, value_test
from l4proxy.plugins.http.field_config import FieldMatch
from l4proxy.plugins.http.message import HttpRequest
from l4proxy.plugins.http.route_config import Route
from l4proxy.protocols.http_fields import FieldBlock


def request(target: str = "/", method: str = "GET", *fields: tuple[str, str]) -> HttpRequest:
    return HttpRequest(method, target, FieldBlock([("host", "a"), *fields]))


def holds(asked: HttpRequest, client: str = "192.0.2.1", **options: Any) -> list[bool]:
    """Which of the conditions hold, in the order in which they are asked."""
    return [one.holds(asked, client) for one in compile_conditions(Route(respond=DirectResponse(), **options))]


@pytest.mark.parametrize(
    ("options", "values", "others"),
    [
        ({}, ["", "a"], [None]),
        ({"exact": "a"}, ["a"], ["", "A", "ab", None]),
        ({"prefix": "a"}, ["a", "ab"], ["ba", None]),
        ({"suffix": "a"}, ["a", "ba"], ["ab", None]),
        ({"contains": "a"}, ["a", "bab"], ["b", None]),
        ({"regex": "a[0-9]+"}, ["a1"], ["a", "ba1", "a1b", None]),
    ],
)
def test_values(options: dict[str, Any], values: list[str | None], others: list[str | None]) -> None:
    test = value_test(FieldMatch("x", **options))
    inverted = value_test(FieldMatch("x", **options, invert=True))
    for value in values:
        assert (test(value), inverted(value)) == (True, False)
    for value in others:
        assert (test(value), inverted(value)) == (False, True)


def test_all_that_is_written_has_to_hold() -> None:
    options: dict[str, Any] = {
        "methods": ("GET", "HEAD"),
        "headers": (FieldMatch("X-A", exact="1"),),
        "query": (FieldMatch("q"),),
        "cookies": (FieldMatch("c", prefix="x"),),
        "source": (ip_network("192.0.2.0/24"),),
    }
    fields = [("x-a", "1"), ("cookie", "b=y; c=xy")]
    assert holds(request("/?q", "GET", *fields), **options) == [True] * 5
    assert holds(request("/?r", "POST"), client="198.51.100.1", **options) == [False] * 5


def test_a_share_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.25)
    assert holds(request(), percent=25.0) == [False]
    assert holds(request(), percent=25.1) == [True]
    assert holds(request(), percent=100.0) == []


@pytest.mark.parametrize(
    ("query", "value"),
    [("a=1", "1"), ("b=2&a=1&a=3", "1"), ("a", ""), ("a=", ""), ("%61=x%20y+z", "x y z"), ("b=1", None), ("", None)],
)
def test_query_parameters(query: str, value: str | None) -> None:
    assert query_parameter(query, "a") == value


@pytest.mark.parametrize(
    ("field", "value"), [("a=1", "1"), ("b=2; a=1", "1"), ('a="1"', "1"), ("a", None), ("aa=1", None), ("b=a=1", None)]
)
def test_cookies(field: str, value: str | None) -> None:
    assert cookie(request("/", "GET", ("cookie", field)), "a") == value


def test_conditions_say_what_they_are() -> None:
    route = Route(
        respond=DirectResponse(),
        methods=("GET", "HEAD"),
        headers=(FieldMatch("x-a", exact="1"), FieldMatch("x-b", invert=True)),
        percent=10.0,  # type: ignore[arg-type]
    )
    texts = ["method GET or HEAD", "header x-a exact '1'", "header x-b is there, inverted", "percent 10"]
    assert [one.text for one in compile_conditions(route)] == texts


@pytest.mark.parametrize("expression", ["/a/.*", "[a-z]+-[0-9]{1,3}", "(?P<name>[^/]+)/x", "(a|b)c?", r"\(a\)+"])
def test_regular_expressions_that_end_in_time(expression: str) -> None:
    assert safe_regex(expression).pattern == expression


@pytest.mark.parametrize("expression", ["(", "[a", "a{2}{3}", "*"])
def test_what_is_no_regular_expression(expression: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(expression))):
        safe_regex(expression)
