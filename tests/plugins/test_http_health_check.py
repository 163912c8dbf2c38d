from __future__ import annotations

from typing import Any

from clusters import run
from http_peers import connect, http_proxy, upstream


def test_health_is_answered_here() -> None:
    async def conversation() -> None:
        use: dict[str, Any] = {"use": "health_check", "path": "/health", "min_endpoints": {"up": 1}}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            reply = await client.get("/health?x")
            assert (reply.status, reply.body) == (200, b"ok\n")
            assert (await client.get("/health", method="HEAD")).status == 200
            assert (await client.get("/healthy")).body == b"ok"
            assert (await client.get("/health", method="POST")).body == b"ok"
            assert len(up.seen) == 2
            proxy.server.withdrawn = True
            assert (await client.get("/health")).status == 503

    run(conversation)


def test_too_few_endpoints_are_bad_health() -> None:
    async def conversation() -> None:
        use: dict[str, Any] = {"use": "health_check", "min_endpoints": {"up": 2}}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            reply = await client.get("/healthz")
            assert (reply.status, reply.body) == (503, b"cluster up has 1 endpoints, not 2\n")

    run(conversation)


def test_endpoints_that_are_ill_do_not_count_also_where_panic_uses_them() -> None:
    async def conversation() -> None:
        use: dict[str, Any] = {"use": "health_check", "min_endpoints": {"up": 1}}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            assert (await client.get("/healthz")).status == 200
            endpoints = proxy.server.clusters.find("up").endpoints
            endpoints.choosable()[0].health_problem = "it does not answer"
            assert endpoints.choosable()
            assert (await client.get("/healthz")).status == 503

    run(conversation)
