"""nginx, with its stream module."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from peers.peer import Job, Peer, find_program, first_line, route_prefix

__all__ = ["Nginx"]


class Nginx(Peer):
    """nginx from PATH, its stream module built in or beside it."""

    def missing(self) -> str:
        if not find_program("nginx"):
            return "no nginx in PATH"
        if "--with-stream" not in self._build():
            return "nginx is built without its stream module"
        if self._module() and not Path(self._module()).exists():
            return f"nginx's stream module is not installed ({self._module()})"
        return ""

    def _build(self) -> str:
        return subprocess.run([find_program("nginx"), "-V"], capture_output=True, text=True).stderr

    def _module(self) -> str:
        """The file to load where the stream module is a dynamic one."""
        options = shlex.split(self._build().partition("configure arguments:")[2])
        if "--with-stream=dynamic" not in options:
            return ""
        values = dict(option.split("=", 1) for option in options if "=" in option)
        directory = values.get("--modules-path") or values.get("--prefix", "") + "/modules"
        return f"{directory}/ngx_stream_module.so"

    def command(self, job: Job, directory: Path) -> list[str]:
        tls = ""
        if job.certificate:
            tls = f"ssl_protocols TLSv1.3; ssl_certificate {job.certificate}; ssl_certificate_key {job.key};"
        file = directory / "nginx.conf"
        if job.http:
            file.write_text(self._http(job, directory))
            return self._run(file, directory)
        file.write_text(f"""\
{f"load_module {self._module()};" if self._module() else ""}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections {2 * job.connections}; }}
stream {{
    server {{
        listen 127.0.0.1:{job.port}{" ssl" if tls else ""};
        {tls}
        proxy_pass 127.0.0.1:{job.upstream};
        proxy_timeout 1h;
    }}
}}
""")
        return self._run(file, directory)

    def _run(self, file: Path, directory: Path) -> list[str]:
        return [find_program("nginx"), "-p", str(directory), "-c", str(file), "-e", "stderr"]

    def _http(self, job: Job, directory: Path) -> str:
        """Without ``keepalive``, nginx connects for every request, and closes a client after a thousand. Towards the
        upstream it speaks HTTP/2 for gRPC alone."""
        passed = f"{'grpc_pass grpc' if job.upstream_http2 else 'proxy_pass http'}://bench;"
        routed = "".join(f"location {route_prefix(at)} {{ {passed} }}\n" for at in range(job.routes))
        return f"""\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections {4 * job.connections}; }}
http {{
    access_log {directory}/access.log;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream bench {{ server 127.0.0.1:{job.upstream}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{job.port}{" http2" if job.http2 else ""};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        location / {{ {passed} }}
        {routed}
    }}
}}
"""

    def version(self) -> str:
        return first_line([find_program("nginx"), "-v"])
