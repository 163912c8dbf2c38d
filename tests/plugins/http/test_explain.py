from __future__ import annotations

import json
from typing import Any

from clusters import refused, run
from http_peers import Answer, connect, http_proxy, ok, send, upstream

ASK = "x-l4proxy-explain: 1"


def explain(target: str, *lines: str, answers: tuple[Answer, ...] = (), dead: int = 0, **options: Any) -> Any:
    """What is told of the last of as many requests as there are answers."""

    async def conversation() -> Any:
        options.setdefault("explain", ["127.0.0.0/8"])
        async with (
            upstream(*answers) as up,
            http_proxy(up, *(refused() for _ in range(dead)), **options) as proxy,
            connect(proxy) as client,
        ):
            reply = await client.get(target, ASK, *lines)
            text = reply.field("x-l4proxy-explain")
            return None if text is None else json.loads(text)

    return run(conversation)


ROUTES = [
    {"name": "posts", "prefix": "/", "methods": ["POST"], "cluster": "up"},
    {"name": "static", "path": "/favicon.ico", "respond": {"text": "x"}},
    {"name": "beta", "prefix": "/users", "headers": [{"name": "x-beta", "exact": "1"}], "cluster": "up"},
    {"pattern": "/users/{id}", "rewrite_path": "/v2/{id}", "clusters": [{"cluster": "up", "weight": 3}]},
]


def test_which_route_and_why_none_before_it() -> None:
    told = explain("/users/7?x=1", routes=ROUTES, filters=["request_id", "buffer"])
    assert (told["virtual_host"], told["route"], told["path"]) == ("*", "/users/{id}", "/users/{id}")
    assert told["parameters"] == {"id": "7"}
    assert told["not_taken"] == [
        "posts: method POST",
        "static: path /favicon.ico",
        "beta: header x-beta exact '1'",
    ]
    assert (told["target"], told["authority"], told["filters"]) == ("/v2/7?x=1", "a.test", ["request_id", "buffer"])
    assert explain("/users/7", "X-Beta: 1", routes=ROUTES)["conditions"] == ["header x-beta exact '1'"]


def test_which_endpoint_and_how_it_was_chosen() -> None:
    told = explain("/", routes=[{"clusters": [{"cluster": "up"}], "hash_policy": [{"header": "x-user"}]}])
    assert (told["cluster"], told["cluster_by"], told["hash"]) == ("up", "weight", ["header x-user"])
    assert (told["endpoints"], told["endpoints_usable"], told["attempts"], told["reused"]) == (1, 1, 1, False)
    assert (told["address"], told["protocol"], told["failed"]) == ("127.0.0.1", "http1", [])


def test_how_long_each_phase_took() -> None:
    ms = explain("/")["ms"]
    assert list(ms) == ["request", "filters", "connection", "endpoint", "response_filters", "total"]
    assert all(one is not None and one >= 0 for one in ms.values())
    phases = sum(ms[name] for name in ("filters", "connection", "endpoint", "response_filters"))
    assert abs(phases - ms["total"]) < 0.05


def test_tries_that_failed() -> None:
    busy = send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    retry = {"on": ["gateway-error"], "attempts": 2, "backoff": 0}
    told = explain("/", answers=(busy, busy, ok()), routes=[{"cluster": "up", "retry": retry}])
    assert told["attempts"] == 3
    assert [one["why"] for one in told["failed"]] == ["gateway-error"] * 2
    assert all(one["endpoint"].startswith("127.0.0.1:") and one["ms"] > 0 for one in told["failed"])


def test_answers_of_the_proxys_own_are_explained_too() -> None:
    told = explain("/x", routes=ROUTES[1:2])
    assert (told["cluster"], told["details"], told["flags"], told.get("route")) == (
        None,
        "route_not_found",
        ["NR"],
        None,
    )
    told = explain("/favicon.ico", routes=ROUTES)
    assert (told["route"], told["cluster"], told["details"]) == ("static", None, "direct_response")
    assert told["ms"]["endpoint"] is None


def test_what_clients_send_cannot_make_it_long() -> None:
    told = explain("/users/" + "x" * 5000, routes=ROUTES)
    assert len(told["parameters"]["id"]) == len(told["target"]) == 200


def test_nobody_else_is_told() -> None:
    assert explain("/", explain=["192.0.2.0/24"]) is None
    assert explain("/", explain=[]) is None
