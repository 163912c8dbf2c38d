from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from l4proxy import logging_setup
from l4proxy.logging_setup import (
    JsonFormatter,
    TextFormatter,
    current_levels,
    once_per,
    set_all_levels,
    set_level,
    set_up_logging,
)


@pytest.fixture(autouse=True)
def undo_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {"": root.level}
    levels |= {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)}
    yield
    root.handlers[:] = handlers
    for name in ["", *logging.root.manager.loggerDict]:
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text_says_when_how_bad_and_where() -> None:
    stream = io.StringIO()
    set_up_logging("info", stream=stream)
    logging.getLogger("l4proxy.listener").warning("paused for %s s", 0.5)
    logging.getLogger("l4proxy.listener").debug("not shown")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING l4proxy\.listener: paused for 0\.5 s\n", stream.getvalue()
    )


def test_a_connections_number_is_shown() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    logging.getLogger("l4proxy.filter.rbac").info("denied", extra={"connection": 7})
    assert "l4proxy.filter.rbac #7: denied" in stream.getvalue()


def test_a_message_cannot_forge_another_one() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    logging.getLogger("l4proxy").error("asked for %s", "a\n2026-01-01 ERROR l4proxy: root\x1b[2J\rbye")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("asked for a")
    assert second == r"    2026-01-01 ERROR l4proxy: root\x1b[2J\rbye"


def test_a_traceback_is_indented_below_its_message() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("l4proxy").exception("it failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("l4proxy: it failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-1] == "    KeyError: 'lost'"


def test_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    set_up_logging(stream=stream)
    logging.getLogger("l4proxy").error("bad")
    logging.getLogger("l4proxy").info("good")
    bad, good = stream.getvalue().splitlines()
    assert "\x1b[31mERROR  \x1b[0m l4proxy: bad" in bad
    assert "INFO    l4proxy: good" in good
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    set_up_logging(stream=stream)
    logging.getLogger("l4proxy").error("bad")
    assert "\x1b" not in stream.getvalue()


def test_json_lines() -> None:
    stream = io.StringIO()
    set_up_logging(json_lines=True, stream=stream)
    logging.getLogger("l4proxy.listener").warning("line\n%s", "two", extra={"connection": 3})
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("l4proxy").exception("it failed")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {"level": "warning", "logger": "l4proxy.listener", "message": "line\ntwo", "connection": 3}
    assert second["exception"].endswith("KeyError: 'lost'")


def test_levels_are_set_for_each_logger() -> None:
    stream = io.StringIO()
    set_up_logging("warning", levels={"l4proxy.cluster": "debug"}, stream=stream)
    logging.getLogger("l4proxy.cluster.db").debug("shown")
    logging.getLogger("l4proxy.listener").info("not shown")
    set_level("l4proxy.listener", "info")
    logging.getLogger("l4proxy.listener").info("shown now")
    assert [line.rpartition(": ")[2] for line in stream.getvalue().splitlines()] == ["shown", "shown now"]
    levels = current_levels()
    assert (levels[""], levels["l4proxy.cluster.db"], levels["l4proxy.listener"]) == ("warning", "debug", "info")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown log level 'wraning' \(did you mean 'warning'\?\)"):
        set_level("l4proxy", "wraning")


def test_setting_up_again_replaces_the_handlers() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logging(stream=first)
    set_up_logging(stream=second)
    logging.getLogger("l4proxy").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_a_library_sets_up_nothing() -> None:
    code = "import logging, l4proxy.server, l4proxy.logging_setup; print(logging.root.handlers, logging.root.level)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"[] {logging.WARNING}"


def test_messages_that_repeat_are_said_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(logging_setup, "_last_said", {})
    assert [once_per(60, "full") for _ in range(4)] == [1, 0, 0, 0]
    assert once_per(60, "other") == 1
    now += 60
    assert once_per(60, "full") == 4
    assert once_per(60, "full") == 0
    now += 59.9
    assert once_per(60, "full") == 0


def test_keys_are_forgotten_before_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, tuple[float, int]] = {}
    monkeypatch.setattr(logging_setup, "_last_said", kept)
    for number in range(2500):
        assert once_per(60, f"key {number}") == 1
    assert len(kept) <= logging_setup._KEYS_LIMIT


def test_formatters_are_ready_to_be_used_by_others() -> None:
    entry = logging.LogRecord("mine", logging.INFO, "f.py", 1, "hello", (), None)
    assert TextFormatter().format(entry).endswith("INFO    mine: hello")
    assert json.loads(JsonFormatter().format(entry))["message"] == "hello"


def test_one_level_for_all_takes_back_those_of_single_loggers() -> None:
    set_level("l4proxy.listener", "debug")
    set_level("another.program", "debug")
    set_all_levels("error")
    levels = current_levels()
    assert (levels[""], levels["l4proxy.listener"], levels["another.program"]) == ("error", "error", "debug")
    with pytest.raises(ValueError, match="unknown log level 'loud'"):
        set_all_levels("loud")
