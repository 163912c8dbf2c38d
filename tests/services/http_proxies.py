"""nginx, HAProxy and Envoy as HTTP/1 reverse proxies with what is their default, to be compared with ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.needs import program
from services.nginx_files import temporary_files
from services.process import HOST, accepts, free_port, running

__all__ = ["HTTP_PROXIES", "start_http_proxy"]

HTTP_PROXIES = ("nginx", "haproxy", "envoy")
_NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    {temporary}
    server {{
        listen {host}:{port};
        location / {{ proxy_pass http://{host}:{upstream}; proxy_http_version 1.1; }}
    }}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 10s
    timeout client 10s
    timeout server 10s
listen test
    bind {host}:{port}
    server upstream {host}:{upstream}
"""
_TYPE = "type.googleapis.com/envoy.extensions.filters."


@pytest.fixture
def start_http_proxy(tmp_path: Path) -> Iterator[Callable[[str, int], int]]:
    """``start_http_proxy("nginx", upstream_port)`` is the port of one, until the test ends."""
    with contextlib.ExitStack() as servers:

        def start(name: str, upstream: int) -> int:
            port = free_port()
            directory = tmp_path / f"{name}-{port}"
            directory.mkdir()
            config = directory / "config.json" if name == "envoy" else directory / "config"
            if name == "envoy":
                config.write_text(json.dumps(_envoy(port, upstream)))
                argv = ["-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
            else:
                text = _NGINX if name == "nginx" else _HAPROXY
                temporary = temporary_files(directory)
                values = {"directory": directory, "temporary": temporary, "host": HOST, "port": port}
                config.write_text(text.format(upstream=upstream, **values))
                argv = ["-p", str(directory), "-e", "stderr", "-c", str(config)]
                argv = argv if name == "nginx" else ["-db", "-f", str(config)]
            log = directory / "log"
            servers.enter_context(running([program(name), *argv], log=log, ready=lambda: accepts(port)))
            return port

        yield start


def _envoy(port: int, upstream: int) -> dict[str, object]:
    def address(port: int) -> dict[str, object]:
        return {"socket_address": {"address": HOST, "port_value": port}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    manager = {
        "@type": f"{_TYPE}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPE}http.router.v3.Router"}}],
    }
    endpoint = {"endpoint": {"address": address(upstream)}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"name": "test", "address": address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
