"""HTTP servers that Python programs run on, each with the service of ``echo_apps``, or of ``bad_apps``."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.process import HOST, accepts, free_port, running

__all__ = ["PYTHON_SERVERS", "python_http", "python_server"]

APPS = Path(__file__).parent
_UVICORN = ("-m", "uvicorn", "--app-dir", str(APPS), "--host", HOST, "--log-level", "warning", "--http")
PYTHON_SERVERS = {
    "http.server": ("{file}", "http.server", "{port}"),
    "aiohttp": ("{file}", "aiohttp", "{port}"),
    "uvicorn with h11": (*_UVICORN, "h11", "--port", "{port}", "{apps}:asgi"),
    "uvicorn with httptools": (*_UVICORN, "httptools", "--port", "{port}", "{apps}:asgi"),
    "gunicorn": ("-m", "gunicorn", "--chdir", str(APPS), "-b", HOST + ":{port}", "-k", "gthread", "--threads",
                 "16", "{apps}:wsgi"),
}  # fmt: skip
"""What Python is called with, by their names."""


@contextlib.contextmanager
def python_server(
    name: str, port: int, directory: Path, *, apps: str = "echo_apps"
) -> Iterator[subprocess.Popen[bytes]]:
    """One of them on this port, as a process group of its own."""
    file = APPS / f"{apps}.py"
    argv = [sys.executable, *(word.format(port=port, apps=apps, file=file) for word in PYTHON_SERVERS[name])]
    with running(argv, log=directory / f"{name}.log", ready=lambda: accepts(port)) as process:
        yield process


@pytest.fixture(scope="module")
def python_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """``python_http("gunicorn")`` is the port of one, started when it is first asked for."""
    directory = tmp_path_factory.mktemp("python_http")
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as servers:

        def port_of(name: str) -> int:
            if name not in ports:
                port = free_port()
                servers.enter_context(python_server(name, port, directory))
                ports[name] = port
            return ports[name]

        yield port_of
