from __future__ import annotations

import json

import pytest

from l4proxy.cli.output import print_json, print_table


def test_a_table_is_as_wide_as_it_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "LONG"), [("wide cell", "x"), ("", "y")])
    assert capsys.readouterr().out == "A          LONG\nwide cell  x\n           y\n"


def test_a_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [])
    assert capsys.readouterr().out == "A  B\n"


def test_json_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"größe": [1]})
    out = capsys.readouterr().out
    assert json.loads(out) == {"größe": [1]}
    assert "größe" in out
