"""A process that is a proxy: signals, the event loop, the end."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING

from l4proxy.poller import new_event_loop
from l4proxy.server import Server

if TYPE_CHECKING:
    from l4proxy.config.schema import Config
    from l4proxy.plugin_manager import PluginManager

__all__ = ["run_process"]


def run_process(config: Config, plugins: PluginManager) -> int:
    """Serve until SIGTERM (drain) or SIGINT (at once). Returns the exit status."""
    with asyncio.Runner(loop_factory=lambda: plugins.make_event_loop() or new_event_loop()) as runner:
        return runner.run(_serve(config, plugins))


async def _serve(config: Config, plugins: PluginManager) -> int:
    server = Server(config, plugins)
    await server.start()
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[float | None] = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, stop.set_result, None)
    loop.add_signal_handler(signal.SIGINT, stop.set_result, 0.0)
    for name, addresses in server.addresses.items():
        print(f"{name}: listening on {', '.join(map(str, addresses))}", flush=True)
    gc.collect()
    gc.freeze()
    await server.stop(await stop)
    return 0
