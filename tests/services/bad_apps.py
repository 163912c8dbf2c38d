"""A service that behaves badly, for every Python server, so that what becomes of it is these servers' own doing.

``/wait`` never answers, ``/endless/length`` and ``/endless/chunked`` begin a response that goes on until somebody ends
it, ``/short`` and ``/long`` lie about their length, and anything else reads what it is sent and answers ``ok``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Scope = MutableMapping[str, Any]
PIECES = {
    "/endless/length": ("1000000", b"piece"),
    "/endless/chunked": ("", b"piece"),
    "/short": ("100", b"short"),
    "/long": ("4", b"long, and longer than that"),
}
"""By the path: the length that is announced, and what comes, once or again and again."""
PAUSE = 0.02
OK = ("2", b"ok")


def pieces(path: str) -> Iterator[bytes]:
    piece = PIECES.get(path, OK)[1]
    yield piece
    while path.startswith("/endless"):
        time.sleep(PAUSE)
        yield piece


async def asgi(scope: Scope, receive: Callable[[], Awaitable[Scope]], send: Callable[[Scope], Awaitable[None]]) -> None:
    """For uvicorn."""
    if scope["type"] != "http":
        return
    path = scope["path"]
    while (await receive()).get("more_body"):
        pass
    if path == "/wait":
        await asyncio.sleep(3600)
    length, piece = PIECES.get(path, OK)
    headers = [(b"content-length", length.encode())] if length else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": piece, "more_body": path.startswith("/endless")})
    while path.startswith("/endless"):
        await asyncio.sleep(PAUSE)
        await send({"type": "http.response.body", "body": piece, "more_body": True})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """For gunicorn."""
    path = environ["PATH_INFO"]
    while environ["wsgi.input"].read(65536):
        pass
    if path == "/wait":
        time.sleep(3600)
    length = PIECES.get(path, OK)[0]
    start_response("200 OK", [("Content-Length", length)] if length else [])
    return pieces(path)


class Handler(BaseHTTPRequestHandler):
    """For ``http.server``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            left -= len(self.rfile.read(min(left, 65536)))
        if self.path == "/wait":
            time.sleep(3600)
        length = PIECES.get(self.path, OK)[0]
        self.send_response(200)
        self.send_header(*(("Content-Length", length) if length else ("Transfer-Encoding", "chunked")))
        self.end_headers()
        for piece in pieces(self.path):
            self.wfile.write(piece if length else b"%x\r\n%b\r\n" % (len(piece), piece))

    do_POST = do_GET


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
