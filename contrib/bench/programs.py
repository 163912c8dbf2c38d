"""The C programs, compiled when the bench starts, and the conversation with them over pipes."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from errors import BenchError

__all__ = ["Load", "Programs", "Result", "Work", "compile_program", "load", "upstream"]

SOURCES = Path(__file__).parent
PATIENCE = 120.0
"""Seconds that a program may take to open its connections."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The compiled programs. ``tls`` is False where OpenSSL's headers are missing."""

    load: Path
    upstream: Path
    tls: bool
    http_load: Path
    http_upstream: Path
    http2_load: Path
    http2_upstream: Path
    redis_load: Path

    @classmethod
    def build(cls, directory: Path) -> Programs:
        """Compile into ``directory``. Raises BenchError where there is no C compiler, or it fails."""
        names = ("http_load", "http_upstream", "http2_load", "http2_upstream", "redis_load")
        programs = cls(directory / "load", directory / "upstream", True, *(directory / name for name in names))
        compile_program("upstream.c", programs.upstream)
        for name in names:
            compile_program(f"{name}.c", directory / name)
        try:
            compile_program("load.c", programs.load, "-DTLS", "-lssl", "-lcrypto")
        except BenchError:
            compile_program("load.c", programs.load)
            return replace(programs, tls=False)
        return programs


def compile_program(source: str, target: Path, *flags: str) -> None:
    """Raises BenchError where there is no C compiler, or it fails."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchError(f"no C compiler (cc, gcc, clang) is installed: {source} cannot be built")
    command = [compiler, "-O2", "-Wall", "-o", str(target), str(SOURCES / source), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"{source} cannot be built:\n{done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class Work:
    """What the client does: a mode of ``load.c``, how many connections, and bytes per message or chunk; in the mode
    ``frames``, the request that it sends."""

    mode: str
    connections: int
    size: int
    request: bytes = b""
    http: bool = False
    """It is a mode of ``http_load.c``."""
    http2: bool = False
    """Or of ``http2_load.c``."""
    upstream_http2: bool = False
    """The upstream speaks HTTP/2, too."""
    rate: float = 0
    """Requests a second, in the mode ``paced`` of ``http_load.c``, ``http2_load.c`` and ``redis_load.c``."""
    redis_pipeline: int = 0
    """It is a mode of ``redis_load.c``, with so many commands in a write."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the client saw: units moved (requests, connections, bytes) in ``seconds``, latencies in microseconds."""

    units: int
    seconds: float
    p50: float
    p99: float


class Load:
    """A running client: it has opened its connections and warmed up, and waits."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process = process
        self._seconds = seconds

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self) -> Result:
        """Run the measured window; ``redis_load.c`` does so as often as it is told. Raises BenchError when a connection
        failed."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Result(**json.loads(_line(self._process, self._seconds + PATIENCE)))


@contextmanager
def upstream(program: Path) -> Iterator[tuple[int, int]]:
    """An upstream: its process id and its port."""
    process = _start([str(program)])
    try:
        yield process.pid, int(_line(process, PATIENCE))
    finally:
        _stop(process)


@contextmanager
def load(programs: Programs, work: Work, port: int, warm_up: float, seconds: float, tls: bool) -> Iterator[Load]:
    """Start the client that ``load.c`` describes, and wait until it is ready."""
    program = programs.http2_load if work.http2 else programs.http_load if work.http else programs.load
    more = [work.rate] if work.rate else []
    if work.redis_pipeline:
        program, more = programs.redis_load, [work.redis_pipeline, *more]
    with tempfile.NamedTemporaryFile() as request:
        request.write(work.request)
        request.flush()
        what = request.name if work.request else work.size
        words = map(str, (port, work.connections, what, warm_up, seconds, *more))
        process = _start([str(program), work.mode, *words, *(["tls"] if tls else [])])
        try:
            _line(process, warm_up + PATIENCE)
            yield Load(process, seconds)
        finally:
            _stop(process)


def _start(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _line(process: subprocess.Popen[str], timeout: float) -> str:
    assert process.stdout
    assert process.stderr
    name = Path(str(process.args[0])).name if isinstance(process.args, list) else "program"
    if not _readable(process.stdout, timeout):
        raise BenchError(f"{name}: nothing happened for {timeout:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise BenchError(process.stderr.read().strip() or f"{name} ended with status {process.wait()}")
    return line


def _readable(stream: IO[str], timeout: float) -> bool:
    return bool(select.select([stream], [], [], timeout)[0])
