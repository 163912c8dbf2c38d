from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clusters import Runtime, config, fails, listening, run, running, until
from l4proxy.connect import ConnectRequest
from l4proxy.errors import ConfigError
from l4proxy.snapshot import Snapshot
from services.needs import needs


def endpoint_labels(snapshot: Snapshot) -> list[str]:
    samples = snapshot["l4proxy_endpoint_connections_total"]["samples"]
    return [sample["labels"][1] for sample in samples]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_goes_where_its_client_wanted_to_go(host: str) -> None:
    async def main() -> None:
        with listening(host) as one, listening(host) as other:
            async with running() as runtime:
                cluster = runtime.cluster(discovery="original_dst")
                for server in (one, other, one):
                    wanted = server.getsockname()[:2]
                    stream, _ = await cluster.open(ConnectRequest(original_destination=wanted))
                    assert stream.sock.getpeername()[:2] == wanted
                    stream.close()
                assert len(cluster.endpoints.current) == 2

    run(main)


def test_the_port_can_be_another() -> None:
    async def main() -> None:
        with listening() as server:
            port = server.getsockname()[1]
            async with running() as runtime:
                cluster = runtime.cluster(discovery={"use": "original_dst", "port": port})
                stream, _ = await cluster.open(ConnectRequest(original_destination=("127.0.0.1", 9)))
                assert stream.sock.getpeername()[1] == port
                stream.close()

    run(main)


@pytest.mark.parametrize("destination", [None, ("", 0), ("10.0.0.1", 0)])
def test_a_connection_without_an_original_destination_fails(destination: tuple[str, int] | None) -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster(discovery="original_dst")
            error = await fails(cluster, ConnectRequest(original_destination=destination))
            assert (error.flag, error.detail) == ("UH", "no_healthy_upstream")
            assert "no original destination" in str(error)

    run(main)


def test_endpoints_are_forgotten_when_nobody_uses_them() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            async with running() as runtime:
                cluster = runtime.cluster(discovery={"use": "original_dst", "idle_time": "100ms"})
                stay, kept = await cluster.open(ConnectRequest(original_destination=one.getsockname()))
                go, _ = await cluster.open(ConnectRequest(original_destination=other.getsockname()))
                go.close()
                await until(lambda: list(cluster.endpoints.current.values()) == [kept])
                assert endpoint_labels(runtime.stats.snapshot()) == [kept.name]
                assert cluster.stats.endpoints == 1
                stay.close()
                await until(lambda: not cluster.endpoints.current)
                assert endpoint_labels(runtime.stats.snapshot()) == []

    run(main)


def test_endpoints_in_the_configuration_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="endpoints: a cluster of this kind has none of its own"):
            Runtime().clusters.prepare([config("127.0.0.1:1", discovery="original_dst")])

    run(main)


REDIRECTED = """
import asyncio
import subprocess

from l4proxy.server import serve

REDIRECT = "iptables -t nat -A OUTPUT -p tcp -d 10.1.2.3 ! -s 127.0.0.2 -j REDIRECT --to-ports 9000"

async def hello(reader, writer):
    writer.write(f"hello {writer.get_extra_info('peername')[0]} from {writer.get_extra_info('sockname')}".encode())
    writer.close()

async def main():
    for command in ("ip link set lo up", "ip address add 10.1.2.3/32 dev lo", REDIRECT):
        subprocess.run(command.split(), check=True)
    proxy = {
        "address": "127.0.0.1:9000",
        "original_destination": "redirect",
        "filters": [{"use": "tcp_proxy", "cluster": "origin"}],
    }
    origin = {"name": "origin", "discovery": "original_dst", "bind": "127.0.0.2:0"}
    async with serve({"listeners": [proxy], "clusters": [origin]}):
        for port in (7000, 7001):
            async with await asyncio.start_server(hello, "10.1.2.3", port):
                reader, writer = await asyncio.open_connection("10.1.2.3", port)
                print((await reader.read()).decode())
                writer.close()

asyncio.run(main())
"""


@needs("netns", "ip", "iptables")
def test_redirected_connections_reach_their_destination() -> None:
    command = ["unshare", "--net", sys.executable, "-c", REDIRECTED]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "hello 127.0.0.2 from ('10.1.2.3', 7000)",
        "hello 127.0.0.2 from ('10.1.2.3', 7001)",
    ], done.stderr
