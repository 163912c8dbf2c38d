"""Filters of single routes."""

from __future__ import annotations

from typing import Any

import pytest

from clusters import run
from http_peers import connect, http_proxy, upstream
from l4proxy import ConfigError

CORS = [{"use": "cors", "origins": ["*"]}]
LIST = [
    {"use": "local_ratelimit", "max_tokens": 1, "fill_interval": "1h", "name": "list"},
    {"use": "request_id", "respond": True},
]
ROUTES: list[dict[str, Any]] = [
    {"prefix": "/free", "cluster": "up", "without": ["local_ratelimit"]},
    {
        "prefix": "/more",
        "cluster": "up",
        "filters": [
            {"use": "local_ratelimit", "max_tokens": 2, "fill_interval": "1h", "name": "more"},
            {"use": "fault", "abort": 418, "headers": ["x-fault"]},
        ],
    },
    {"cluster": "up"},
]


def test_a_route_has_filters_of_its_own() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            http_proxy(up, filters=LIST, routes=ROUTES) as proxy,
            connect(proxy) as client,
            connect(proxy) as other,
        ):
            targets = ("/", "/", "/free", "/free", "/more", "/more", "/more", "/free")
            replies = [await (client, other)[at % 2].get(target) for at, target in enumerate(targets)]
            assert [reply.status for reply in replies] == [200, 429, 200, 200, 200, 200, 429, 200]
            assert [reply.field("x-request-id") is None for reply in replies] == [
                False,
                True,
                *[False] * 4,
                True,
                False,
            ]
            assert (await client.get("/free", "X-Fault: 1")).status == 200
            assert proxy.value("l4proxy_local_ratelimit_rate_limited_total", name="more") == 1

    run(conversation)


def test_a_filter_of_a_route_runs_behind_the_list() -> None:
    async def conversation() -> None:
        routes = [{"cluster": "up", "filters": [{"use": "fault", "abort": 418}]}]
        async with upstream() as up, http_proxy(up, filters=LIST, routes=routes) as proxy, connect(proxy) as client:
            assert (await client.get()).status == 418
            reply = await client.get()
            assert reply.status == 429
            assert up.seen == []

    run(conversation)


def test_a_route_alone_may_have_filters() -> None:
    async def conversation() -> None:
        routes = [
            {"prefix": "/a", "cluster": "up", "filters": [{"use": "request_id", "respond": True}]},
            {"cluster": "up"},
        ]
        async with upstream() as up, http_proxy(up, routes=routes) as proxy, connect(proxy) as client:
            assert (await client.get("/a")).field("x-request-id")
            assert (await client.get("/b")).field("x-request-id") is None

    run(conversation)


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"without": ["cosr"]}, r"routes\[0\]\.without\[0\]: 'cosr' is not in filters \(did you mean 'cors'\?\)"),
        ({"filters": [*CORS, *CORS]}, r"routes\[0\]\.filters\[1\]: a route has each filter once"),
        ({"filters": CORS, "without": ["cors"]}, r"routes\[0\]\.without: 'cors' is in the route's filters"),
        ({"filters": [{"use": "basic_auth", "file": "/nowhere"}]}, r"routes\[0\]\.filters\[0\]\.file: cannot read"),
    ],
)
def test_what_is_wrong_is_said(route: dict[str, Any], words: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, filters=CORS, routes=[{"cluster": "up", **route}]):
            pass

    with pytest.raises(ConfigError, match=words):
        run(conversation)
