"""Connections to one endpoint, shared by requests: made, kept, waited for and given up."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from clusters import refused, run
from http_peers import Seen, connect, http_proxy, ok, upstream
from l4proxy.connect import Attempt
from l4proxy.plugins.http.pool import EndpointPool, Wait, Waiter


async def slowly(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.05)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def load(requests: int, refused: int = 0, **options: object) -> tuple[list[int], list[int]]:
    """Statuses of so many requests at once, none of which is answered before the others have come or are refused; and
    how many of them each connection to the endpoint has carried."""
    go_on = asyncio.Event()

    async def wait(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def conversation() -> tuple[list[int], list[int]]:
        async with upstream(wait) as up, http_proxy(up, upstream=options) as proxy:
            statuses: list[int] = []

            async def one() -> None:
                async with connect(proxy) as client:
                    statuses.append((await client.get()).status)

            def waiting() -> int:
                return int(proxy.value("l4proxy_http_cluster_requests_pending", cluster="up")) if up.seen else 0

            asking = asyncio.gather(*(one() for _ in range(requests)))
            while len(statuses) != refused or len(up.seen) + waiting() != requests - refused:
                await asyncio.sleep(0)
            go_on.set()
            await asking
            assert waiting() == proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0
            return statuses, up.connections

    return run(conversation)


def test_a_connection_for_each_request_under_way() -> None:
    assert load(10) == ([200] * 10, [1] * 10)


def test_no_more_connections_than_that() -> None:
    statuses, connections = load(10, max_connections=2)
    assert statuses == [200] * 10
    assert (len(connections), sum(connections)) == (2, 10)


def test_no_more_requests_than_that_wait() -> None:
    assert load(10, refused=6, max_connections=1, max_pending=3) == ([503] * 6 + [200] * 4, [4])


def test_no_more_requests_than_that_are_under_way() -> None:
    assert load(10, refused=6, max_requests=4) == ([503] * 6 + [200] * 4, [1] * 4)


@pytest.mark.parametrize(
    ("limits", "repeated"),
    [
        ({}, 3),
        ({"max_retries": 1, "retry_budget": "0%"}, 1),
        ({"max_retries": 0, "retry_budget": "0%"}, 0),
        ({"max_retries": 0, "retry_budget": "50%"}, 5),
        ({"max_retries": 100, "retry_budget": "0%"}, 10),
    ],
)
def test_no_more_requests_than_that_are_repeated_at_a_time(limits: dict[str, object], repeated: int) -> None:
    """So many, or such a share of what is under way: the tries of all cannot become twice as many when all fail."""
    count = 10
    all_there, some_failed = asyncio.Event(), asyncio.Event()

    async def conversation() -> None:
        async def answer(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
            first = len(up.seen) <= count
            if len(up.seen) == count:
                all_there.set()
            await (all_there if first else some_failed).wait()
            status = b"503 Busy" if first else b"200 OK"
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)

        routes = [{"cluster": "up", "retry": {"on": ["5xx"]}}]
        async with upstream(answer) as up, http_proxy(up, routes=routes, upstream=limits) as proxy:
            statuses: list[int] = []

            async def one() -> None:
                async with connect(proxy) as client:
                    statuses.append((await client.get()).status)
                if len(statuses) == count - repeated:
                    some_failed.set()

            if repeated == count:
                some_failed.set()
            await asyncio.gather(*(one() for _ in range(count)))
            assert sorted(statuses) == [200] * repeated + [503] * (count - repeated)
            forbidden = "l4proxy_http_cluster_retries_forbidden_total"
            assert proxy.value(forbidden, cluster="up", limit="budget") == count - repeated
            assert proxy.value("l4proxy_http_cluster_retries_total", cluster="up", reason="5xx") == repeated

    run(conversation)


def test_a_connection_that_has_carried_enough_is_replaced() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, upstream={"requests_per_connection": 2}) as proxy:
            async with connect(proxy) as client:
                for _ in range(5):
                    assert (await client.get()).status == 200
            assert up.connections == [2, 2, 1]

    run(conversation)


def test_the_connection_that_was_used_last_is_used_next() -> None:
    """So that those that are too many grow old."""

    async def conversation() -> None:
        async with upstream(slowly) as up, http_proxy(up) as proxy:

            async def one() -> None:
                async with connect(proxy) as client:
                    await client.get()

            await asyncio.gather(*(one() for _ in range(3)))
            before = list(up.connections)
            for _ in range(5):
                await one()
            assert sorted(now - then for now, then in zip(up.connections, before, strict=True))[:-1] == [0] * (
                len(before) - 1
            )

    run(conversation)


def test_connections_that_nobody_uses_are_closed() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, upstream={"idle_timeout": "200ms"}) as proxy:
            async with connect(proxy) as client:
                await client.get()
                while proxy.value("l4proxy_cluster_connections_active", cluster="up"):
                    await asyncio.sleep(0.01)
                await client.get()
            assert up.connections == [1, 1]

    run(conversation)


def test_a_client_that_goes_away_while_it_waits_leaves_its_place() -> None:
    go_on = asyncio.Event()

    async def wait(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def conversation() -> None:
        async with (
            upstream(wait, ok()) as up,
            http_proxy(up, upstream={"max_connections": 1}) as proxy,
            connect(proxy) as first,
        ):
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not up.seen:
                await asyncio.sleep(0)
            async with connect(proxy) as second:
                second.send(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
                while not proxy.value("l4proxy_http_cluster_requests_pending", cluster="up"):
                    await asyncio.sleep(0)
                sock = second.writer.get_extra_info("socket")  # an end alone would not mean that it does not listen
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                second.writer.transport.abort()
            while proxy.value("l4proxy_http_cluster_requests_pending", cluster="up"):
                await asyncio.sleep(0)
            go_on.set()
            assert (await first.reply()).status == 200
            assert (await first.get("/next")).status == 200
            assert [seen.line.split()[1] for seen in up.seen] == ["/", "/next"]

    run(conversation)


@pytest.mark.parametrize("requests", [1, 20])
def test_an_endpoint_that_refuses_fails_all_who_wait_for_it(requests: int) -> None:
    async def conversation() -> None:
        async with http_proxy(refused()) as proxy:

            async def one() -> tuple[int, bytes]:
                async with connect(proxy) as client:
                    reply = await client.get()
                    return reply.status, reply.body.split()[-1]

            told = await asyncio.gather(*(one() for _ in range(requests)))
            assert told == [(503, b"connect_refused")] * requests
            failures = proxy.value("l4proxy_http_cluster_failures_total", cluster="up", reason="connect_refused")
            assert failures == requests

    run(conversation)


def test_many_who_wait_get_their_connections_without_a_recursion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are made in another order than they were begun in, and at once: as on a busy loopback."""
    requests = 400
    begun: list[Attempt] = []
    start = Attempt.start
    monkeypatch.setattr(Attempt, "start", lambda attempt: begun.append(attempt))

    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy:

            async def one() -> int:
                async with connect(proxy) as client:
                    return (await client.get()).status

            asking = asyncio.gather(*(one() for _ in range(requests)))
            while len(begun) != requests:
                await asyncio.sleep(0)
            monkeypatch.setattr(Attempt, "start", start)
            for attempt in reversed(begun):
                if not attempt.done:
                    attempt.start()
            assert await asking == [200] * requests

    run(conversation)


def test_a_connection_of_its_own_for_each_when_the_shared_one_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that had hoped to share a connection need one each, all made in one turn."""
    requests = 400
    asked: list[Waiter] = []
    acquire = EndpointPool.acquire

    def at_first_shared(self: EndpointPool, waiter: Waiter, *, fresh: bool = False) -> Wait | None:
        asked.append(waiter)
        self.streams = requests
        return acquire(self, waiter, fresh=fresh)

    monkeypatch.setattr(EndpointPool, "acquire", at_first_shared)
    begun: list[Attempt] = []
    start = Attempt.start
    monkeypatch.setattr(Attempt, "start", lambda attempt: begun.append(attempt))

    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy:

            async def one() -> int:
                async with connect(proxy) as client:
                    return (await client.get()).status

            asking = asyncio.gather(*(one() for _ in range(requests)))
            while len(asked) != requests:
                await asyncio.sleep(0)
            monkeypatch.setattr(Attempt, "start", start)
            begun.pop().start()
            assert await asking == [200] * requests
            assert not begun

    run(conversation)
