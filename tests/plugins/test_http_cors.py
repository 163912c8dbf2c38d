from __future__ import annotations

from typing import Any

import pytest

from clusters import run
from http_peers import Reply, connect, http_proxy, ok, upstream
from l4proxy import ConfigError

USE: dict[str, Any] = {
    "use": "cors", "origins": ["https://app.test", "https://*.app.test"], "methods": ["GET", "PUT"],
    "headers": ["x-a"], "expose": ["x-b"], "credentials": True,
}  # fmt: skip


def ask(method: str, *lines: str, answer: str = "X-B: 1", **changes: Any) -> tuple[Reply, int]:
    """The reply, and how many requests have reached the upstream."""

    async def conversation() -> tuple[Reply, int]:
        async with (
            upstream(ok(b"ok", answer)) as up,
            http_proxy(up, filters=[{**USE, **changes}]) as proxy,
            connect(proxy) as client,
        ):
            return await client.get("/", *lines, method=method), len(up.seen)

    return run(conversation)


def test_a_preflight_is_answered_here() -> None:
    reply, seen = ask("OPTIONS", "Origin: https://app.test", "Access-Control-Request-Method: PUT")
    assert (reply.status, seen) == (204, 0)
    assert reply.field("access-control-allow-origin") == "https://app.test"
    assert reply.field("access-control-allow-methods") == "GET, PUT"
    assert reply.field("access-control-allow-headers") == "x-a"
    assert reply.field("access-control-allow-credentials") == "true"
    assert reply.field("access-control-max-age") == "600"
    assert reply.field("vary") == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.test", "http://app.test", "https://app.test.evil.test", "null"])
def test_others_are_told_nothing(origin: str) -> None:
    for method, lines in (("OPTIONS", ["Access-Control-Request-Method: PUT"]), ("GET", [])):
        reply, _ = ask(method, f"Origin: {origin}", *lines)
        assert reply.field("access-control-allow-origin") is None
        assert reply.field("access-control-allow-credentials") is None
        assert reply.field("vary") == "Origin"


def test_responses_are_marked_once() -> None:
    reply, seen = ask("GET", "Origin: https://x.app.test", answer="Access-Control-Allow-Origin: *")
    assert seen == 1
    assert reply.field("access-control-allow-origin") == "https://x.app.test"
    assert reply.field("access-control-expose-headers") == "x-b"


def test_all_origins() -> None:
    reply, _ = ask("GET", "Origin: https://any.test", origins=["*"], credentials=False)
    assert (reply.field("access-control-allow-origin"), reply.field("vary")) == ("*", None)


def test_an_options_request_that_is_no_preflight_goes_on() -> None:
    assert ask("OPTIONS", "Origin: https://app.test")[1] == 1


def test_credentials_are_not_for_everybody() -> None:
    with pytest.raises(ConfigError, match="in the name of its visitor"):
        ask("GET", origins=["*"])
