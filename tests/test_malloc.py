from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from l4proxy.malloc import keep_freed_memory

# Reads as of a bulk stream: a buffer is freed when the next two are there, so that the end of the heap comes and goes.
READS = """
import resource, sys
from l4proxy.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
buffers = []
def read():
    buffers.append(bytes(256 * 1024))
    if len(buffers) == 3:
        buffers.clear()
for _ in range(30):
    read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(300):
    read()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", READS, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_large_reads_cost_no_page_faults() -> None:
    assert page_faults("keep") < 1000 < page_faults("do not")


def test_where_it_cannot_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert not keep_freed_memory()
