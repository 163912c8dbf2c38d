"""Run l4proxy on uvloop's event loop."""

import asyncio

import uvloop

from l4proxy import hookimpl


@hookimpl
def make_event_loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop()
