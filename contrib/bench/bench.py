"""What all cases share while the bench runs: programs, upstream, cores, a certificate, and how long to measure."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import programs
from errors import BenchError
from machine import Cores
from peers import Job, Peer
from programs import Load, Programs, Work

from proxy_process import ProxyProcess, free_port, running

__all__ = ["CONNECTIONS", "Bench", "set_up"]

WARM_UP = 0.5
CONNECTIONS = 10_000
"""What cases with many connections open."""
FILES_PER_CONNECTION = 2.25
"""Two sockets, and what proxies keep back for pipes and for themselves."""

_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
_SELF_SIGNED = shlex.split(f"openssl req -x509 -nodes -days 2 -subj /CN=localhost {_KEY}")


@dataclass
class Bench:
    """Handed to every case. ``seconds`` is the length of a measured window."""

    programs: Programs
    cores: Cores
    directory: Path
    upstream_pid: int
    upstream_port: int
    http_upstream_pid: int
    http_upstream_port: int
    http2_upstream_pid: int
    http2_upstream_port: int
    seconds: float
    file_limit: int
    servers: ExitStack
    """Closed when the bench ends: for servers that cases start when they are first run."""

    @property
    def many_connections(self) -> int:
        """``CONNECTIONS``, or as many as may be. Raises BenchError where that would say nothing."""
        count = min(CONNECTIONS, int(self.file_limit / FILES_PER_CONNECTION))
        if count < CONNECTIONS // 10:
            raise BenchError(f"only {self.file_limit} files may be open (ulimit -n), for {CONNECTIONS} connections")
        return count

    @contextmanager
    def proxy(
        self,
        peer: Peer,
        *,
        tls: bool = False,
        connections: int = 1024,
        upstream: int = 0,
        http: bool = False,
        http2: bool = False,
        upstream_http2: bool = False,
        filters: int = 0,
        routes: int = 0,
        redis: bool = False,
        shards: tuple[int, ...] = (),
        redis_cluster: bool = False,
    ) -> Iterator[ProxyProcess]:
        """A fresh process of ``peer`` in front of the upstream, or of the port ``upstream``, with its configuration in
        a directory of its own."""
        certificate, key = self._certificate if tls else (None, None)
        if not upstream:
            upstream = self.http_upstream_port if http or http2 else self.upstream_port
            upstream = self.http2_upstream_port if upstream_http2 else upstream
        job = Job(
            free_port(),
            upstream,
            connections,
            certificate,
            key,
            http or http2,
            filters,
            http2,
            upstream_http2,
            routes,
            redis,
            shards,
            redis_cluster,
        )
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as directory,
            running(peer, job, Path(directory), self.cores) as process,
        ):
            yield process

    @contextmanager
    def load(self, proxy: ProxyProcess, work: Work, *, warm_up: bool = True) -> Iterator[Load]:
        """The client in front of ``proxy``, ready to run for ``seconds``."""
        warming = min(WARM_UP, self.seconds) if warm_up else 0.0
        tls = proxy.job.certificate is not None
        if tls and not self.programs.tls:
            raise BenchError("load.c was built without OpenSSL, whose headers are missing (libssl-dev)")
        with programs.load(self.programs, work, proxy.job.port, warming, self.seconds, tls) as client:
            yield client

    @cached_property
    def _certificate(self) -> tuple[Path, Path]:
        """A self-signed P-256 certificate and its key."""
        certificate, key = self.directory / "cert.pem", self.directory / "key.pem"
        if not shutil.which("openssl"):
            raise BenchError("the openssl command, which makes the certificate, is not installed")
        subprocess.run(
            [*_SELF_SIGNED, "-out", str(certificate), "-keyout", str(key)],
            check=True,
            capture_output=True,
        )
        return certificate, key


@contextmanager
def set_up(cores: Cores, seconds: float, file_limit: int) -> Iterator[Bench]:
    """Build the programs, start the upstream on the load's cores, and take everything away in the end."""
    cores.take_load()
    with tempfile.TemporaryDirectory(prefix="l4proxy-bench-") as name:
        directory = Path(name)
        built = Programs.build(directory)
        with (
            programs.upstream(built.upstream) as (pid, port),
            programs.upstream(built.http_upstream) as (http_pid, http_port),
            programs.upstream(built.http2_upstream) as (http2_pid, http2_port),
            ExitStack() as servers,
        ):
            upstreams = (pid, port, http_pid, http_port, http2_pid, http2_port)
            yield Bench(built, cores, directory, *upstreams, seconds, file_limit, servers)
