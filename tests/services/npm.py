"""Packages from npm, kept beside the jars of Kafka (``services.kafka``)."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from services.needs import program

__all__ = ["node_modules"]


def node_modules(name: str, version: str) -> Path:
    """A directory with ``node_modules`` that has the package; skips the test where it cannot be had."""
    cache = Path(os.environ.get("L4PROXY_CACHE", Path.home() / ".cache" / "l4proxy")) / f"{name}-{version}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "node_modules" / name / "package.json").exists():
            words = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(cache)]
            done = subprocess.run([program("npm"), *words, f"{name}@{version}"], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"npm could not fetch {name} {version}: {done.stderr[-300:]}")
    return cache
