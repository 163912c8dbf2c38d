"""What a proxy is asked to do, and what the bench asks of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Job", "Peer", "find_program", "first_line", "route_prefix"]

ROOT = Path(__file__).resolve().parents[3]
"""The checkout that this file is in: where every peer is started."""


@dataclass(frozen=True, slots=True)
class Job:
    """Forward connections on 127.0.0.1:``port`` to 127.0.0.1:``upstream``, ``connections`` at a time or fewer. With
    ``certificate`` and ``key`` (PEM files), terminate TLS before. With ``http``, read HTTP/1, send every request to the
    upstream over connections that are kept, and write a line for each into an access log; with so many ``filters`` that
    read header fields. With ``http2``, clients speak HTTP/2 from their first byte, with ``upstream_http2`` so does the
    upstream. With ``routes``, the paths of ``http_load.c`` have one each, by their first two segments
    (``route_prefix``). With ``redis``, read commands of Redis, and send them to the upstream over connections that
    clients share. With ``shards``, keys are divided among servers on these ports, by a hash of the key, or as the
    servers say where they are a ``redis_cluster``."""

    port: int
    upstream: int
    connections: int = 1024
    certificate: Path | None = None
    key: Path | None = None
    http: bool = False
    filters: int = 0
    http2: bool = False
    upstream_http2: bool = False
    routes: int = 0
    redis: bool = False
    shards: tuple[int, ...] = ()
    redis_cluster: bool = False


def route_prefix(number: int) -> str:
    """The paths of a route, as ``http_load.c`` asks for them with 100 bytes in the answer."""
    return f"/100/route-{number}/"


class Peer(ABC):
    """One proxy."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def missing(self) -> str:
        """Why it cannot run on this machine, or nothing."""

    @abstractmethod
    def command(self, job: Job, directory: Path) -> list[str]:
        """Write its configuration into ``directory`` and return the command that runs it in the foreground."""

    @abstractmethod
    def version(self) -> str:
        """What a report calls this version."""


def find_program(name: str) -> str:
    """The path of a program, or nothing. Debian keeps servers where a plain user's PATH does not lead."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])) or ""


def first_line(command: list[str]) -> str:
    """The first line that a command prints: what it says of its version."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "unknown")
