"""The same connections through Envoy and through us, logged with the same formats: the lines are the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from l4proxy.server import serve
from proxy_process import echo_server
from services.needs import needs, program
from services.process import HOST, accepts, free_port, running

SAME = {
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "wire": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%/%DOWNSTREAM_WIRE_BYTES_SENT%",
    "upstream_wire": "%UPSTREAM_WIRE_BYTES_RECEIVED%/%UPSTREAM_WIRE_BYTES_SENT%",
    "flags": "%RESPONSE_FLAGS%",
    "flags_text": "flags: %RESPONSE_FLAGS%",
    "long_flags": "%RESPONSE_FLAGS_LONG%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "host": "%UPSTREAM_HOST%",
    "upstream": "%UPSTREAM_REMOTE_ADDRESS%",
    "upstream_ip": "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "upstream_port": "%UPSTREAM_REMOTE_PORT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "direct": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "local": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "sni": "%REQUESTED_SERVER_NAME%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "handshake": "%DOWNSTREAM_HANDSHAKE_DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "type": "%ACCESS_LOG_TYPE%",
    "chain": "%FILTER_CHAIN_NAME%",
    "hostname": "%HOSTNAME%",
    "environment": "%ENVIRONMENT(HOME)%",
    "short": "%ENVIRONMENT(HOME):2%",
    "nothing": "%ENVIRONMENT(NOT_SET_ANYWHERE)%",
    "percent": "100%%",
    "number": 5,
    "nested": {"list": ["%BYTES_SENT%", True]},
}
"""Operators whose values do not depend on the time or on the choice of a port."""
OPTIONS = {"max_connection_duration": "max_downstream_connection_duration"}
"""Options of ``tcp_proxy`` that Envoy's has by other names."""


async def connect_and_echo(port: int, *, ends: bool = True) -> None:
    """Send something, read it, and end, or wait for the other side to."""
    reader, writer = await asyncio.open_connection(HOST, port)
    with contextlib.suppress(OSError):  # a refused client may be closed before it has said anything
        writer.write(b"hello")
        assert await reader.read(5) in (b"hello", b"")
        if ends:
            writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of a server that sends everything back."""
    with echo_server() as port:
        yield port


def envoy_config(port: int, upstreams: list[int], options: dict[str, Any], path: Path) -> dict[str, Any]:
    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": HOST, "port_value": port}}

    endpoints = [{"endpoint": {"address": address(upstream)}} for upstream in upstreams]
    log = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(path),
        "log_format": {"json_format": SAME},
    }
    tcp_proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "test",
        "cluster": "upstream",
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": log}],
        **{OPTIONS.get(name, name): value for name, value in options.items()},
    }
    chain = {"name": "main", "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp_proxy}]}
    assignment = {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": endpoints}]}
    return {
        "static_resources": {
            "listeners": [{"name": "test", "address": address(port), "filter_chains": [chain]}],
            "clusters": [{"name": "upstream", "type": "STATIC", "load_assignment": assignment}],
        },
    }


def through_envoy(upstreams: list[int], folder: Path, *, ends: bool = True, **options: Any) -> dict[str, Any]:
    port, path, config = free_port(), folder / "envoy-access.log", folder / "envoy.json"
    config.write_text(json.dumps(envoy_config(port, upstreams, options, path)))
    argv = [
        program("envoy"),
        "-c",
        str(config),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]
    with running(argv, log=folder / "envoy.log", ready=lambda: accepts(port)):
        asyncio.run(connect_and_echo(port, ends=ends))
    line = path.read_text().splitlines()[-1]  # it was also asked whether it accepts
    # Some of its operators print "-" also where others give null.
    return {key: None if value == "-" else value for key, value in json.loads(line).items()}


def through_us(upstreams: list[int], folder: Path, *, ends: bool = True, **options: Any) -> dict[str, Any]:
    path = folder / "access.log"
    tcp_proxy = {"use": "tcp_proxy", "cluster": "upstream", **options}
    endpoints: list[Any] = [f"{HOST}:{upstream}" for upstream in upstreams]
    none = {"address": f"{HOST}:1", "weight": 0}
    config: Mapping[str, Any] = {
        "listeners": [
            {
                "name": "test",
                "address": f"{HOST}:0",
                "filter_chains": [{"name": "main", "filters": [tcp_proxy]}],
            }
        ],
        "clusters": [{"name": "upstream", "endpoints": endpoints or [none]}],
        "access_log": [{"use": "file", "path": str(path), "format": SAME}],
    }

    async def main() -> None:
        async with serve(config) as server:
            await connect_and_echo(server.addresses["test"][0].port, ends=ends)

    asyncio.run(main())
    line: dict[str, Any] = json.loads(path.read_text())
    return line


def same(upstreams: list[int], folder: Path, **options: Any) -> dict[str, Any]:
    """Both log the same; return what."""
    ours = through_us(upstreams, folder, **options)
    assert ours == through_envoy(upstreams, folder, **options)
    return ours


@needs("envoy")
def test_a_connection_that_went_well(upstream: int, tmp_path: Path) -> None:
    assert same([upstream], tmp_path)["flags"] is None


@needs("envoy")
@pytest.mark.parametrize("attempts", [1, 3])
def test_an_upstream_that_refuses(attempts: int, tmp_path: Path) -> None:
    port = free_port()
    line = same([port], tmp_path, max_connect_attempts=attempts)
    assert (line["flags"], line["attempts"], line["host"]) == ("UF,URX", attempts, f"{HOST}:{port}")


@needs("envoy")
def test_a_cluster_without_endpoints(tmp_path: Path) -> None:
    assert same([], tmp_path)["flags"] == "UH"


@needs("envoy")
@pytest.mark.parametrize(("option", "flags"), [("idle_timeout", None), ("max_connection_duration", "DT")])
def test_limits_in_time(option: str, flags: str | None, upstream: int, tmp_path: Path) -> None:
    assert same([upstream], tmp_path, ends=False, **{option: "0.5s"})["flags"] == flags
