from __future__ import annotations

import pytest

from l4proxy.plugins.http.headers import Headers
from l4proxy.protocols.http_fields import FieldBlock

LINES = [b"Host: a", b"X-One:  1", b"x-two: 2", b"X-ONE: 3"]


def block() -> FieldBlock:
    fields = [("host", "a"), ("x-one", "1"), ("x-two", "2"), ("x-one", "3")]
    return FieldBlock(fields, list(LINES))


def lines(headers: Headers) -> list[bytes]:
    return list(headers.block.lines)


def test_reading_regards_no_case_and_joins() -> None:
    headers = Headers(block())
    assert headers["X-One"] == headers.get("x-ONE") == "1, 3"
    assert headers.get_all("X-one") == ["1", "3"]
    assert "HOST" in headers
    assert "nothing" not in headers
    assert 1 not in headers
    assert headers.get("nothing", "else") == "else"
    assert (list(headers), len(headers)) == (["host", "x-one", "x-two"], 4)
    with pytest.raises(KeyError):
        headers["nothing"]


def test_cookies_are_joined_by_semicolons() -> None:
    assert Headers.of([("Cookie", "a=b"), ("cookie", "c=d")])["cookie"] == "a=b; c=d"


def test_what_is_not_changed_is_the_same_block() -> None:
    shared = block()
    headers = Headers(shared)
    assert headers.block is shared
    assert not headers.discard("nothing")
    assert headers.block is shared


def test_a_change_is_nobody_elses_and_leaves_all_other_lines_as_they_were() -> None:
    shared = block()
    headers = Headers(shared)
    headers["X-Two"] = "new"
    assert lines(headers) == [LINES[0], LINES[1], b"X-Two: new", LINES[3]]
    assert list(shared.lines) == LINES
    assert shared.index["x-two"] == "2"


def test_setting_takes_the_first_place_and_removes_the_rest() -> None:
    headers = Headers(block())
    headers["x-one"] = "only"
    assert lines(headers) == [LINES[0], b"x-one: only", LINES[2]]
    headers["X-New"] = "last"
    assert lines(headers)[-1] == b"X-New: last"


def test_adding_appending_and_removing() -> None:
    headers = Headers(block())
    headers.add("X-Two", "4")
    assert headers.get_all("x-two") == ["2", "4"]
    headers.append("Via", "1.1 a")
    headers.append("via", "1.1 b")
    assert headers["via"] == "1.1 a, 1.1 b"
    del headers["X-ONE"]
    assert headers.discard("host")
    assert [name for name, _ in headers.items()] == ["x-two", "x-two", "via"]
    with pytest.raises(KeyError):
        del headers["host"]


def test_reading_between_changes_sees_them() -> None:
    headers = Headers(block())
    headers.add("a", "1")
    assert headers["a"] == "1"
    headers.add("a", "2")
    assert headers["a"] == "1, 2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "a"), ("a b", "c"), ("a:", "b"), ("a\r\nb", "c"), ("ä", "b"), ("a\0", "b"),
        ("a", "b\r\nc: d"), ("a", "b\n"), ("a", "b\r"), ("a", "b\0"), ("a", " b"), ("a", "b\t"), ("a", "\x7f"),
        ("a", "€"),
    ],
)  # fmt: skip
def test_what_is_no_field_is_refused_and_changes_nothing(name: str, value: str) -> None:
    headers = Headers(block())
    for change in (headers.add, headers.__setitem__, headers.append):
        with pytest.raises(ValueError, match="header field"):
            change(name, value)
    assert lines(headers) == LINES


def test_bytes_beyond_ascii_are_latin_1() -> None:
    assert lines(Headers.of({"a": "ä"})) == [b"a: \xe4"]
