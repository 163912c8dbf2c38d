"""A terminal filter: it connects its client to an endpoint of a cluster, and says how that went."""

import asyncio
import sys
from dataclasses import dataclass

from l4proxy import (
    CloseReason,
    ConnectRequest,
    Filter,
    PluginManager,
    Register,
    Server,
    Stream,
    UpstreamError,
    hookimpl,
    serve,
)
from l4proxy.config.types import ClusterName


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    cluster: ClusterName
    """Where connections go."""


class Bridge(Filter[BridgeConfig]):
    """Connect the client to an endpoint, and greet both."""

    name = "bridge"
    terminal = True
    shared: Server

    @classmethod
    def provision(cls, config: BridgeConfig, server: Server) -> Server:
        return server

    async def on_connect(self) -> None:
        stream: Stream
        try:
            stream, endpoint = await self.shared.clusters.find(self.config.cluster).open(ConnectRequest())
        except UpstreamError as error:
            reason = CloseReason("upstream", "connecting", error.detail, flags=(error.flag,), message=str(error))
            self.conn.send_client(f"sorry: {error.detail} {error.flag}\n".encode())
            self.conn.close(reason)
            return
        stream.write(b"hello upstream\n")
        self.conn.attach_upstream(stream, endpoint=endpoint.name)


@hookimpl
def register_filters(register: Register[type[Bridge]]) -> None:
    register(Bridge)


async def ask(server: Server, name: str) -> bytes:
    (address,) = server.addresses[name]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer


async def run() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "bridge")
    echo = {"listeners": [{"name": "echo", "address": "127.0.0.1:0", "filters": ["echo"]}]}
    async with serve(echo) as upstream:
        (address,) = upstream.addresses["echo"]
        config = {
            "listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": [{"use": "bridge", "cluster": "echo"}]}],
            "clusters": [{"name": "echo", "endpoints": [str(address)]}],
        }
        async with serve(config, plugins=plugins) as server:
            assert await ask(server, "a") == b"hello upstream\n"
            await upstream.stop()
            assert await ask(server, "a") == b"sorry: connect_refused UF\n"


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
