"""The same connections through Envoy and through us, logged with the same formats: the lines are the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l4proxy.server import serve
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


async def connect_and_echo(port: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    with contextlib.suppress(ConnectionResetError):
        writer.write(b"hello")
        assert await reader.read(5) in (b"hello", b"")
        writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()
    await writer.wait_closed()


def envoy_config(port: int, upstream: int, path: Path) -> dict[str, Any]:
    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": HOST, "port_value": port}}

    endpoint = {"endpoint": {"address": address(upstream)}}
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
    }
    chain = {"name": "main", "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp_proxy}]}
    assignment = {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {
        "static_resources": {
            "listeners": [{"name": "test", "address": address(port), "filter_chains": [chain]}],
            "clusters": [{"name": "upstream", "type": "STATIC", "load_assignment": assignment}],
        },
    }


def through_envoy(upstream: int, folder: Path) -> dict[str, Any]:
    port, path, config = free_port(), folder / "envoy-access.log", folder / "envoy.json"
    config.write_text(json.dumps(envoy_config(port, upstream, path)))
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
        asyncio.run(connect_and_echo(port))
    line = path.read_text().splitlines()[-1]  # it was also asked whether it accepts
    # Some of its operators print "-" also where others give null.
    return {key: None if value == "-" else value for key, value in json.loads(line).items()}


def through_us(upstream: int, folder: Path) -> dict[str, Any]:
    path = folder / "access.log"
    config: Mapping[str, Any] = {
        "listeners": [
            {
                "name": "test",
                "address": f"{HOST}:0",
                "filter_chains": [{"name": "main", "filters": [{"use": "tcp_proxy", "cluster": "upstream"}]}],
            }
        ],
        "clusters": [{"name": "upstream", "endpoints": [f"{HOST}:{upstream}"]}],
        "access_log": [{"use": "file", "path": str(path), "format": SAME}],
    }

    async def main() -> None:
        async with serve(config) as server:
            await connect_and_echo(server.addresses["test"][0].port)

    asyncio.run(main())
    return json.loads(path.read_text())


@needs("envoy")
def test_a_connection_that_went_well(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(echo, HOST, 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = server.sockets[0].getsockname()[1]
        assert through_us(port, tmp_path) == through_envoy(port, tmp_path)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


@needs("envoy")
def test_an_upstream_that_refuses(tmp_path: Path) -> None:
    port = free_port()
    ours, theirs = through_us(port, tmp_path), through_envoy(port, tmp_path)
    about_the_attempt = {"host", "attempts", "flags", "flags_text", "long_flags"}
    assert {key: ours[key] for key in SAME.keys() - about_the_attempt} == {
        key: theirs[key] for key in SAME.keys() - about_the_attempt
    }
    assert ours["flags"].split(",")[0] == theirs["flags"].split(",")[0] == "UF"
