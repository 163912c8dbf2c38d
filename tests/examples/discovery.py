"""A discovery: it tells a cluster its endpoints, the whole list whenever that changes."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from l4proxy import Address, Discovery, EndpointSpec, PluginManager, Register, hookimpl, serve


@dataclass(frozen=True, slots=True)
class PortsConfig:
    host: str
    """Where the servers are."""
    first: int
    """The port of the first one."""
    count: int = 1
    """How many there are."""


class Ports(Discovery[PortsConfig]):
    """Servers on one host, on ports that follow each other."""

    name = "ports"

    async def run(self, update: Callable[[Sequence[EndpointSpec]], None]) -> None:
        ports = range(self.config.first, self.config.first + self.config.count)
        await asyncio.sleep(0)  # a real one asks somebody, again and again
        update([EndpointSpec.of_address(Address(self.config.host, port)) for port in ports])
        self.report()


@hookimpl
def register_discovery(register: Register[type[Ports]]) -> None:
    register(Ports)


async def run() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "ports")
    echo = {"listeners": [{"name": "echo", "address": "127.0.0.1:0", "filters": ["echo"]}]}
    async with serve(echo) as upstream:
        port = upstream.addresses["echo"][0].port
        config = {
            "listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": [{"use": "tcp_proxy", "cluster": "c"}]}],
            "clusters": [{"name": "c", "discovery": {"use": "ports", "host": "127.0.0.1", "first": port}}],
        }
        async with serve(config, plugins=plugins) as server:
            (address,) = server.addresses["a"]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"found")
            assert await reader.readexactly(5) == b"found"
            writer.close()
            await writer.wait_closed()


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
