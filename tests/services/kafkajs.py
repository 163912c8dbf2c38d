"""kafkajs, a Kafka client in JavaScript: from npm, kept beside the jars of Kafka (``services.kafka``)."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from services.needs import program

__all__ = ["kafkajs_modules"]

VERSION = "2.2.4"


def kafkajs_modules() -> Path:
    """A directory with ``node_modules``; skips the test where it cannot be had."""
    cache = Path(os.environ.get("L4PROXY_CACHE", Path.home() / ".cache" / "l4proxy")) / f"kafkajs-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "node_modules" / "kafkajs" / "package.json").exists():
            words = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(cache)]
            done = subprocess.run([program("npm"), *words, f"kafkajs@{VERSION}"], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"npm could not fetch kafkajs {VERSION}: {done.stderr[-300:]}")
    return cache
