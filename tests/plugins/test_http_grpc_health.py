from __future__ import annotations

from pathlib import Path

import pytest

from clusters import run
from http2_peers import H2Reply, h2_connect
from http_peers import http_proxy, upstream


def request(service: str) -> bytes:
    message = b"\x0a" + bytes([len(service)]) + service.encode() if service else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
SERVING, NOT_SERVING = b"\0\0\0\0\2\x08\1", b"\0\0\0\0\2\x08\2"


def status(reply: H2Reply) -> str | None:
    return dict(reply.trailers).get("grpc-status") or reply.field("grpc-status")


def test_check(tmp_path: Path) -> None:
    async def conversation() -> None:
        filters = [{"use": "grpc_health", "services": {"a.B": "up", "c.D": "none"}}]
        (tmp_path / "none.json").write_text('{"endpoints": []}')
        discovery = {"use": "endpoints_file", "path": str(tmp_path / "none.json")}
        config = {"clusters": [{"name": "none", "discovery": discovery}]}
        async with (
            upstream() as up,
            http_proxy(up, filters=filters, config=config) as proxy,
            h2_connect(proxy) as client,
        ):

            async def check(body: bytes) -> H2Reply:
                return await client.get("/grpc.health.v1.Health/Check", *GRPC, method="POST", body=body)

            there = await check(request("a.B"))
            assert (there.body, status(there)) == (SERVING, "0")
            assert (await check(request("c.D"))).body == NOT_SERVING
            assert (await check(request(""))).body == NOT_SERVING
            assert status(await check(request("unheard.Of"))) == "5"
            assert status(await check(b"garbage")) == "3"
            assert status(await check(request("x") * 2000)) == "3"
            assert up.seen == []

    run(conversation)


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [("/grpc.health.v1.Health/Watch", GRPC, "12"), ("/grpc.health.v1.Health/Check", [], None), ("/other", GRPC, None)],
)
def test_what_else_may_be_asked(path: str, headers: list[tuple[str, str]], expected: str | None) -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            http_proxy(up, filters=[{"use": "grpc_health"}], upstream={"protocol": "http1"}) as proxy,
            h2_connect(proxy) as client,
        ):
            reply = await client.get(path, *headers, method="POST", body=request(""))
            assert status(reply) == expected
            assert len(up.seen) == (expected is None)

    run(conversation)
