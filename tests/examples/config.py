"""A configuration made of objects, where a type checker is to see it."""

import asyncio

from l4proxy import Address, Config, serve
from l4proxy.config.schema import Cluster, EndpointConfig, Listener
from l4proxy.config.types import Duration, Use


def proxy_to(upstream: Address) -> Config:
    return Config(
        listeners=(
            Listener(
                address=Address.parse("127.0.0.1:0"),
                name="web",
                filters=(Use("tcp_proxy", {"cluster": "backend"}),),
            ),
        ),
        clusters=(Cluster(name="backend", endpoints=(EndpointConfig(upstream),), connect_timeout=Duration(1.0)),),
    )


async def run() -> None:
    async with serve(proxy_to(Address("127.0.0.1", 5432))) as server:
        assert server.config.clusters[0].name == "backend"
        assert server.addresses["web"][0].port != 0


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
