"""The pytest plugin, as pytest finds it; that it is installed with l4proxy is held by tests/contrib/test_install.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SUITE = """
import pytest
from l4proxy import Filter, NoConfig

class Broken(Filter[NoConfig]):
    name = "broken"

    def on_client_data(self, data):
        raise RuntimeError("boom")

def talk(proxy):
    with proxy.connect() as client:
        client.send(b"x")
        proxy.wait_closed()

def test_that_passes(proxy):
    talk(proxy(Broken, may_fail=True))

def test_that_does_not(proxy):
    talk(proxy(Broken))
"""


def test_a_filter_that_raises_is_an_error_of_its_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    (tmp_path / "conftest.py").write_text("from l4proxy.pytest_plugin import proxy")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(tmp_path)]
    done = subprocess.run([*argv, str(tmp_path)], capture_output=True, text=True)
    assert "2 passed, 1 error" in done.stdout
    assert "AssertionError: filter broken failed on connection" in done.stdout
    assert "RuntimeError: boom" in done.stdout


def test_a_run_that_does_not_use_it_imports_nothing_for_it() -> None:
    script = "import sys, l4proxy.pytest_plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    ours = {name for name in done.stdout.split() if name.startswith("l4proxy.")}
    assert ours <= {"l4proxy.pytest_plugin"}
