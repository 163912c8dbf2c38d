from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.cli.use import parse_use
from l4proxy.config.structure import EnvironmentText
from l4proxy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("shout", {"use": "shout"}),
        ("shout:", {"use": "shout"}),
        ("gate:token=x", {"use": "gate", "token": "x"}),
        ("gate:token=x,delay=5s,", {"use": "gate", "token": "x", "delay": "5s"}),
        ("gate: token = x , delay = 5s", {"use": "gate", "token": "x", "delay": "5s"}),
        ("gate:url=http://host:80/?a=b", {"use": "gate", "url": "http://host:80/?a=b"}),
        ("gate:text=it's", {"use": "gate", "text": "it's"}),
        ("gate:text=", {"use": "gate", "text": ""}),
        ('gate:text="no, sorry",n=1', {"use": "gate", "text": "no, sorry", "n": "1"}),
        ("gate:text='a\"b'", {"use": "gate", "text": 'a"b'}),
        ('gate:text="=,[{"', {"use": "gate", "text": "=,[{"}),
        ("gate:ports=[80, 443],n=1", {"use": "gate", "ports": [80, 443], "n": "1"}),
        ("gate:ports=[]", {"use": "gate", "ports": []}),
        ('gate:names=["a", "b"]', {"use": "gate", "names": ["a", "b"]}),
        ("gate:names=[a, b.example.com],n=1", {"use": "gate", "names": ["a", "b.example.com"], "n": "1"}),
        ("gate:allow=[10.0.0.0/8]", {"use": "gate", "allow": ["10.0.0.0/8"]}),
        (
            'gate:tables=[{a = 1}, {a = 2}],t={b="x,y"}',
            {"use": "gate", "tables": [{"a": 1}, {"a": 2}], "t": {"b": "x,y"}},
        ),
        ("gate:nested=[[1, 2], [3]]", {"use": "gate", "nested": [[1, 2], [3]]}),
    ],
)
def test_what_can_be_said(text: str, table: dict[str, Any]) -> None:
    assert parse_use(text) == table


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("gate:token", "'token' is not key=value"),
        ("gate:a=1,token", "'token' is not key=value"),
        ("gate:=x", "'=x' is not key=value"),
        ("gate:,", "',' is not key=value"),
        ('gate:text="no', 'text: cannot read "no (is a quote or bracket missing?)'),
        ("gate:ports=[80, 443", "ports: cannot read [80, 443 (is a quote or bracket missing?)"),
        ('gate:names=[a, "b"]', 'names: cannot read [a, "b"] (is a quote or bracket missing?)'),
        ('gate:text="a"b', 'text: cannot read "a"b (is a quote or bracket missing?)'),
    ],
)
def test_what_cannot_be_read(text: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_use(text)
    (problem,) = caught.value.problems
    assert (problem.path, problem.cause) == (f"--use {text}", cause)


def test_values_without_quotes_are_what_the_option_wants() -> None:
    use = parse_use('gate:a=12,b="12",c=[x]')
    assert isinstance(use["a"], EnvironmentText)
    assert not isinstance(use["b"], EnvironmentText)
    assert isinstance(use["c"][0], EnvironmentText)


@given(st.text())
def test_nothing_else_is_raised(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_use(f"gate:{text}")["use"] == "gate"
