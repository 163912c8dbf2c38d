from __future__ import annotations

from typing import Any

from clusters import run
from http_peers import connect, http_proxy, upstream


def statuses(use: dict[str, Any], *fields: str) -> list[int]:
    async def conversation() -> list[int]:
        async with (
            upstream() as up,
            http_proxy(up, filters=[{"use": "local_ratelimit", "fill_interval": "1h", **use}]) as proxy,
            connect(proxy) as client,
        ):
            return [(await client.get("/", *([field] if field else []))).status for field in fields]

    return run(conversation)


def test_requests_over_the_rate_are_429() -> None:
    assert statuses({"max_tokens": 2}, "", "", "") == [200, 200, 429]


def test_each_value_of_a_header_has_its_own_bucket() -> None:
    use = {"max_tokens": 1, "per": "header", "header": "X-Key", "status": 503}
    assert statuses(use, "X-Key: a", "x-key: a", "X-Key: b", "", "") == [200, 503, 200, 200, 503]


def test_each_source_has_its_own_bucket() -> None:
    assert statuses({"max_tokens": 1, "per": "source"}, "", "") == [200, 429]
