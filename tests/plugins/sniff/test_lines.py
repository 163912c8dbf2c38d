from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from l4proxy.exchange import Exchange
from l4proxy.plugins.sniff.lines import JsonLines, Lines
from sniffing import LINK, exchange


class Odd(Exchange):
    def fields(self) -> Mapping[str, Any]:
        return {"key": b"\xffa", "when": {1}, "nested": [memoryview(b"x")]}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_lines_for_people() -> None:
    out = io.StringIO()
    lines = Lines(out)
    lines.exchange(exchange("GET evil\x1b[2J", at=1_700_000_000.25))
    lines.exchange(exchange("PUT b", "ERR no", None, at=1_700_000_000.25))
    lines.flush()
    assert out.getvalue().splitlines() == [
        r"22:13:20.250000 192.0.2.1:40000 GET 250.000ms asked=evil\x1b[2J answer=1",
        "22:13:20.250000 192.0.2.1:40000 PUT no asked=b answer=no",
    ]


def test_errors_are_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for colour in (True, False):
        if not colour:
            monkeypatch.setenv("NO_COLOR", "1")
        out = Terminal()
        lines = Lines(out)
        lines.exchange(exchange())
        lines.exchange(exchange("PUT b", "ERR no"))
        assert [("\x1b[31m" in line, "\x1b[" in line) for line in out.getvalue().splitlines()] == [
            (False, colour), (colour, colour),
        ]  # fmt: skip


def test_lines_for_programs() -> None:
    out = io.StringIO()
    lines = JsonLines("word", out)
    lines.exchange(exchange("GET ä", at=1_700_000_000.25))
    lines.exchange(Odd(LINK, 1_699_999_999.9999999, "ODD", None))
    lines.flush()
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first == {
        "time": "2023-11-14T22:13:20.250000Z", "connection": 7, "client": "192.0.2.1:40000",
        "server": "192.0.2.2:7777", "word": "GET", "seconds": 0.25, "error": "", "request_bytes": 7,
        "response_bytes": 5, "asked": "ä", "answer": "1",
    }  # fmt: skip
    assert second["time"] == "2023-11-14T22:13:20.000000Z"
    assert second["seconds"] is None
    assert (second["key"], second["when"], second["nested"]) == ("\\xffa", "{1}", ["x"])
