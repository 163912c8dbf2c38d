from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from l4proxy.plugins.sniff import output
from l4proxy.plugins.sniff.output import Output
from proxy_process import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0), open(writing, "w") as stream:
        yield reading, stream


def test_lines_come_in_order_and_whole(tmp_path: Path) -> None:
    lines = [f"{number} ä\n" for number in range(5000)]
    with open(tmp_path / "out", "w", encoding="ascii") as stream:
        out = Output(stream)
        assert not out.isatty()
        for line in lines:
            out.write(line)
        out.close()
    assert out.dropped == 0
    assert (tmp_path / "out").read_text() == "".join(lines).replace("ä", r"\xe4")


def test_who_does_not_read_holds_up_nobody(pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CAPACITY", 1 << 20)
    reading, stream = pipe
    out = Output(stream)
    for _ in range(3000):
        out.write("x" * 999 + "\n")
    out.flush()
    out.close()
    assert 3000 - 1100 < out.dropped <= 3000
    os.set_blocking(reading, False)
    assert os.read(reading, 1 << 20).startswith(b"x" * 999 + b"\nx")


def test_who_has_left_is_an_error(pipe: tuple[int, TextIO]) -> None:
    reading, stream = pipe
    os.dup2(os.open(os.devnull, os.O_RDONLY), reading)
    out = Output(stream)
    out.write("a\n")

    def failed() -> bool:
        try:
            out.flush()
        except BrokenPipeError:
            return True
        return False

    wait_until(failed, "the pipe is broken")
    out.close()
    assert out.dropped == 1


def test_nothing_to_be_said_needs_no_thread(pipe: tuple[int, TextIO]) -> None:
    out = Output(pipe[1])
    out.close()
    assert out.dropped == 0
