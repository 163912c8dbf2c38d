"""Python's HTTP servers behind the proxy: what they are asked is what was meant, however odd it was written."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from clusters import run
from http1_corpus import ODD_REQUESTS
from http_peers import Client, connect, http_proxy
from proxying import HOST
from services.python_http import PYTHON_SERVERS

SERVERS = pytest.mark.parametrize("name", PYTHON_SERVERS)
MARKER = b"GET /marker HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@SERVERS
def test_what_people_send(python_http: Callable[[str], int], name: str) -> None:
    async def conversation() -> None:
        body = bytes(range(256)) * 4000

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 50_000):
                yield body[at : at + 50_000]

        async with (
            http_proxy(str(python_http(name))) as proxy,
            httpx.AsyncClient(base_url=f"http://{HOST}:{proxy.port}", timeout=20) as client,
        ):
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                reply = await client.request(method, f"/{method}?a=b")
                assert reply.status_code == 200
                assert reply.text == ("" if method == "HEAD" else json.dumps([method, f"/{method}?a=b", ""]))
            replies = await asyncio.gather(*(client.post(f"/{at}", content=b"%d" % at) for at in range(50)))
            assert [one.json() for one in replies] == [["POST", f"/{at}", str(at)] for at in range(50)]
            assert (await client.put("/large", content=body)).json() == ["PUT", "/large", f"{len(body)} bytes"]
            if name != "http.server":
                reply = await client.put("/chunked", content=pieces())
                assert reply.json() == ["PUT", "/chunked", f"{len(body)} bytes"]

    run(conversation)


@SERVERS
def test_odd_requests_are_what_they_seem(python_http: Callable[[str], int], name: str) -> None:
    """Each is one request, and what follows it is the next one: the server and the proxy see the same."""

    async def ask(client: Client, target: str) -> list[object]:
        reply = await client.get(target)
        assert reply.status == 200
        return list(json.loads(reply.body))

    async def conversation() -> None:
        async with http_proxy(str(python_http(name))) as proxy, connect(proxy) as observer:
            await ask(observer, "/seen")
            for case, (data, (method, target, body)) in ODD_REQUESTS.items():
                if name == "http.server" and b"hunked" in data.lower():
                    continue  # it reads no chunked body, and the proxy cannot know
                async with connect(proxy) as client:
                    client.send(data + MARKER)
                    got = await client.rest()
                seen = await ask(observer, "/seen")
                first, *rest = re.findall(rb"HTTP/1.1 ([0-9]{3}) ", got)
                if first[:1] == b"4":  # it may be stricter than we are, and must not see what is not there
                    assert seen in ([], [["GET", "/marker", ""]]), case
                    continue
                assert seen == [[method, re.sub("//+", "/", target), body.decode()], ["GET", "/marker", ""]], case
                assert rest == [b"200"], case

    run(conversation)
