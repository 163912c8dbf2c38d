"""A PostgreSQL server with a fresh database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.needs import program
from services.process import HOST, as_user, free_port, running

__all__ = ["PostgresServer", "postgres"]

DATABASE = "postgres"
ROLE = "postgres"
_SETTINGS = {"fsync": "off", "listen_addresses": HOST, "max_connections": "200", "shared_buffers": "32MB"}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where it listens. Everybody on loopback is trusted; it speaks no TLS."""

    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def environment(self, port: int | None = None) -> dict[str, str]:
        """For ``psql`` and ``pgbench`` to reach it, straight or through the proxy that listens on ``port``."""
        return {
            **os.environ,
            "PGHOST": self.host,
            "PGPORT": str(port or self.port),
            "PGUSER": ROLE,
            "PGDATABASE": DATABASE,
            "PGSSLMODE": "disable",
        }

    def query(self, sql: str, port: int | None = None) -> str:
        """What ``psql`` prints for a statement, rows as lines, columns separated by ``|``."""
        argv = [program("psql"), "--no-psqlrc", "--tuples-only", "--no-align", "--command", sql]
        done = subprocess.run(argv, env=self.environment(port), check=True, capture_output=True, text=True)
        return done.stdout.removesuffix("\n")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running ``PostgresServer``."""
    server_program = program("postgres")
    # PostgreSQL refuses to run as root: then it runs as the user that its Debian package made, whom pytest's own
    # temporary directories are closed to.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="l4proxy-postgres-") as name:
        directory = Path(name)
        if user is not None:
            shutil.chown(directory, user)
        _initialise(directory / "data", user)
        server = PostgresServer(HOST, free_port())
        settings = _SETTINGS | {"port": str(server.port), "unix_socket_directories": name}
        is_ready = [program("pg_isready"), "--quiet", "--host", server.host, "--port", str(server.port)]
        with running(
            [server_program, "-D", f"{name}/data", *(f"--{key}={value}" for key, value in settings.items())],
            log=directory / "log",
            ready=lambda: subprocess.run(is_ready).returncode == 0,
            user=user,
            stop=signal.SIGINT,  # "fast": does not wait for its clients to leave
        ):
            yield server


def _initialise(data: Path, user: str | None) -> None:
    options = ["--no-sync", "--auth=trust", f"--username={ROLE}", "--encoding=UTF8", "--locale=C"]
    argv = [*as_user(user), program("initdb"), *options, str(data)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd=data.parent)
