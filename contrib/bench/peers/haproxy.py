"""HAProxy."""

from __future__ import annotations

from pathlib import Path

from peers.peer import Job, Peer, find_program, first_line, route_prefix

__all__ = ["HAProxy"]


class HAProxy(Peer):
    """HAProxy from PATH. With ``splice`` it moves bytes within the kernel, which it does only where it is told to."""

    def __init__(self, name: str, splice: bool = False) -> None:
        super().__init__(name)
        self.splice = splice

    def missing(self) -> str:
        return "" if find_program("haproxy") else "no haproxy in PATH"

    def command(self, job: Job, directory: Path) -> list[str]:
        tls = ""
        if job.certificate and job.key:
            pem = directory / "haproxy.pem"
            pem.write_text(job.certificate.read_text() + job.key.read_text())
            tls = f" ssl crt {pem}"
        splice = "    option splice-request\n    option splice-response\n" if self.splice else ""
        # HAProxy has no log files: it writes to standard output, in the format that is usual for HTTP.
        log = "    log stdout format raw daemon\n    option httplog\n    http-reuse always\n" if job.http else ""
        routed = ""
        if job.routes:
            table = directory / "routes.map"
            table.write_text("".join(f"{route_prefix(at)} upstream\n" for at in range(job.routes)))
            routed = f"    use_backend %[path,map_beg({table},upstream)]\n"
        file = directory / "haproxy.cfg"
        file.write_text(f"""\
global
    nbthread 1
    maxconn {job.connections}
    maxpipes 100
defaults
    mode {"http" if job.http else "tcp"}
{log}{splice}    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend bench
    bind 127.0.0.1:{job.port}{tls}{" proto h2" if job.http2 else ""}
{routed}    default_backend upstream
backend upstream
    server upstream 127.0.0.1:{job.upstream}{" proto h2" if job.upstream_http2 else ""}
""")
        return [find_program("haproxy"), "-db", "-f", str(file)]

    def version(self) -> str:
        return first_line([find_program("haproxy"), "-v"])
