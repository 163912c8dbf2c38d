from __future__ import annotations

import pytest

from clusters import Runtime, config, listening, run, running, until
from dns_server import name_server
from l4proxy.connect import ConnectRequest
from l4proxy.errors import ConfigError


def test_new_connections_go_to_the_new_address_and_old_ones_go_on() -> None:
    async def main() -> None:
        with listening("127.0.0.1") as first, listening("0.0.0.0") as anywhere:
            first.close()
            port = anywhere.getsockname()[1]
            async with name_server() as names, running() as runtime:
                names.records["db.test"] = ["0 A 127.0.0.1"]
                dns = {"use": "logical_dns", "servers": [str(names.address)], "min_ttl": "10ms"}
                cluster = runtime.cluster(f"db.test:{port}", discovery=dns)
                old, endpoint = await cluster.open(ConnectRequest())
                assert (endpoint.name, endpoint.hostname) == (f"db.test:{port}", "db.test")
                names.records["db.test"] = ["0 A 127.0.0.2"]
                await until(lambda: endpoint.targets[0].sockaddr == ("127.0.0.2", port))
                new, same = await cluster.open(ConnectRequest())
                assert same is endpoint
                assert not endpoint.draining
                assert [stream.sock.getpeername()[0] for stream in (old, new)] == ["127.0.0.1", "127.0.0.2"]
                assert not old.closed
                old.close()
                new.close()

    run(main)


def test_the_next_address_is_tried_where_the_first_does_not_accept() -> None:
    async def main() -> None:
        with listening("127.0.0.2") as server:
            port = server.getsockname()[1]
            async with name_server() as names, running() as runtime:
                names.records["db.test"] = ["60 AAAA ::1", "60 A 127.0.0.1", "60 A 127.0.0.2"]
                dns = {"use": "logical_dns", "servers": [str(names.address)]}
                stream, _ = await runtime.cluster(f"db.test:{port}", discovery=dns).open(ConnectRequest())
                assert stream.sock.getpeername()[0] == "127.0.0.2"
                stream.close()

    run(main)


def test_nothing_to_look_up_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="nothing to look up"):
            Runtime().clusters.prepare([config(discovery="logical_dns")])

    run(main)
