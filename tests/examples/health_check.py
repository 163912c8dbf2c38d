"""A health check: talks to an endpoint, and says what is wrong with it."""

import asyncio
import sys
from dataclasses import dataclass

from l4proxy import Endpoint, HealthCheck, HealthCheckOptions, PluginManager, Register, Unhealthy, hookimpl, serve


@dataclass(frozen=True, slots=True)
class GreetingConfig(HealthCheckOptions):
    word: str
    """What a healthy endpoint says first."""


class Greeting(HealthCheck[GreetingConfig]):
    """Does the endpoint greet?"""

    name = "greeting"

    async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line.startswith(self.config.word.encode()):
            raise Unhealthy(f"it greets with {line[:20]!r}")


@hookimpl
def register_health_checks(register: Register[type[Greeting]]) -> None:
    register(Greeting)


async def run() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "greeting")
    rude = {"use": "direct_response", "text": "go away\n"}
    async with serve({"listeners": [{"name": "rude", "address": "127.0.0.1:0", "filters": [rude]}]}) as upstream:
        check = {"use": "greeting", "word": "hello", "interval": "10ms"}
        config = {
            "listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": [{"use": "tcp_proxy", "cluster": "c"}]}],
            "clusters": [{"name": "c", "endpoints": [str(upstream.addresses["rude"][0])], "health_check": check}],
        }
        async with serve(config, plugins=plugins) as server:
            (cluster,) = server.clusters
            (endpoint,) = cluster.endpoints.current.values()
            while endpoint.available:
                await asyncio.sleep(0.01)
            assert endpoint.health_problem == "it greets with b'go away\\n'"


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
