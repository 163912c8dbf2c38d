"""Programs in Go: built once from their modules, by whatever Go the machine has.

They are kept in ``~/.cache/l4proxy`` (or ``L4PROXY_CACHE``), outside the repository. Where Go is missing, or its module
proxy is not reached, tests are skipped and say so.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from services.needs import program

__all__ = ["GO_MODULES", "go_cache", "go_program"]

GO_MODULES = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3",
    "h2spec": "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible",
}


def go_cache() -> Path:
    """Where what Go makes is kept."""
    cache = Path(os.environ.get("L4PROXY_CACHE", Path.home() / ".cache" / "l4proxy")) / "go"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def go_program(name: str) -> str:
    """The path of a program; skips the test where it cannot be had."""
    go = program("go")
    cache = go_cache()
    module, _, version = GO_MODULES[name].partition("@")
    path = cache / version / name
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the test processes of a run want them at the same time
        if not path.exists():
            argv, settings = [go, "install", f"{module}@{version}"], {"GOBIN": str(path.parent), "GOFLAGS": "-mod=mod"}
            done = subprocess.run(argv, env=os.environ | settings, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"Go could not build {name}: {done.stderr[-500:]}")
    return str(path)
