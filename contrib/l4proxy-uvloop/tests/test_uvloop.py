import asyncio

import l4proxy_uvloop
import uvloop

from l4proxy.plugin_manager import PluginManager
from l4proxy.server import serve


def test_the_loop_is_uvloops() -> None:
    plugins = PluginManager()
    plugins.register(l4proxy_uvloop, "uvloop")
    loop = plugins.make_event_loop()
    assert isinstance(loop, uvloop.Loop)
    loop.close()


async def echo_through_a_proxy() -> bytes:
    config = {"listeners": [{"name": "echo", "address": "127.0.0.1:0", "filters": ["echo"]}]}
    async with serve(config) as server:
        (address,) = server.addresses["echo"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"hello")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


def test_a_proxy_runs_on_it() -> None:
    with asyncio.Runner(loop_factory=l4proxy_uvloop.make_event_loop) as runner:
        assert runner.run(echo_through_a_proxy()) == b"hello"
