"""A running ``l4proxy``, and what its log, its access log and the system say of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy_process import ProxyProcess, wait_until
from services.process import HOST, free_port, running

__all__ = ["Proxy", "between", "run", "tcp"]

L4PROXY = (sys.executable, "-m", "l4proxy")


class Proxy(ProxyProcess):
    """A proxy whose log has the lines of its access log, too."""

    def ended(self, *words: str, times: int = 1) -> list[str]:
        """Wait until so many connections have ended whose lines have all these words; return the lines."""
        found: list[str] = []

        def look() -> bool:
            lines = [line for line in self.log.splitlines() if " phase=" in line]
            found[:] = [line for line in lines if set(words) <= set(line.split())]
            return len(found) >= times

        try:
            wait_until(look, f"the end of {times} connections with {words}")
        except AssertionError as error:
            error.add_note(self.log)
            raise
        return found

    def memory(self) -> int:
        """KiB of resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextlib.contextmanager
def tcp(directory: Path, upstream: int | str, *options: str, listen: str = "", command: str = "tcp") -> Iterator[Proxy]:
    """``l4proxy tcp``, or another quick command. ``upstream`` is a port of this host, or any address."""
    port = free_port()
    where = f"{HOST}:{upstream}" if isinstance(upstream, int) else upstream
    argv = [*L4PROXY, command, listen or f"{HOST}:{port}", where, "--access-log", "-", *options]
    with _running(argv, directory, port) as proxy:
        yield proxy


@contextlib.contextmanager
def run(directory: Path, config: Mapping[str, Any], port: int, *, prefix: Sequence[str] = ()) -> Iterator[Proxy]:
    """``l4proxy run`` with a configuration that listens on ``port``. ``prefix`` is a command that runs commands."""
    with_log = {"access_log": [{"use": "file", "flush_interval": 0}], **config}
    (directory / "proxy.json").write_text(json.dumps(with_log))
    with _running([*prefix, *L4PROXY, "run", str(directory / "proxy.json")], directory, port) as proxy:
        yield proxy


@contextlib.contextmanager
def between(
    directory: Path,
    upstream: int | str,
    *,
    listener: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    prefix: Sequence[str] = (),
    top: Mapping[str, Any] | None = None,
    **tcp_proxy: Any,
) -> Iterator[Proxy]:
    """A proxy in front of ``upstream``, with further options of its listener, its cluster and ``tcp_proxy``."""
    port = free_port()
    where = f"{HOST}:{upstream}" if isinstance(upstream, int) else upstream
    forward = {"use": "tcp_proxy", "cluster": "up", **tcp_proxy}
    config = {
        "listeners": [{"name": "l", "address": f"{HOST}:{port}", "filters": [forward], **(listener or {})}],
        "clusters": [{"name": "up", "endpoints": [where], **(cluster or {})}],
        **(top or {}),
    }
    with run(directory, config, port, prefix=prefix) as proxy:
        yield proxy


@contextlib.contextmanager
def _running(argv: Sequence[str], directory: Path, port: int) -> Iterator[Proxy]:
    log = directory / "proxy.log"
    with running(argv, log=log, ready=lambda: "listening on" in log.read_text()) as process:
        proxy = Proxy(process, port, directory / "proxy.json", log)
        try:
            yield proxy
        finally:
            for pid in proxy.successors():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
