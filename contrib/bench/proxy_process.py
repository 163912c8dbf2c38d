"""A proxy while it runs: started on its own core, stopped whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from errors import BenchError
from machine import Cores
from peers import ROOT, Job, Peer

__all__ = ["ProxyProcess", "free_port", "running"]

START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0
POLL = 0.001
LOG_LINES = 2


@dataclass(frozen=True, slots=True)
class ProxyProcess:
    """A proxy that listens. ``seconds_to_listen`` is counted from the moment before its process was made."""

    pid: int
    job: Job
    seconds_to_listen: float


def free_port() -> int:
    """A port of this host that nobody else is given while the bench runs.

    A socket is bound to it with SO_REUSEADDR and does not listen. The kernel then gives the port to no one who asks for
    any, and still to a server that asks for this one with SO_REUSEADDR, as all do. Without it another program could
    listen there before the proxy does: the load would meet that one, and its resets.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    port: int = keeper.getsockname()[1]
    keeper.detach()
    return port


@contextmanager
def running(peer: Peer, job: Job, directory: Path, cores: Cores) -> Iterator[ProxyProcess]:
    """Start ``peer`` and wait until it accepts connections. Raises BenchError with what it printed when it does not."""
    command = peer.command(job, directory)
    log = directory / f"{peer.name.partition('#')[0]}.log"
    with log.open("wb") as output, cores.for_proxy():
        begin = time.monotonic()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, start_new_session=True
            )
        except OSError as error:
            raise BenchError(f"{peer.name}: cannot run {command[0]}: {error.strerror}") from None
    try:
        _wait_until_listening(peer, process, job.port, log)
        yield ProxyProcess(process.pid, job, time.monotonic() - begin)
    finally:
        _stop(process)


def _wait_until_listening(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{peer.name} does not start: {_last_words(log)}")
        time.sleep(POLL)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip(" ^~")]
    return " / ".join(lines[-LOG_LINES:]) or "it says nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
