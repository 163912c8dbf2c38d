from __future__ import annotations

import tomllib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.config.text import join, refusal, toml_text


@dataclass
class Options:
    file: str = ""
    routes: tuple[str, ...] = ()


def test_paths() -> None:
    assert join("", "listeners") == "listeners"
    assert join("clusters[0]", "load-balancer_2") == "clusters[0].load-balancer_2"
    assert join("a", "b.c") == 'a."b.c"'
    assert join("a", "") == 'a.""'
    assert join("a", 'say "hi"\n') == 'a."say \\"hi\\"\\U0000000a"'
    assert join("a", "ключ") == 'a."ключ"'


@pytest.mark.parametrize(
    ("said", "path", "cause"),
    [
        ("file: cannot read a: it is: a folder", "f[0].file", "cannot read a: it is: a folder"),
        ("routes[1].respond.file: is too large", "f[0].routes[1].respond.file", "is too large"),
        ("a.html: is too large", "f[0]", "a.html: is too large"),
        ("file", "f[0]", "file"),
    ],
)
def test_what_is_refused_stands_at_an_option(said: str, path: str, cause: str) -> None:
    assert refusal("f[0]", ValueError(said), Options()) == (path, cause)
    assert refusal("f[0]", ValueError(said), None) == ("f[0]", said)
    assert refusal("", ValueError("file: x"), Options) == ("file", "x")


plain = st.recursive(
    st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_toml_text_is_toml(value: object) -> None:
    assert tomllib.loads(f"x = {toml_text(value)}") == {"x": value}
