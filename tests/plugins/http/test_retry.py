"""When a request is tried again, and when not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clusters import refused, run, until
from http_peers import Answer, Reply, Seen, connect, http_proxy, ok, send, upstream
from l4proxy.plugins.http.config import Retry
from l4proxy.plugins.http.retry import RetryPolicy
from proxying import Proxy

reset = send(b"", close=True)


def status(code: int, *lines: str) -> Answer:
    return ok(b"", *lines, status=f"{code} X")


def ask(
    retry: dict[str, Any] | None, *answers: Answer, method: str = "GET", lines: tuple[str, ...] = (), body: bytes = b"",
    dead: int = 0, **options: Any,
) -> tuple[Reply, list[Seen], dict[str, float]]:  # fmt: skip
    """The reply, what the endpoint has seen of it, and what is counted by reason."""

    async def conversation() -> tuple[Reply, list[Seen], dict[str, float]]:
        route = {"cluster": "up", **({"retry": {"backoff": 0, "attempts": 2, **retry}} if retry is not None else {})}
        async with (
            upstream(*answers) as up,
            http_proxy(*(refused() for _ in range(dead)), up, routes=[route], **options) as proxy,
            connect(proxy) as client,
        ):
            reply = await client.get("/", *lines, method=method, body=body)
            return reply, up.seen, counted(proxy, "retries")

    return run(conversation)


def counted(proxy: Proxy, what: str) -> dict[str, float]:
    family = proxy.server.stats.snapshot().get(f"l4proxy_http_cluster_{what}_total", {"samples": []})
    return {sample["labels"][-1]: sample["value"] for sample in family["samples"]}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("retry", "first", "why"),
    [
        ({"on": ["5xx"]}, status(500), "5xx"),
        ({"on": ["5xx"]}, reset, "reset"),
        ({"on": ["gateway-error"]}, status(502), "gateway-error"),
        ({"on": ["gateway-error"]}, status(503), "gateway-error"),
        ({"on": ["gateway-error"]}, status(504), "gateway-error"),
        ({"on": ["reset"]}, reset, "reset"),
        ({"on": ["reset"]}, send(b"nonsense\r\n\r\n"), "reset"),
        ({"on": ["retriable-status-codes"], "status": [409, 429]}, status(429), "retriable-status-codes"),
        (
            {"on": ["retriable-headers"], "response_headers": ["x-again"]},
            status(200, "X-Again: 1"),
            "retriable-headers",
        ),
        ({}, reset, "reset"),
    ],
)
def test_a_try_that_failed_is_followed_by_another(retry: dict[str, Any], first: Answer, why: str) -> None:
    reply, seen, retries = ask(retry, first, ok(b"second"))
    assert (reply.body, len(seen), retries) == (b"second", 2, {why: 1})


@pytest.mark.parametrize(
    ("retry", "first", "code"),
    [
        ({"on": ["gateway-error"]}, status(500), 500),
        ({"on": ["gateway-error"]}, reset, 502),
        ({"on": ["5xx"]}, status(404), 404),
        ({"on": ["reset"]}, status(503), 503),
        ({"on": ["retriable-status-codes"], "status": [409]}, status(429), 429),
        ({"on": ["retriable-headers"], "response_headers": ["x-again"]}, status(200), 200),
        ({"on": ["5xx"], "headers": ["x-idempotent"]}, status(500), 500),
        ({"on": ["5xx"], "methods": ["HEAD"]}, status(500), 500),
        (None, status(503), 503),
        (None, reset, 502),
    ],
)
def test_what_the_policy_does_not_name_is_not_tried_again(
    retry: dict[str, Any] | None, first: Answer, code: int
) -> None:
    reply, seen, retries = ask(retry, first, ok(b"second"))
    assert (reply.status, len(seen), retries) == (code, 1, {})


def test_only_requests_with_these_fields() -> None:
    retry = {"on": ["5xx"], "headers": [{"name": "x-idempotent", "exact": "yes"}]}
    assert ask(retry, status(500), ok(), lines=("X-Idempotent: yes",))[0].status == 200
    assert ask(retry, status(500), ok(), lines=("X-Idempotent: no",))[0].status == 500


@pytest.mark.parametrize(
    ("method", "methods", "first", "code"),
    [
        ("POST", None, status(503), 503),
        ("POST", None, reset, 502),
        ("POST", [], status(503), 200),
        ("POST", ["POST"], reset, 200),
        ("PUT", None, status(503), 200),
        ("DELETE", None, reset, 200),
        ("PATCH", None, status(503), 503),
    ],
)
def test_methods_that_may_be_repeated(method: str, methods: list[str] | None, first: Answer, code: int) -> None:
    retry: dict[str, Any] = {"on": ["5xx"]} | ({} if methods is None else {"methods": methods})
    reply, seen, _ = ask(retry, first, ok(), method=method, body=b"x")
    assert (reply.status, [one.body for one in seen]) == (code, [b"x"] * (2 if code == 200 else 1))


def test_whoever_was_not_reached_cannot_have_acted() -> None:
    assert ask({"attempts": 3}, ok(), method="POST", body=b"x", dead=2)[0].status == 200
    assert ask(None, ok(), method="POST", body=b"x", dead=0)[0].status == 200


def test_as_often_as_the_policy_says() -> None:
    reply, seen, retries = ask({"on": ["5xx"], "attempts": 3}, status(500), ok())
    assert (reply.status, len(seen)) == (200, 2)
    reply, seen, retries = ask({"on": ["5xx"], "attempts": 3}, *[status(500)] * 4, ok())
    assert (reply.status, len(seen), retries) == (500, 4, {"5xx": 3})


def test_a_body_that_is_longer_than_the_buffer_is_not_repeated() -> None:
    retry = {"on": ["5xx"], "buffer": 10}
    assert ask(retry, status(500), ok(), method="PUT", body=b"x" * 10)[0].status == 200
    reply, seen, _ = ask(retry, status(500), ok(), method="PUT", body=b"x" * 11)
    assert (reply.status, len(seen)) == (500, 1)


def test_a_response_that_has_begun_is_not_repeated() -> None:
    async def conversation() -> None:
        route = {"cluster": "up", "retry": {"on": ["5xx", "reset"]}}
        cut = send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close=True)
        async with upstream(cut, ok()) as up, http_proxy(up, routes=[route]) as proxy, connect(proxy) as client:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.get()
            assert len(up.seen) == 1

    run(conversation)


@pytest.mark.parametrize(
    ("upstream_options", "allowed"),
    [
        ({"max_retries": 0, "retry_budget": 0}, 0),
        ({"max_retries": 2, "retry_budget": 0}, 2),
        ({"max_retries": 0, "retry_budget": 50}, 3),
        ({"max_retries": 0, "retry_budget": 100}, 6),
    ],
)
def test_the_budget_is_a_share_of_the_requests_under_way(upstream_options: dict[str, Any], allowed: int) -> None:
    """Six requests at a time fail; only so many may be tried again."""

    async def conversation() -> None:
        begun: list[Seen] = []
        may = asyncio.Event()
        again = asyncio.Event()

        async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun.append(seen)
            if len(begun) <= 6:
                await may.wait()
                await status(503)(seen, reader, writer)
            else:
                await again.wait()
                await ok()(seen, reader, writer)

        route = {"cluster": "up", "retry": {"on": ["5xx"], "backoff": 0}}
        async with upstream(answer) as up, http_proxy(up, routes=[route], upstream=upstream_options) as proxy:

            async def one() -> int:
                async with connect(proxy) as client:
                    return (await client.get()).status

            replies = [asyncio.create_task(one()) for _ in range(6)]
            await until(lambda: len(begun) == 6)
            may.set()
            await until(lambda: len(begun) == 6 + allowed)
            if allowed < 6:
                await until(lambda: counted(proxy, "retries_forbidden").get("budget") == 6 - allowed)
            else:
                assert counted(proxy, "retries_forbidden") == {}
            again.set()
            assert sorted(await asyncio.gather(*replies)) == [200] * allowed + [503] * (6 - allowed)

    run(conversation)


def test_pauses_grow_and_are_random() -> None:
    policy = RetryPolicy(Retry())
    for attempt, longest in ((1, 0.025), (2, 0.075), (3, 0.175), (4, 0.25), (20, 0.25)):
        pauses = [policy.pause(attempt) for _ in range(500)]
        assert 0 <= min(pauses) < longest / 10
        assert longest * 0.9 < max(pauses) <= longest
