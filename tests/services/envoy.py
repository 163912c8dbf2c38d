"""Envoy as a TCP proxy in front of a test's own server: the peer that we are measured against."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.needs import program
from services.process import HOST, accepts, free_port, running

__all__ = ["EnvoyServer", "start_envoy"]

_TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


@dataclass(frozen=True, slots=True)
class EnvoyServer:
    host: str
    port: int
    admin_port: int


@pytest.fixture
def start_envoy(tmp_path: Path) -> Iterator[Callable[..., EnvoyServer]]:
    """``start_envoy(upstream_port, transport_socket={...})``: one more Envoy, until the test ends.

    ``transport_socket`` is that of its cluster, in Envoy's own words: TLS or the PROXY protocol towards the upstream.
    """
    with contextlib.ExitStack() as servers:

        def start(upstream_port: int, transport_socket: Mapping[str, Any] | None = None) -> EnvoyServer:
            server = EnvoyServer(HOST, free_port(), free_port())
            config = tmp_path / f"envoy-{server.port}.json"
            config.write_text(json.dumps(_bootstrap(server, upstream_port, transport_socket)))
            options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
            argv = [program("envoy"), "-c", str(config), *options]
            servers.enter_context(running(argv, log=config.with_suffix(".log"), ready=lambda: accepts(server.port)))
            return server

        yield start


def _bootstrap(server: EnvoyServer, upstream_port: int, transport_socket: Mapping[str, Any] | None) -> dict[str, Any]:
    tcp_proxy = {"@type": _TCP_PROXY, "stat_prefix": "test", "cluster": "upstream"}
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    cluster: dict[str, Any] = {
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if transport_socket is not None:
        cluster["transport_socket"] = transport_socket
    listener = {
        "name": "test",
        "address": _address(server.port),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp_proxy}]}],
    }
    return {
        "admin": {"address": _address(server.admin_port)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
