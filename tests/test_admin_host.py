from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from admin_client import HOST, ask
from clusters import run
from l4proxy import serve
from l4proxy.address import Address
from l4proxy.admin import ServerTarget
from l4proxy.admin_host import AdminHost
from l4proxy.config.schema import Admin
from l4proxy.errors import ConfigError

PROXY = {"listeners": [{"address": f"{HOST}:0", "filters": ["echo"]}]}
ADMIN = Admin(Address(HOST, 0))


def test_there_is_an_admin_interface_while_the_configuration_asks_for_one() -> None:
    async def main() -> None:
        async with serve(PROXY) as server:
            host = AdminHost(lambda: ServerTarget(server))
            await host.apply(None)
            assert host.addresses == []
            await host.apply(ADMIN)
            (address,) = host.addresses
            assert (await ask(address.port, "GET", "/ready")).text == "LIVE\n"
            await host.apply(ADMIN)
            assert host.addresses == [address], "the socket stays"
            await host.apply(None)
            assert host.addresses == []
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, address.port))
            await host.apply(ADMIN)
            assert len(host.addresses) == 1
            await host.close()
            await host.close()

    run(main)


def test_an_address_that_is_taken_is_a_problem_of_the_configuration() -> None:
    async def main() -> None:
        async with serve(PROXY) as server:
            host = AdminHost(lambda: ServerTarget(server))
            with (
                socket.create_server((HOST, 0)) as taken,
                pytest.raises(ConfigError, match=r"admin\.address: cannot listen on"),
            ):
                await host.apply(Admin(Address(HOST, taken.getsockname()[1])))
            assert host.addresses == []
            await host.close()

    run(main)


def test_sockets_of_a_predecessor_are_used_and_given_on() -> None:
    inherited = socket.create_server((HOST, 0))
    inherited.setblocking(False)
    port = inherited.getsockname()[1]
    address = f"{HOST}:{port}"

    async def main() -> None:
        async with serve(PROXY) as server:
            host = AdminHost(lambda: ServerTarget(server))
            sockets = {address: [inherited], f"{HOST}:1": []}
            host.inherit(replace(server.config, admin=Admin(Address(HOST, port))), sockets)
            assert sockets == {f"{HOST}:1": []}
            await host.apply(Admin(Address(HOST, port)))
            assert host.sockets() == {address: [inherited]}
            assert (await ask(port, "GET", "/ready")).status == 200
            await host.close()
            assert inherited.fileno() == -1

    run(main)
