"""gRPC-Web clients, as browsers have them, in front of a gRPC service."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clusters import run, until
from grpc_peers import SERVICE, grpc_service
from http2_peers import h2_connect
from http_peers import Reply, connect, http_proxy
from proxying import HOST, Proxy


def framed(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


@asynccontextmanager
async def web_proxy(port: int, **options: object) -> AsyncIterator[Proxy]:
    filters = [{"use": "grpc_web"}, {"use": "grpc"}]
    async with http_proxy(f"{HOST}:{port}", upstream={"protocol": "http2"}, filters=filters, **options) as proxy:
        yield proxy


async def call(proxy: Proxy, method: str, message: bytes, kind: str = "application/grpc-web+proto") -> Reply:
    async with connect(proxy) as client:
        body = framed(message)
        if "text" in kind:
            body = base64.b64encode(body[:4]) + base64.b64encode(body[4:])
        return await client.get(
            f"/{SERVICE}/{method}", f"Content-Type: {kind}", "X-Grpc-Web: 1", method="POST", body=body
        )


def test_trailers_are_the_last_frame_of_the_body(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def conversation() -> None:
        config = {"access_log": [{"use": "file", "path": str(log), "format": "%GRPC_STATUS%"}]}
        async with grpc_service() as (port, service), web_proxy(port, config=config) as proxy:
            reply = await call(proxy, "Repeat", b"3")
            assert (reply.status, reply.field("content-type")) == (200, "application/grpc-web+proto")
            *messages, (flag, trailers) = frames(reply.body)
            assert messages == [(0, b"3")] * 3
            assert flag == 0x80
            assert b"grpc-status: 0\r\n" in trailers
            assert "x-grpc-web" not in service.seen[0][1]
            assert proxy.value("l4proxy_grpc_calls_total", service=SERVICE, method="Repeat", status="OK") == 1
            await until(lambda: log.read_text() == "OK\n")

    run(conversation)


def test_a_response_that_has_begun_ends_with_a_status_when_its_time_is_over() -> None:
    async def conversation() -> None:
        routes = [{"prefix": "/", "cluster": "up", "max_duration": "0.3s"}]
        async with grpc_service() as (port, _), web_proxy(port, routes=routes) as proxy:
            reply = await call(proxy, "Begin", b"x")
            (_, message), (flag, trailers) = frames(reply.body)
            assert (message, flag) == (b"x", 0x80)
            assert b"grpc-status: 4\r\n" in trailers

    run(conversation)


def test_text_is_base64_both_ways() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _), web_proxy(port) as proxy:
            reply = await call(proxy, "Unary", b"hello", "application/grpc-web-text")
            assert reply.field("content-type") == "application/grpc-web-text"
            decoded = b"".join(base64.b64decode(part) for part in _groups(reply.body))
            (flag, message), (_, trailers) = frames(decoded)
            assert (flag, message) == (0, b"hello")
            assert b"x-trailer: yes\r\n" in trailers

    run(conversation)


def _groups(text: bytes) -> list[bytes]:
    """Base64 whose pieces have each its own padding, in fours."""
    return [text[at : at + 4] for at in range(0, len(text), 4)]


@pytest.mark.parametrize("method", ["Fail", "Invented"])
def test_a_status_without_messages_is_in_the_head(method: str) -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _), web_proxy(port) as proxy:
            reply = await call(proxy, method, b"x")
            assert reply.status == 200
            assert reply.field("grpc-status") == {"Fail": "9", "Invented": "12"}[method]
            assert reply.field("content-type") == "application/grpc-web+proto"

    run(conversation)


def test_errors_of_the_proxy_are_of_its_kind_too() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _):
            pass
        async with web_proxy(port) as proxy:
            reply = await call(proxy, "Unary", b"x")
            assert (reply.status, reply.field("grpc-status")) == (200, "14")

    run(conversation)


def test_what_is_no_base64_is_refused() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _), web_proxy(port) as proxy, connect(proxy) as client:
            head = ("Content-Type: application/grpc-web-text",)
            reply = await client.get(f"/{SERVICE}/Unary", *head, method="POST", body=b"AAAA$$$$")
            assert reply.field("grpc-status") == "13"
            reply = await client.get(f"/{SERVICE}/Unary", *head, method="POST", body=b"AAA")
            assert reply.field("grpc-status") == "13"

    run(conversation)


def test_other_requests_pass_untouched() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _), web_proxy(port) as proxy, h2_connect(proxy) as client:
            head = [("content-type", "application/grpc"), ("te", "trailers")]
            reply = await client.get(f"/{SERVICE}/Unary", *head, method="POST", body=framed(b"hi"))
            assert reply.body == framed(b"hi")
            assert dict(reply.trailers)["grpc-status"] == "0"

    run(conversation)
