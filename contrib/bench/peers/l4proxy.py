"""l4proxy, from this checkout."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from peers.peer import Job, Peer, first_line, route_prefix

__all__ = ["L4proxy"]

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


class L4proxy(Peer):
    """The checkout that this file is in, run by the same Python as the bench, with ``readers`` byte-reading filters and
    those that are named in front of the last one, which is ``terminal``, with ``options``, where the job is none of
    HTTP's."""

    def __init__(
        self,
        name: str = "l4proxy",
        readers: int = 0,
        filters: Sequence[str] = (),
        terminal: str = "tcp_proxy",
        options: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(name)
        self.readers = readers
        self.filters = filters
        self.terminal = terminal
        self.options = dict(options or {})

    def missing(self) -> str:
        return "" if importlib.util.find_spec("pluggy") else f"{sys.executable} lacks pluggy (pip install -e .)"

    def command(self, job: Job, directory: Path) -> list[str]:
        readers = [{"use": "bench_reader"}] * self.readers + [{"use": name} for name in self.filters]
        terminal: dict[str, object] = {"use": self.terminal, "cluster": "upstream", **self.options}
        if job.redis_cluster:
            terminal["topology"] = "cluster"
        if job.http:
            terminal = {"use": "http", "cluster": "upstream", "filters": [{"use": "bench_http"}] * job.filters}
            if job.routes:
                terminal["routes"] = [
                    {"name": f"route_{at}", "prefix": route_prefix(at), "cluster": "upstream"}
                    for at in range(job.routes)
                ]
            if job.upstream_http2:
                terminal["upstream"] = {"protocol": "http2"}
        listener: dict[str, object] = {
            "address": f"127.0.0.1:{job.port}",
            "filters": [*readers, terminal],
        }
        if job.http:
            listener["access_log"] = [{"use": "file", "path": str(directory / "access.log")}]
        if job.certificate:
            listener["tls"] = {"cert": str(job.certificate), "key": str(job.key)}
        cluster = {
            "name": "upstream",
            "endpoints": [f"127.0.0.1:{port}" for port in job.shards or (job.upstream,)],
            "max_connections": job.connections,
        }
        if job.shards and not job.redis_cluster:
            cluster["load_balancer"] = {"use": "maglev"}
        file = directory / "l4proxy.json"
        file.write_text(json.dumps({"listeners": [listener], "clusters": [cluster]}, indent=2))
        plugins = ["--plugin-dir", str(PLUGINS)] if self.readers or job.filters else []
        return [sys.executable, "-m", "l4proxy", "run", *plugins, str(file)]

    def version(self) -> str:
        return first_line([sys.executable, "-m", "l4proxy", "--version"])
