"""Start a server as a child process, wait until it answers, and be sure that it ends."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = ["HOST", "accepts", "as_user", "free_port", "neighbouring_ports", "running"]

HOST = "127.0.0.1"
_POLL = 0.02  # seconds between two looks whether a server is ready
_ATTEMPTS = 1500
_STOP_SECONDS = 10.0


def free_port() -> int:
    """A port of this host that no one else is given while this process lives.

    What keeps it is a socket that is bound to it with SO_REUSEADDR and does not listen. The kernel then hands the port
    to no one who asks for any, and still lets a server have it that asks for this one with SO_REUSEADDR, as ours do.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((HOST, 0))
    port: int = keeper.getsockname()[1]
    keeper.detach()
    return port


def neighbouring_ports(count: int) -> int:
    """The first of ``count`` free ports, below those that the system gives away, and not where other tests look."""
    for _ in range(1000):
        first = random.randrange(12_000, 32_000 - count)
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            for port in range(first, first + count):
                opened.enter_context(socket.create_server((HOST, port)))
            return first
    raise RuntimeError(f"no {count} neighbouring ports are free")


def accepts(port: int) -> bool:
    """Whether something accepts connections on a port of this host."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=5):
        return True
    return False


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``argv``, as ``user``, from when ``ready()`` first says yes until the block ends; output goes to ``log``.

    ``stop`` ends it quickly and in good order; the kernel sends it, too, should this process die before its child.
    Raises ``RuntimeError`` with the end of the log when the server exits or does not get ready.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*as_user(user, f"--pdeathsig={stop.name.removeprefix('SIG')}"), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until(ready, process, argv[0], log)
        yield process
    finally:
        _end(process, stop)


def as_user(user: str | None, *options: str) -> list[str]:
    """What to put before a command to run it as ``user``, None for our own; ``options`` are further ones of setpriv."""
    identity = [] if user is None else [f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups"]
    return ["setpriv", *identity, *options, "--"]


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    for _ in range(_ATTEMPTS):
        if ready():
            return
        try:
            status = process.wait(_POLL)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"{name} ended with status {status} before it was ready:\n{_tail(log)}")
    raise RuntimeError(f"{name} did not get ready:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    process.send_signal(stop)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
