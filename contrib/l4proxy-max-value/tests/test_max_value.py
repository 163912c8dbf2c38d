import asyncio

import pytest

from l4proxy import serve
from l4proxy.protocols.redis.request import encode_command

REFUSED = b"-ERR a value is longer than 10 bytes\r\n"


async def ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says OK to everything."""
    while await reader.read(1000):
        writer.write(b"+OK\r\n")
    writer.close()


async def ask(*words: bytes) -> bytes:
    async with await asyncio.start_server(ok, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        redis = {"use": "redis_proxy", "cluster": "cache", "filters": [{"use": "max_value", "size": "10B"}]}
        config = {
            "listeners": [{"name": "redis", "address": "127.0.0.1:0", "filters": [redis]}],
            "clusters": [{"name": "cache", "endpoints": [f"127.0.0.1:{port}"]}],
            "drain_time": 0,
        }
        async with serve(config) as proxy:
            (address,) = proxy.addresses["redis"]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(encode_command(*words))
            reply = await reader.readline()
            writer.close()
            return reply


@pytest.mark.parametrize(("value", "reply"), [(b"x" * 10, b"+OK\r\n"), (b"x" * 11, REFUSED), (b"", b"+OK\r\n")])
def test_only_long_values_are_refused(value: bytes, reply: bytes) -> None:
    assert asyncio.run(ask(b"SET", b"a", value)) == reply
