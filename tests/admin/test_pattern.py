from __future__ import annotations

import pytest

from l4proxy.admin.http import HttpError
from l4proxy.admin.pattern import compile_filter, found_in


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("", "anything"),
        ("listener", "l4proxy_listener_connections_total"),
        ("^l4proxy_(listener|cluster)_.*web", 'l4proxy_listener_connections_total{listener="web"}'),
        (r"[a-z]+_total\{", 'l4proxy_x_total{listener="web"}'),
        (r"a\*\+\(b\)\?", "a*+(b)?"),
        ("[*+?(){}]", "x{"),
        ("[]*]", "]"),
        ("[^]*]", "x"),
        ("x{2,3}", "xx"),
    ],
)
def test_expressions_that_operators_write(text: str, inside: str) -> None:
    assert found_in(compile_filter(text), inside)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(a+)+", "a group is repeated"),
        ("(a|aa)*b", "a group is repeated"),
        ("(a){9}", "a group is repeated"),
        ("(x[)]y)?", "a group is repeated"),
        ("a*b*c*", "more than 2 repetitions"),
        (r"(a)\1", "refers back to a group"),
        ("(?:a)", "groups with"),
        ("(?=a)", "groups with"),
        ("x" * 201, "more than 200 characters"),
        ("[", "unterminated character set"),
        ("(", "missing )"),
        ("*", "nothing to repeat"),
    ],
)
def test_expressions_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(HttpError) as caught:
        compile_filter(text)
    assert caught.value.status == 400
    assert why in caught.value.text


@pytest.mark.parametrize("text", [".*.*x", "[^y]*a+x", ".*a.*(x|z)", ".*?.*?x"])
def test_the_worst_that_is_left_ends(text: str) -> None:
    assert not found_in(compile_filter(text), "a" * 100_000)  # all of it would take hours
