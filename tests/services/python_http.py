"""HTTP servers that Python programs run on, each with the service of ``echo_apps``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.process import HOST, accepts, free_port, running

__all__ = ["PYTHON_SERVERS", "python_http"]

APPS = Path(__file__).with_name("echo_apps.py")
_UVICORN = ("-m", "uvicorn", "--app-dir", str(APPS.parent), "--host", HOST, "--log-level", "warning", "--http")
PYTHON_SERVERS = {
    "http.server": (str(APPS), "http.server", "{port}"),
    "aiohttp": (str(APPS), "aiohttp", "{port}"),
    "uvicorn with h11": (*_UVICORN, "h11", "--port", "{port}", "echo_apps:asgi"),
    "uvicorn with httptools": (*_UVICORN, "httptools", "--port", "{port}", "echo_apps:asgi"),
    "gunicorn": ("-m", "gunicorn", "--chdir", str(APPS.parent), "-b", HOST + ":{port}", "-k", "gthread", "--threads",
                 "16", "echo_apps:wsgi"),
}  # fmt: skip
"""What Python is called with, by their names."""


@pytest.fixture(scope="module")
def python_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """``python_http("gunicorn")`` is the port of one, started when it is first asked for."""
    directory = tmp_path_factory.mktemp("python_http")
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as servers:

        def port_of(name: str) -> int:
            if name not in ports:
                port = free_port()
                argv = [sys.executable, *(word.format(port=port) for word in PYTHON_SERVERS[name])]
                log = directory / f"{name}.log"
                servers.enter_context(running(argv, log=log, ready=lambda: accepts(port)))
                ports[name] = port
            return ports[name]

        yield port_of
