"""Redis servers that belong together, and that tests stop, kill and start again: the base of those in
``redis_cluster`` and ``redis_replicas``."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from services.needs import program
from services.process import HOST, accepts, free_port, running
from services.redis import RedisServer

__all__ = ["RedisServers", "wait_for"]

PATIENCE = 60.0


def wait_for(what: str, met: Callable[[], object]) -> None:
    """Wait until something is so; servers need their time."""
    end = time.monotonic() + PATIENCE
    while not met():
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.05)


class RedisServers:
    """On ``ports`` of their own, each with a directory below ``directory``."""

    make: ClassVar[str] = "redis-server"

    def __init__(self, directory: Path, count: int) -> None:
        self._directory = directory
        self.ports = [free_port() for _ in range(count)]
        self._stacks: dict[int, contextlib.ExitStack] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def addresses(self) -> list[str]:
        return [f"{HOST}:{port}" for port in self.ports]

    def node(self, port: int) -> RedisServer:
        return RedisServer(HOST, port, self._directory)

    def ask(self, port: int, *words: str) -> str:
        """What ``redis-cli`` prints."""
        return self.node(port).command(*words)

    def _home(self, port: int) -> Path:
        home = self._directory / str(port)
        home.mkdir(exist_ok=True)
        return home

    def _options(self, port: int) -> list[str]:
        options = ["--bind", HOST, "--port", str(port), "--dir", str(self._home(port))]
        return [*options, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]

    def _run(self, port: int, options: Sequence[str]) -> None:
        stack = self._stacks[port] = contextlib.ExitStack()
        argv = [program(self.make), *options]
        log = self._home(port) / "log"
        self._processes[port] = stack.enter_context(running(argv, log=log, ready=lambda: accepts(port)))

    def kill(self, port: int) -> None:
        """It is gone at once, with all its connections."""
        self._processes[port].send_signal(signal.SIGKILL)
        self._processes[port].wait()
        self._stacks.pop(port).close()

    def stop(self, port: int) -> None:
        """It takes connections, and says nothing."""
        self._processes[port].send_signal(signal.SIGSTOP)

    def go_on(self, port: int) -> None:
        self._processes[port].send_signal(signal.SIGCONT)

    def close(self) -> None:
        for stack in self._stacks.values():
            stack.close()
