from __future__ import annotations

import sys

import pytest

from l4proxy.demo.stage import READING, Stage


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    stage.title("A title")
    stage.scene("First")
    stage.say("word " * 30)
    stage.quote("\n  code\n\nmore\n")
    stage.fact("name", "value")
    stage.scene("Second")
    assert capsys.readouterr().out == (
        "A title\n"
        "\n 1. First\n"
        f"    {' '.join(['word'] * 18)}\n    {' '.join(['word'] * 12)}\n"
        "\n    |   code\n    | \n    | more\n"
        "\n    name                     value\n"
        "\n 2. Second\n"
    )


def test_people_get_time_to_read_and_lines_that_are_not_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("l4proxy.demo.stage.time.sleep", pauses.append)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    stage = Stage()
    stage.scene("First")
    assert pauses == []
    stage.quote("word " * 10 + "\n  as it is")
    stage.scene("Second")
    assert pauses == [READING]
    assert capsys.readouterr().out == (
        f"\n 1. First\n\n    | {' '.join(['word'] * 7)}\n    |     word word word\n    |   as it is\n\n 2. Second\n"
    )
