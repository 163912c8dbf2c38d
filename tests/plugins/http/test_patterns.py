from __future__ import annotations

from typing import Any

import pytest

from l4proxy.plugins.http.action_config import DirectResponse
from l4proxy.plugins.http.patterns import path_segments
from l4proxy.plugins.http.route_config import Route


def segments(**options: Any) -> Any:
    return path_segments(Route(respond=DirectResponse(), **options))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (None, (), False)),
        ({"regex": "/a.*"}, (None, (), False)),
        ({"path": "/"}, (("",), (), False)),
        ({"path": "/a/b"}, (("a", "b"), (), False)),
        ({"path": "/a/"}, (("a", ""), (), False)),
        ({"path": "*"}, (None, (), False)),
        ({"prefix": "/"}, ((), (), True)),
        ({"prefix": "/a"}, (("a",), (), True)),
        ({"prefix": "/a/"}, (("a",), (), True)),
        ({"pattern": "/users/{id}"}, (("users", None), ("id",), False)),
        ({"pattern": "/{a}/x/{b_2}"}, ((None, "x", None), ("a", "b_2"), False)),
        ({"pattern": "/files/{rest...}"}, (("files",), ("rest",), True)),
        ({"pattern": "/{rest...}"}, ((), ("rest",), True)),
    ],
)
def test_segments(options: dict[str, str], expected: Any) -> None:
    assert segments(**options) == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("/a{b}", "neither a segment nor"),
        ("/{}", "neither a segment nor"),
        ("/{a-b}", "neither a segment nor"),
        ("/{a}/{a}", "two parameters 'a'"),
        ("/{a...}/b", "has to be the last one"),
    ],
)
def test_what_is_no_pattern(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segments(pattern=pattern)
