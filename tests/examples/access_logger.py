"""An access logger: it gets a record of every connection that has ended."""

import asyncio
import sys
from dataclasses import dataclass

from l4proxy import AccessLogger, AccessRecord, PluginManager, Register, hookimpl, serve

LINES: list[str] = []


@dataclass(frozen=True, slots=True)
class CollectConfig:
    prefix: str = ""
    """What each line begins with."""


class Collect(AccessLogger[CollectConfig]):
    """Keep a line for each connection."""

    name = "collect"

    def log(self, record: AccessRecord) -> None:
        LINES.append(f"{self.config.prefix}{record.listener}: {record.bytes_received} bytes, {record.reason.detail}")


@hookimpl
def register_access_loggers(register: Register[type[Collect]]) -> None:
    register(Collect)


async def run() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "collect")
    config = {
        "listeners": [{"name": "web", "address": "127.0.0.1:0", "filters": ["echo"]}],
        "access_log": [{"use": "collect", "prefix": "> "}],
    }
    async with serve(config, plugins=plugins) as server:
        (address,) = server.addresses["web"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"hello")
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()


def main() -> None:
    LINES.clear()
    asyncio.run(run())
    assert LINES == ["> web: 5 bytes, eof"]


if __name__ == "__main__":
    main()
