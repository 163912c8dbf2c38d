"""What comes out is installed, and its tests run, in tests/contrib/test_install.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from l4proxy.errors import L4ProxyError
from l4proxy.new_plugin import new_plugin

TEMPLATE = Path(__file__).parents[1] / "contrib" / "plugin-template"


@pytest.mark.parametrize("name", ["rate_limit", "rate-limit", "l4proxy-rate-limit"])
def test_spellings_of_one_name(tmp_path: Path, name: str) -> None:
    files = new_plugin(name, tmp_path)
    assert [str(file.relative_to(tmp_path / "l4proxy-rate-limit")) for file in files] == [
        "README.md",
        "pyproject.toml",
        "l4proxy_rate_limit.py",
        "tests/test_rate_limit.py",
    ]
    text = "".join(file.read_text() for file in files)
    assert "class RateLimit(Filter[RateLimitConfig])" in text
    assert 'name = "rate_limit"' in text
    assert 'rate_limit = "l4proxy_rate_limit"' in text
    assert "limit_upload" not in text


@pytest.mark.parametrize("name", ["", "2fast", "Rate", "rate limit", "-x", "x-", "../x", "a__b"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(L4ProxyError, match="cannot be the name of a plugin: write it like rate_limit or rate-limit"):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "cls"), [("none", "None"), ("filter", "Filter"), ("size", "Size")])
def test_names_that_mean_something_else_in_the_module(tmp_path: Path, name: str, cls: str) -> None:
    with pytest.raises(L4ProxyError, match=f"its class would be called {cls}"):
        new_plugin(name, tmp_path)


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(L4ProxyError, match="there is a filter 'tcp_proxy' already"):
        new_plugin("tcp-proxy", tmp_path, taken=["echo", "tcp_proxy"])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_plugin("gate", tmp_path)
    with pytest.raises(L4ProxyError, match="l4proxy-gate: File exists"):
        new_plugin("gate", tmp_path)


def test_the_template_in_contrib_is_what_comes_out(tmp_path: Path) -> None:
    files = new_plugin("limit_upload", tmp_path)
    made = {str(file.relative_to(tmp_path / "l4proxy-limit-upload")): file.read_text() for file in files}
    kept = {name: (TEMPLATE / name).read_text() for name in made}
    assert made == kept
