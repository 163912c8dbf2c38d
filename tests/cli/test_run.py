from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from l4proxy.process import Launch

ECHO = '[[listeners]]\nname = "web"\naddress = "127.0.0.1:0"\nfilters = ["echo"]\n'
REFUSES = """
from l4proxy import hookimpl

@hookimpl
def config_loaded(config):
    if config.drain_time == 7:
        raise ValueError("seven")
"""


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    found: list[Launch] = []

    def run_process(launch: Launch) -> int:
        found.append(launch)
        launch.load(launch.read())
        return 0

    monkeypatch.setattr("l4proxy.cli.run.run_process", run_process)
    return found


def test_the_file_is_read_again_at_each_reload(l4proxy: Any, launches: list[Launch], tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(ECHO)
    assert l4proxy("run", str(file)) == (0, "", "")
    (launch,) = launches
    assert not launch.json_log
    file.write_text('drain_time = "3s"\n' + ECHO)
    assert launch.load(launch.read()).drain_time == 3.0


def test_plugins_see_every_configuration(l4proxy: Any, launches: list[Launch], tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('drain_time = "7s"\n' + ECHO)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "picky.py").write_text(REFUSES)
    status, _out, err = l4proxy("run", str(file), "--plugin-dir", str(tmp_path / "plugins"))
    assert (status, err) == (2, "error: refused by plugin 'picky': seven\n")


def test_a_file_that_is_wrong(l4proxy: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(ECHO.replace("echo", "ehco"))
    status, out, err = l4proxy("run", str(file))
    assert (status, out) == (2, "")
    assert err == f"error: {file}:4: listeners[0].filters[0]: unknown filter 'ehco' (did you mean 'echo'?)\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_found_when_it_is_made_says_the_line_and_ends_the_start(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "a.toml"
    file.write_text(f"workers = {workers}\n" + ECHO.replace('"echo"', '{ use = "direct_response", file = "nix" }'))
    done = subprocess.run([sys.executable, "-m", "l4proxy", "run", str(file)], capture_output=True, text=True)
    cause = f"cannot read {tmp_path}/nix: No such file or directory"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {file}:5: listeners[0].filters[0].file: {cause}\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, form: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(ECHO)
    argv = [sys.executable, "-m", "l4proxy", "run", str(file), "--log-format", form]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        message = json.loads(line)["message"] if form == "json" else line.partition("l4proxy.process: ")[2].strip()
        assert re.fullmatch(r"listening on 127\.0\.0\.1:\d+ \(web\)", message)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
