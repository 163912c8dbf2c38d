"""A proxy inside a program: it listens when the block begins, and has drained when it ends."""

import asyncio

from l4proxy import Address, Server, serve

CONFIG = {"listeners": [{"name": "web", "address": "127.0.0.1:0", "filters": ["echo"]}]}


async def talk(address: Address) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"hello")
    answer = await reader.readexactly(5)
    writer.close()
    await writer.wait_closed()
    return answer


async def run() -> None:
    server: Server
    async with serve(CONFIG) as server:
        (address,) = server.addresses["web"]  # port 0 was any free one
        assert await talk(address) == b"hello"


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
