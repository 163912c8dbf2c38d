"""An nginx that serves the files of a directory over HTTP/1, HTTP/2, TLS (with both), and behind the PROXY protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.certs import Certs
from services.needs import program
from services.nginx_files import temporary_files
from services.process import HOST, accepts, free_port, running

__all__ = ["NginxServer", "nginx"]

CONFIG = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    {temporary}
    root {root};
    server {{
        listen {host}:{port};
        listen {host}:{tls_port} ssl http2;
        listen {host}:{http2_port} http2;
        ssl_certificate {certificate.cert};
        ssl_certificate_key {certificate.key};
        location = /version {{ return 200 "$server_protocol\\n"; }}
    }}
    server {{
        listen {host}:{proxy_protocol_port} proxy_protocol;
        location = /source {{ return 200 "$proxy_protocol_addr:$proxy_protocol_port\\n"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class NginxServer:
    """Where it listens. ``root`` holds ``index.html``; tests add files with names of their own.

    ``GET /version`` answers with the version of HTTP that was spoken.
    ``GET /source`` on ``proxy_protocol_port`` answers with the client's address as a PROXY protocol header gave it.
    """

    host: str
    port: int
    tls_port: int
    http2_port: int
    proxy_protocol_port: int
    root: Path

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, certs: Certs) -> Iterator[NginxServer]:
    """A running ``NginxServer``; its TLS certificate is ``certs.server``."""
    directory = tmp_path_factory.mktemp("nginx")
    server = NginxServer(HOST, free_port(), free_port(), free_port(), free_port(), directory / "root")
    server.root.mkdir()
    (server.root / "index.html").write_text("hello from nginx\n")
    config = directory / "nginx.conf"
    config.write_text(
        CONFIG.format(
            directory=directory,
            temporary=temporary_files(directory),
            root=server.root,
            host=server.host,
            port=server.port,
            tls_port=server.tls_port,
            http2_port=server.http2_port,
            proxy_protocol_port=server.proxy_protocol_port,
            certificate=certs.server,
        )
    )
    argv = [program("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
    with running(argv, log=directory / "log", ready=lambda: accepts(server.port)):
        yield server
