from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.config.reference import reference
from l4proxy.plugins.matchers import Tls
from l4proxy.plugins.name_patterns import NamePattern, NamePatterns
from l4proxy.registry import Kind


def patterns(*texts: str) -> NamePatterns:
    return NamePatterns([NamePattern.from_config(text) for text in texts])


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("a.test", ["a.test"], ["", "b.a.test", "xa.test", "a.test.x", "A.test"]),
        ("A.Test", ["a.test"], []),
        ("*.a.test", ["b.a.test", "c.b.a.test"], ["", "a.test", ".a.tes", "xa.test", "b.a.test.x"]),
        ("*", ["a.test", "localhost"], [""]),
        ("_dmarc.a-b.test", ["_dmarc.a-b.test"], []),
        ("192.0.2.1", ["192.0.2.1"], ["192.0.2.10"]),
        ("[2001:db8::1]", ["[2001:db8::1]"], ["2001:db8::1"]),
    ],
)
def test_what_is_in_a_pattern(pattern: str, inside: list[str], outside: list[str]) -> None:
    assert all(name in patterns(pattern) for name in inside)
    assert not any(name in patterns(pattern) for name in outside)


def test_several_patterns_and_none() -> None:
    some = patterns("a.test", "*.b.test", "*.c.test")
    assert all(name in some for name in ("a.test", "x.b.test", "x.c.test"))
    assert "x.a.test" not in some
    assert "a.test" not in patterns()


@pytest.mark.parametrize(
    ("raw", "advice"),
    [
        (7, "a name is text"),
        ("", "is not a host name"),
        ("a.test.", 'write "a.test"'),
        ("a..test", "is not a host name"),
        ("-a.test", "is not a host name"),
        ("a.test:443", "is not a host name"),
        ("https://a.test", "is not a host name"),
        ("a" * 64, "is not a host name"),
        ("*a.test", "a star stands alone"),
        ("a.*.test", "a star stands alone"),
        ("*.*.test", "a star stands alone"),
        ("bücher.test", r'write "xn--bcher-kva.test"'),
        ("ä" * 70, "is not ASCII"),
    ],
)
def test_what_is_no_pattern(raw: object, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        NamePattern.from_config(raw)


@given(st.text(max_size=20))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        pattern = NamePattern.from_config(text)
    except ValueError:
        return
    assert NamePattern.from_config(str(pattern)) == pattern


def test_pages_show_it_as_a_host_name() -> None:
    page = reference(Tls, Kind.MATCHER)
    assert 'server_names = ["*.example.com"]\n      an array (of items each a host name)' in page
