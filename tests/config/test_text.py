from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from l4proxy.config.text import join, toml_text


def test_paths() -> None:
    assert join("", "listeners") == "listeners"
    assert join("clusters[0]", "load-balancer_2") == "clusters[0].load-balancer_2"
    assert join("a", "b.c") == 'a."b.c"'
    assert join("a", "") == 'a.""'
    assert join("a", 'say "hi"\n') == 'a."say \\"hi\\"\\U0000000a"'
    assert join("a", "ключ") == 'a."ключ"'


plain = st.recursive(
    st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_toml_text_is_toml(value: object) -> None:
    assert tomllib.loads(f"x = {toml_text(value)}") == {"x": value}
