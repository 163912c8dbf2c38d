"""HAProxy as a TCP proxy in front of a test's own server: a real sender of the PROXY protocol and of TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.needs import program
from services.process import HOST, accepts, free_port, running

__all__ = ["HaproxyServer", "start_haproxy"]

CONFIG = """
defaults
    mode tcp
    timeout connect 10s
    timeout client 1m
    timeout server 1m
listen test
    bind {host}:{port} {bind_options}
    server upstream {host}:{upstream_port} {options}
"""


@dataclass(frozen=True, slots=True)
class HaproxyServer:
    host: str
    port: int


@pytest.fixture
def start_haproxy(tmp_path: Path) -> Iterator[Callable[..., HaproxyServer]]:
    """``start_haproxy(upstream_port, options="send-proxy-v2")``: one more HAProxy, until the test ends.

    ``options`` are those of HAProxy's ``server`` line, ``bind_options`` those of its ``bind`` line.
    """
    with contextlib.ExitStack() as servers:

        def start(upstream_port: int, options: str = "", bind_options: str = "") -> HaproxyServer:
            server = HaproxyServer(HOST, free_port())
            config = tmp_path / f"haproxy-{server.port}.cfg"
            places = {"host": HOST, "port": server.port, "upstream_port": upstream_port}
            config.write_text(CONFIG.format(**places, options=options, bind_options=bind_options))
            argv = [program("haproxy"), "-db", "-f", str(config)]
            servers.enter_context(running(argv, log=config.with_suffix(".log"), ready=lambda: accepts(server.port)))
            return server

        yield start
