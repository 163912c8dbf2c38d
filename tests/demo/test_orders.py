from __future__ import annotations

import asyncio

import pytest

from l4proxy.demo.orders import CARD, Client, Orders, exchange_many


def test_the_service_and_its_clients() -> None:
    async def main() -> None:
        async with Orders("alpha") as orders, Client(orders.address) as client:
            assert await client.ask("order ada") == f"alpha: order 1 for ada, card {CARD}" == orders.said
            assert await client.ask("wait ada") == f"alpha: order 2 for ada, card {CARD}"
            assert await client.ask("anything else") == "anything else"
            assert await client.download(3 << 20) == 3 << 20
            orders.stop()
            with pytest.raises(ConnectionRefusedError):
                await Client(orders.address).__aenter__()

    asyncio.run(main())


def test_a_download_that_is_cut_or_wrong_is_noticed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(bytes(range(256)) * 4 + b"wrong")
        writer.close()

    async def main() -> None:
        async with Orders("alpha") as orders:
            orders.stop()
            server = await asyncio.start_server(serve, orders.address.host, orders.address.port)
            async with Client(orders.address) as client:
                assert await client.download(1 << 20) <= 1024
            server.close()

    asyncio.run(main())


def test_many_exchanges() -> None:
    async def main() -> None:
        async with Orders("alpha") as orders:
            times, seconds = await exchange_many(orders.address, 3, 5)
            assert len(times) == 15
            assert times == sorted(times)
            assert 0 < times[-1] <= seconds

    asyncio.run(main())
