from __future__ import annotations

import pytest

from l4proxy.demo.stage import Stage


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
