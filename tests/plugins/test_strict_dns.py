from __future__ import annotations

import pytest

from clusters import Runtime, config, fails, listening, run, running, until
from dns_server import name_server
from l4proxy.connect import ConnectRequest
from l4proxy.errors import ConfigError


def test_every_address_is_an_endpoint_and_changes_are_followed() -> None:
    async def main() -> None:
        async with name_server() as names, running() as runtime:
            names.records["db.test"] = ["0 A 127.0.0.1", "0 A 127.0.0.2"]
            dns = {"use": "strict_dns", "servers": [str(names.address)], "min_ttl": "10ms", "refresh": "10ms"}
            cluster = runtime.cluster("db.test:1", discovery=dns)
            assert not cluster.ready
            await until(lambda: cluster.ready)
            assert set(cluster.endpoints.current) == {"127.0.0.1:1", "127.0.0.2:1"}
            names.records["db.test"] = ["0 A 127.0.0.3", "0 A 127.0.0.2"]
            await until(lambda: "127.0.0.3:1" in cluster.endpoints.current)
            assert set(cluster.endpoints.current) == {"127.0.0.3:1", "127.0.0.2:1"}
            asked = len(names.queries)
            names.mood = "servfail"
            await until(lambda: len(names.queries) > asked + 4)
            assert set(cluster.endpoints.current) == {"127.0.0.3:1", "127.0.0.2:1"}
            assert "failed" in cluster.discovery.problem

    run(main)


def test_connections_wait_for_the_first_answer() -> None:
    async def main() -> None:
        with listening() as server:
            async with name_server() as names, running() as runtime:
                names.records["_db._tcp.test"] = [f"60 SRV 0 3 {server.getsockname()[1]} db.test"]
                names.records["db.test"] = ["60 A 127.0.0.1"]
                dns = {"use": "strict_dns", "servers": [str(names.address)], "services": ["_db._tcp.test"]}
                cluster = runtime.cluster(discovery=dns)
                stream, endpoint = await cluster.open(ConnectRequest())
                assert (endpoint.hostname, endpoint.weight) == ("db.test", 3)
                stream.close()

    run(main)


def test_without_an_answer_connections_fail() -> None:
    async def main() -> None:
        async with name_server() as names, running() as runtime:
            dns = {"use": "strict_dns", "servers": [str(names.address)]}
            error = await fails(runtime.cluster("db.test:1", discovery=dns))
            assert str(error) == "cluster c has no endpoint: db.test:1: there is no db.test"

    run(main)


def test_a_name_server_that_is_silent_does_not_hold_connections_for_ever() -> None:
    async def main() -> None:
        async with name_server() as names, running() as runtime:
            names.mood = "silent"
            dns = {"use": "strict_dns", "servers": [str(names.address)]}
            cluster = runtime.cluster("db.test:1", discovery=dns, connect_timeout="100ms")
            error = await fails(cluster)
            assert (error.flag, error.detail) == ("UH", "no_healthy_upstream")
            assert cluster.stats.connections_pending == 0

    run(main)


def test_nothing_to_look_up_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="nothing to look up"):
            Runtime().clusters.prepare([config(discovery="strict_dns")])

    run(main)
