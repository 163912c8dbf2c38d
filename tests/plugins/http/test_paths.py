from __future__ import annotations

import pytest

from l4proxy.plugins.http.paths import BadPath, normalize


def normal(target: str, merge: bool = False, slashes: str = "reject") -> str:
    return normalize(target, resolve=True, merge=merge, slashes=slashes)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", "/"),
        ("/a/b?c=../%2e", "/a/b?c=../%2e"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/a/%2e%2E/b", "/b"),
        ("/%61%2d%7E", "/a-~"),
        ("/%c3%a4", "/%C3%A4"),
        ("/a//b", "/a//b"),
        ("/...", "/..."),
        ("/.a/..b", "/.a/..b"),
        ("/a;b=c/d", "/a;b=c/d"),
    ],
)
def test_normal_form(target: str, expected: str) -> None:
    assert normal(target) == expected
    assert normal(normal(target)) == expected


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/..", "path_above_root"),
        ("/a/../../b", "path_above_root"),
        ("/%2e%2e/a", "path_above_root"),
        ("/a/..;x/b", "dot_segment_with_parameters"),
        ("/a/.;/b", "dot_segment_with_parameters"),
        ("/a%2fb", "escaped_slash"),
        ("/a%5Cb", "escaped_slash"),
        ("/a\\b", "escaped_slash"),
        ("/a%00", "nul_in_path"),
        ("/a%zz", "bad_escape"),
        ("/a%", "bad_escape"),
        ("/a%4", "bad_escape"),
    ],
)
def test_what_is_refused(target: str, why: str) -> None:
    with pytest.raises(BadPath, match=f"^{why}$"):
        normal(target)


def test_policies() -> None:
    assert normal("/a//b///c", merge=True) == "/a/b/c"
    assert normal("/a%2Fb", slashes="keep") == "/a%2Fb"
    assert normal("/a%2F..%2fb", slashes="unescape") == "/b"
    assert normalize("/a/../b", resolve=False, merge=False, slashes="keep") == "/a/../b"
