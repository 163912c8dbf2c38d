"""The demo of Kafka, on its mock cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from source_tree import ROOT

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

DEMO = ROOT / "contrib" / "demo"


def test_it_tells_its_story_and_its_numbers_are_right(tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    done = subprocess.run(
        [sys.executable, str(DEMO), "--mock", "--look", "1", "--picture", str(picture)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 topics" in done.stdout
    assert "3 groups audit > lag" in done.stdout
    assert 'l4proxy_kafka_consumer_group_lag{group="audit"' in done.stdout
    for topic in ("orders", "clicks"):
        counted, at_brokers = re.search(rf"{topic} +([\d,]+) records counted, ([\d,]+) at", done.stdout).groups()  # type: ignore[union-attr]
        assert counted == at_brokers != "0"
    assert picture.read_text().count("1 topics") == 3


def test_a_screen_is_what_was_written_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))
    from screen import Screen  # type: ignore[import-not-found]

    screen = Screen(10, 3)
    for piece in (
        "\x1b[?1049h\x1b[2;3Hab",
        "c\x1b[1",
        "mD\x1b[0m\x1b[1;1Hlonger than that\x1b[3;1Hx\x1b[3;1H\x1b[Ky\r\nz",
    ):
        screen.feed(piece)
    assert screen.text == ["longer tha", "  abcD", "z"]
    assert [cell.style for cell in screen.rows[1][2:7]] == ["", "", "", "1", ""]
    screen.feed("\x1b[2J")
    assert screen.text == [""] * 3
