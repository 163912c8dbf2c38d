"""What becomes of a request is told to outlier detection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clusters import run
from http_peers import Answer, Seen, connect, http_proxy, ok, send, upstream
from l4proxy.endpoint import Endpoint


async def silence(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("answer", "options", "failures"),
    [
        (ok(), {}, 0),
        (ok(status="404 Not Found"), {}, 0),
        (ok(status="500 Broken"), {}, 1),
        (ok(status="503 Busy"), {}, 1),
        (send(b"", close=True), {}, 1),
        (send(b"nonsense\r\n\r\n"), {}, 1),
        (silence, {"routes": [{"cluster": "up", "timeout": "50ms"}]}, 1),
        (silence, {"routes": [{"cluster": "up", "retry": {"on": ["reset"], "per_try_timeout": "50ms"}}]}, 2),
    ],
)
def test_what_counts_as_a_failure(answer: Answer, options: dict[str, Any], failures: int) -> None:
    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up, **options) as proxy, connect(proxy) as client:
            await client.get()
            (endpoint,) = endpoints(proxy)
            assert endpoint.failures == failures

    run(conversation)


def endpoints(proxy: Any) -> list[Endpoint]:
    (cluster,) = proxy.server.clusters
    return list(cluster.endpoints.current.values())


def test_failures_in_a_row_eject_and_a_success_between_them_does_not() -> None:
    async def conversation() -> None:
        broken = ok(status="500 Broken")
        config = {"cluster": {"outlier_detection": {"consecutive_failures": 2}}}
        async with (
            upstream(broken, ok(), broken, broken, ok()) as up,
            http_proxy(up, config=config) as proxy,
            connect(proxy) as client,
        ):
            (endpoint,) = endpoints(proxy)
            for ejected in (False, False, False, True, True):
                await client.get()
                assert endpoint.ejected is ejected
            assert len(up.seen) == 5, "there is no other one"

    run(conversation)
