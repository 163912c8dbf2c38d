"""The same small service for every Python server: it says what it was asked, and what it has been asked so far.

``/seen`` answers with a list of [method, target, body] since it was last asked; anything else with the last item of it,
and a WebSocket with what comes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

seen: list[tuple[str, str, str]] = []

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


def answer(method: str, target: str, body: bytes) -> bytes:
    if target == "/seen":
        told = json.dumps(seen)
        seen.clear()
    else:
        seen.append((method, target, body.decode("latin-1") if len(body) < 10_000 else f"{len(body)} bytes"))
        told = json.dumps(seen[-1])
    return told.encode()


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """For uvicorn."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
        return
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    query = scope["query_string"].decode("latin-1")
    told = answer(scope["method"], scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""), body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """For gunicorn."""
    told = answer(environ["REQUEST_METHOD"], environ["RAW_URI"], environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(told)))])
    return [told]


class Handler(BaseHTTPRequestHandler):
    """For ``http.server``, which knows no chunked bodies."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = answer(self.command, self.path, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_GET


def serve_aiohttp(port: int) -> None:
    from aiohttp import WSMsgType, web

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            websocket = web.WebSocketResponse()
            await websocket.prepare(request)
            async for message in websocket:
                if message.type is WSMsgType.TEXT:
                    await websocket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await websocket.send_bytes(message.data)
            return websocket
        told = answer(request.method, request.raw_path, await request.read())
        return web.Response(body=told, content_type="application/json")

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", handle)
    web.run_app(app, host="127.0.0.1", port=port, print=None, loop=asyncio.new_event_loop())


if __name__ == "__main__":
    name, port_text = sys.argv[1:]
    if name == "aiohttp":
        serve_aiohttp(int(port_text))
    else:
        ThreadingHTTPServer(("127.0.0.1", int(port_text)), Handler).serve_forever()
