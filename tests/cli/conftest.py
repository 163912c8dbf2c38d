"""Commands run in this process, unless it is about what only a process of its own can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from l4proxy.cli.main import main


class Result(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No installed plugins, 80 columns."""
    monkeypatch.setenv("L4PROXY_LOAD_PLUGINS", "")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def l4proxy(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: ``l4proxy("tcp", "--help")``."""

    def run(*words: str) -> Result:
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        out, err = capsys.readouterr()
        return Result(status, out, err)

    return run
