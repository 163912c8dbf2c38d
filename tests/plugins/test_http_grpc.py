"""gRPC through a real proxy, with grpcio on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from clusters import run, until
from grpc_peers import SERVICE, Calls, grpc_service, in_thread
from http2_peers import H2Connected, Received, h2_connect, h2_upstream
from http_peers import connect, http_proxy
from l4proxy.endpoint import Endpoint
from proxying import HOST, Proxy, server

LABELS = {"service": SERVICE, "method": "Unary"}


@asynccontextmanager
async def grpc_proxy(port: int, *filters: Any, **options: Any) -> AsyncIterator[Proxy]:
    http2 = {"protocol": "http2"}
    async with http_proxy(f"{HOST}:{port}", upstream=http2, filters=filters or [{"use": "grpc"}], **options) as proxy:
        yield proxy


def endpoint_of(proxy: Proxy) -> Endpoint:
    (cluster,) = proxy.server.clusters
    (endpoint,) = cluster.endpoints.current.values()
    return endpoint


def test_all_kinds_of_calls_pass() -> None:
    def calls(port: int) -> None:
        with Calls(port) as client:
            response, call = client.unary("Unary", metadata=[("x-meta", "1"), ("x-data-bin", b"\0\xff")])
            assert response == b"hello"
            assert call.trailing_metadata() == (("x-trailer", "yes"),)
            large = bytes(3_000_000)
            assert client.unary("Unary", large)[0] == large
            channel = client.channel
            assert list(channel.unary_stream(f"/{SERVICE}/Repeat")(b"100", timeout=10)) == [b"100"] * 100
            assert channel.stream_unary(f"/{SERVICE}/Collect")(iter([b"a", b"b"] * 50), timeout=10).count(b",") == 99
            chat = channel.stream_stream(f"/{SERVICE}/Chat")(iter([b"a"] * 50), timeout=10)
            assert list(chat) == [b"A"] * 50
            assert client.failure("Fail") == ("FAILED_PRECONDITION", "not today: 100%")
            assert client.failure("FailLate") == ("DATA_LOSS", "lost")

    async def conversation() -> None:
        async with grpc_service() as (port, service), grpc_proxy(port) as proxy:
            await in_thread(lambda: calls(proxy.port))
            assert service.seen[0][1]["x-meta"] == "1"
            assert service.seen[0][1]["x-data-bin"] == b"\0\xff"
            assert proxy.value("l4proxy_grpc_calls_total", **LABELS, status="OK") == 2
            for method, status in (("Fail", "FAILED_PRECONDITION"), ("FailLate", "DATA_LOSS"), ("Chat", "OK")):
                labels = {"service": SERVICE, "method": method, "status": status}
                assert proxy.value("l4proxy_grpc_calls_total", **labels) == 1
            sizes = proxy.value("l4proxy_grpc_response_message_bytes", service=SERVICE, method="Repeat")
            assert (sum(sizes["counts"]), sizes["sum"]) == (100, 300)
            sizes = proxy.value("l4proxy_grpc_request_message_bytes", service=SERVICE, method="Collect")
            assert sum(sizes["counts"]) == 100
            assert proxy.value("l4proxy_grpc_call_seconds", **LABELS)["sum"] > 0

    run(conversation)


def test_calls_need_no_configuration() -> None:
    """Nothing says that the endpoint speaks HTTP/2."""

    async def conversation() -> None:
        async with grpc_service() as (port, service), http_proxy(f"{HOST}:{port}") as proxy:
            with Calls(proxy.port) as client:
                assert (await in_thread(lambda: client.unary("Unary")))[0] == b"hello"
                assert await in_thread(lambda: client.failure("Fail")) == ("FAILED_PRECONDITION", "not today: 100%")
            assert len(service.seen) == 2

    run(conversation)


def test_other_requests_to_the_same_endpoint_go_over_http_1() -> None:
    first: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        first.append(await reader.readexactly(4))

    async def conversation() -> None:
        async with server(hear) as port, http_proxy(f"{HOST}:{port}") as proxy, h2_connect(proxy) as client:
            for kind in ("application/grpc", "application/grpc+proto", "application/grpc-web", "text/plain"):
                await client.get("/a.B/C", ("content-type", kind), method="POST", body=b"\0\0\0\0\0")

    run(conversation)
    assert first == [b"PRI ", b"PRI ", b"POST", b"POST"]


def test_an_endpoint_that_speaks_http_2_alone_is_named_so(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def conversation() -> None:
        config = {"access_log": [{"use": "file", "path": str(log), "format": "%RESPONSE_CODE_DETAILS% %PROBLEM%"}]}
        async with grpc_service() as (port, _), http_proxy(f"{HOST}:{port}", config=config) as proxy:
            async with connect(proxy) as client:
                reply = await client.get()
            assert (reply.status, b"http2_answer" in reply.body) == (502, True)
            await until(lambda: log.read_text().endswith("\n"))
            assert log.read_text().startswith(f"http2_answer endpoint {HOST}:{port}: the answer is HTTP/2")
            assert 'upstream = { protocol = "http2" }' in log.read_text()

    run(conversation)


def test_a_deadline_is_kept_also_where_the_service_does_not() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _), grpc_proxy(port) as proxy, h2_connect(proxy) as client:
            head = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "200m")]
            reply = await client.get(f"/{SERVICE}/Slow", *head, method="POST", body=b"\0\0\0\0\0")
            # Whoever is first, we or the service, which is told of it: the client has its answer.
            status = dict(reply.headers).get("grpc-status") or dict(reply.trailers).get("grpc-status")
            assert status in ("4", "1", None)
            assert status or reply.reset is not None
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0

    run(conversation)


@pytest.mark.parametrize(("path", "kind"), [("/a.B/Unary", "application/grpc"), ("/a.B/Web", "application/grpc-web")])
def test_a_deadline_needs_no_filter_and_ends_what_the_endpoint_has(path: str, kind: str) -> None:
    given_up: list[bool] = []

    async def never(connection: H2Connected, request: Received) -> None:
        await connection.until(lambda: request.reset is not None)
        given_up.append(True)

    async def conversation() -> None:
        options = {"upstream": {"protocol": "http2"}}
        async with h2_upstream(never) as up, http_proxy(f":{up.port}", **options) as proxy, h2_connect(proxy) as client:
            head = [("content-type", kind), ("grpc-timeout", "100m")]
            reply = await client.get(path, *head, method="POST", body=b"\0\0\0\0\0")
            assert (reply.field("grpc-status") == "4") == (kind == "application/grpc")
            assert (reply.status == 504) == (kind != "application/grpc")
            await until(lambda: given_up)
            assert proxy.value("l4proxy_http_timeouts_total", http="http", limit="deadline") == 1

    run(conversation)


def test_deadlines_that_are_none_and_those_of_other_requests_are_not_heard() -> None:
    one_is_over = asyncio.Event()

    async def answer(connection: H2Connected, request: Received) -> None:
        if request.field("grpc-timeout") == "200m" and request.field("content-type") == "application/grpc":
            await connection.until(lambda: request.reset is not None)
            one_is_over.set()
        else:
            await one_is_over.wait()
            connection.respond(request, end=True)

    async def conversation() -> None:
        options = {"upstream": {"protocol": "http2"}}
        async with (
            h2_upstream(answer) as up,
            http_proxy(f":{up.port}", **options) as proxy,
            h2_connect(proxy) as client,
        ):
            calls = (("text/plain", "1m"), ("application/grpc", "1x"), ("application/grpc", "0m"))
            replies = [
                client.get("/a.B/C", ("content-type", kind), ("grpc-timeout", value), method="POST")
                for kind, value in (*calls, ("application/grpc", "200m"))
            ]
            *unlimited, limited = await asyncio.gather(*replies)
            assert [(reply.status, reply.field("grpc-status")) for reply in unlimited] == [(200, None)] * 3
            assert limited.field("grpc-status") == "4"

    run(conversation)


def test_the_route_limits_deadlines() -> None:
    async def never(connection: H2Connected, request: Received) -> None:
        await connection.until(lambda: request.reset is not None)

    async def conversation() -> None:
        route = {"prefix": "/", "cluster": "up", "max_duration": "0.1s"}
        options = {"cluster": None, "routes": [route], "upstream": {"protocol": "http2"}}
        async with h2_upstream(never) as up, http_proxy(f":{up.port}", **options) as proxy, h2_connect(proxy) as client:
            head = [("content-type", "application/grpc"), ("grpc-timeout", "10H")]
            reply = await client.get("/a.B/C", *head, method="POST", body=b"\0\0\0\0\0")
            assert reply.field("grpc-status") == "4"
            assert proxy.value("l4proxy_http_timeouts_total", http="http", limit="max_duration") == 1

    run(conversation)


def test_no_call_has_longer_than_the_proxy_allows() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, service), grpc_proxy(port, {"use": "grpc", "max_timeout": "0.3s"}) as proxy:
            with Calls(proxy.port) as client:
                status, _ = await in_thread(lambda: client.failure("Slow"))
                assert status == "DEADLINE_EXCEEDED"
                timeout = service.seen[0][1].get("grpc-timeout")
                assert timeout is None  # grpcio keeps it to itself
                assert (await in_thread(lambda: client.unary("Unary")))[0] == b"hello"

    run(conversation)


def begun(port: int) -> tuple[list[bytes], str, str]:
    """The messages of a response that begins and does not end, the status, and its message."""
    got: list[bytes] = []
    with Calls(port) as client:
        call = client.channel.stream_stream(f"/{SERVICE}/Begin")(iter([b"a"]), timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            got.extend(call)
    return got, caught.value.code().name, caught.value.details()


@pytest.mark.parametrize("filters", [[], [{"use": "grpc"}]])
def test_a_response_that_has_begun_ends_with_a_status_when_its_time_is_over(filters: list[Any]) -> None:
    async def conversation() -> None:
        routes = [{"prefix": "/", "cluster": "up", "max_duration": "0.3s"}]
        options: dict[str, Any] = {"upstream": {"protocol": "http2"}, "filters": filters, "routes": routes}
        async with grpc_service() as (port, _), http_proxy(f"{HOST}:{port}", **options) as proxy:
            assert await in_thread(lambda: begun(proxy.port)) == ([b"a"], "DEADLINE_EXCEEDED", "max_duration")
            assert proxy.value("l4proxy_http_timeouts_total", http="http", limit="max_duration") == 1
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0
            assert endpoint_of(proxy).failures == 0, "the status is the proxy's own"
            if filters:
                labels = {"service": SERVICE, "method": "Begin", "status": "DEADLINE_EXCEEDED"}
                assert proxy.value("l4proxy_grpc_calls_total", **labels) == 1

    run(conversation)


@pytest.mark.parametrize(
    ("sent", "kind", "ends"),
    [
        (b"", "application/grpc", True),
        (b"\0\0\0\0\1x", "application/grpc+proto", True),
        (b"\0\0\0\0\1x\0", "application/grpc", False),
        (b"\0\0\0\0\2x", "application/grpc", False),
        (b"\0\0\0\0\1x", "text/plain", False),
    ],
)
def test_only_between_messages_is_there_room_for_a_status(sent: bytes, kind: str, ends: bool) -> None:
    async def begin(connection: H2Connected, request: Received) -> None:
        connection.respond(request, [("content-type", kind)])
        for at in range(len(sent)):
            await connection.send_body(request.stream_id, sent[at : at + 1], end=False)
        await connection.until(lambda: request.reset is not None)

    async def conversation() -> None:
        options = {"upstream": {"protocol": "http2"}, "filters": [{"use": "grpc", "max_timeout": "0.3s"}]}
        async with h2_upstream(begin) as up, http_proxy(f":{up.port}", **options) as proxy, h2_connect(proxy) as client:
            stream = client.open("/a.B/C", ("content-type", "application/grpc"), method="POST", end=False)
            reply = await client.reply(stream)
            assert reply.body == sent
            assert dict(reply.trailers).get("grpc-status") == ("4" if ends else None)
            await until(lambda: reply.reset is not None and up.seen[0].reset is not None)
            assert reply.reset == (0 if ends else 2)  # NO_ERROR: what is left of the request nobody wants
            labels = {"service": "a.B", "method": "C"}
            assert proxy.value("l4proxy_grpc_deadlines_total", **labels) == 1
            assert proxy.value("l4proxy_grpc_calls_total", **labels, status="DEADLINE_EXCEEDED") == 1

    run(conversation)


def test_errors_of_the_proxy_are_grpc_statuses() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _):
            pass  # nobody is there any more
        routes = [
            {"prefix": "/no", "respond": {"status": 403, "text": "no"}},
            {"prefix": f"/{SERVICE}", "cluster": "up"},
        ]
        async with grpc_proxy(port, routes=routes) as proxy:
            with Calls(proxy.port) as client:
                assert await in_thread(lambda: client.failure("Unary")) == ("UNAVAILABLE", "connect_refused")
                assert await in_thread(lambda: client.failure("/no/x")) == ("PERMISSION_DENIED", "direct_response")
                assert await in_thread(lambda: client.failure("/a.B/C")) == ("UNIMPLEMENTED", "route_not_found")
            labels = {"service": "other", "method": "other", "status": "UNAVAILABLE"}
            assert proxy.value("l4proxy_grpc_calls_total", **labels) == 1

    run(conversation)


def test_retries_by_status() -> None:
    async def conversation() -> None:
        retry = {"on": ["unavailable"], "attempts": 3, "backoff": "1ms"}
        routes = [{"prefix": "/", "cluster": "up", "retry": retry}]
        async with grpc_service() as (port, service), grpc_proxy(port, routes=routes) as proxy:
            with Calls(proxy.port) as client:
                service.fails = 3
                assert (await in_thread(lambda: client.unary("Flaky")))[0] == b"hello"
                assert len(service.seen) == 4
                service.fails = 4
                assert await in_thread(lambda: client.failure("Flaky")) == ("UNAVAILABLE", "try again")
            assert proxy.value("l4proxy_http_cluster_retries_total", cluster="up", reason="unavailable") == 6

    run(conversation)


@pytest.mark.parametrize("status", ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"])
def test_retries_by_each_status_are_told_to_the_service(status: str) -> None:
    async def conversation() -> None:
        routes = [{"prefix": "/", "cluster": "up", "retry": {"on": [status], "attempts": 2, "backoff": "1ms"}}]
        async with grpc_service() as (port, service), grpc_proxy(port, routes=routes) as proxy:
            service.status = grpc.StatusCode[status.upper().replace("-", "_")]
            service.fails = 2
            with Calls(proxy.port) as client:
                assert (await in_thread(lambda: client.unary("Flaky")))[0] == b"hello"
            tries = [metadata.get("grpc-previous-rpc-attempts") for _, metadata in service.seen]
            assert tries == [None, "1", "2"]
            service.fails, service.status = 1, grpc.StatusCode.ABORTED
            with Calls(proxy.port) as client:
                assert (await in_thread(lambda: client.failure("Flaky")))[0] == "ABORTED"
                # The first message is with the client: another try could not take it back.
                assert await in_thread(lambda: client.failure("FailLate")) == ("DATA_LOSS", "lost")

    run(conversation)


@pytest.mark.parametrize(("pushback", "tries"), [("0", 2), ("20", 2), ("-1", 1), ("soon", 1), ("60000", 1)])
def test_a_service_may_put_off_or_forbid_the_next_try(pushback: str, tries: int) -> None:
    async def conversation() -> None:
        routes = [
            {"prefix": "/", "cluster": "up", "retry": {"on": ["unavailable"], "backoff": "5s", "backoff_max": "5s"}}
        ]
        async with grpc_service() as (port, service), grpc_proxy(port, routes=routes) as proxy:
            service.fails, service.pushback = 1, pushback
            with Calls(proxy.port) as client:
                status, _ = await in_thread(lambda: client.failure("Flaky"))
            assert (status, len(service.seen)) == ("OK" if tries == 2 else "UNAVAILABLE", tries)

    run(conversation)


def test_what_is_no_count_of_tries_is_not_counted_on() -> None:
    async def conversation() -> None:
        async def refuse_once(connection: H2Connected, request: Received) -> None:
            await connection.whole(request)
            said = [("content-type", "application/grpc"), ("grpc-status", "14" if len(up.seen) % 2 else "0")]
            connection.respond(request, said, end=True)

        routes = [{"prefix": "/", "cluster": "up", "retry": {"on": ["unavailable"], "backoff": "1ms"}}]
        options: dict[str, Any] = {"upstream": {"protocol": "http2"}, "routes": routes}
        async with h2_upstream(refuse_once) as up, http_proxy(f":{up.port}", **options) as proxy:
            async with h2_connect(proxy) as client:
                for said in ("3", "-1", "many", "1" * 100):
                    head = [("content-type", "application/grpc"), ("grpc-previous-rpc-attempts", said)]
                    reply = await client.get("/a.B/C", *head, method="POST", body=b"\0\0\0\0\0")
                    assert reply.field("grpc-status") == "0"
            assert [seen.field("grpc-previous-rpc-attempts") for seen in up.seen[1::2]] == ["4", "1", "1", "1"]

    run(conversation)


def test_a_call_that_is_cancelled_is_counted_so_and_ends_everywhere() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, service), grpc_proxy(port) as proxy:
            with Calls(proxy.port) as client:
                call = client.channel.unary_unary(f"/{SERVICE}/Slow").future(b"x", timeout=10)
                while not service.seen:
                    await asyncio.sleep(0.01)
                call.cancel()
                labels = {"service": "other", "method": "other", "status": "CANCELLED"}
                while not proxy.value("l4proxy_grpc_calls_total", **labels):
                    await asyncio.sleep(0.01)
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0

    run(conversation)


def test_faults_are_statuses() -> None:
    async def conversation() -> None:
        fault = {"use": "fault", "grpc_status": 8}
        async with grpc_service() as (port, _), grpc_proxy(port, fault) as proxy, h2_connect(proxy) as other:
            with Calls(proxy.port) as client:
                assert await in_thread(lambda: client.failure("Unary")) == ("RESOURCE_EXHAUSTED", "a fault on purpose")
            assert (await other.get("/x", method="POST")).status != 503  # which is no call

    run(conversation)


def test_no_method_that_does_not_exist_gets_a_series_of_its_own() -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _), grpc_proxy(port) as proxy:
            with Calls(proxy.port) as client:
                for at in range(20):
                    path = f"/{SERVICE}/Invented{at}"
                    assert (await in_thread(lambda path=path: client.failure(path)))[0] == "UNIMPLEMENTED"  # type: ignore[misc]
            series = proxy.server.stats.snapshot()["l4proxy_grpc_calls_total"]["samples"]
            assert [sample["labels"] for sample in series] == [["other", "other", "UNIMPLEMENTED"]]

    run(conversation)


@pytest.mark.parametrize("streams", [1, 50])
def test_many_calls_at_once(streams: int) -> None:
    async def conversation() -> None:
        async with grpc_service() as (port, _), grpc_proxy(port) as proxy:
            with Calls(proxy.port) as client:
                method = client.channel.unary_unary(f"/{SERVICE}/Unary")

                def call() -> None:
                    futures = [method.future(b"%d" % at, timeout=20) for at in range(streams)]
                    assert [future.result() for future in futures] == [b"%d" % at for at in range(streams)]
                    assert all(future.code() is grpc.StatusCode.OK for future in futures)

                for _ in range(3):
                    await in_thread(call)

    run(conversation)


@pytest.mark.parametrize("filters", [[], [{"use": "grpc"}]])
def test_a_service_that_fails_calls_is_ejected(filters: list[Any]) -> None:
    """With HTTP status 200 for each; what is the client's own doing counts for nothing."""
    config = {"cluster": {"outlier_detection": {"consecutive_failures": 2}}}
    client_made = ("NOT_FOUND", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "CANCELLED")

    def fail(client: Calls, service: Any, status: str) -> None:
        service.fails, service.status = 1, grpc.StatusCode[status]
        assert client.failure("Flaky")[0] == status

    def calls(proxy: Proxy, service: Any) -> None:
        endpoint = endpoint_of(proxy)
        with Calls(proxy.port) as client:
            for status in client_made * 2:
                fail(client, service, status)
            assert client.failure("/none.v1.None/Nothing")[0] == "UNIMPLEMENTED"
            assert (endpoint.failures, endpoint.ejected) == (0, False)
            fail(client, service, "UNAVAILABLE")
            assert endpoint.failures == 1
            client.unary("Unary")
            assert endpoint.failures == 0
            assert client.failure("FailLate")[0] == "DATA_LOSS"
            assert (endpoint.failures, endpoint.ejected) == (1, False)
            fail(client, service, "UNAVAILABLE")
            assert endpoint.ejected

    async def conversation() -> None:
        http2 = {"upstream": {"protocol": "http2"}, "filters": filters, "config": config}
        async with grpc_service() as (port, service), http_proxy(f"{HOST}:{port}", **http2) as proxy:
            await in_thread(lambda: calls(proxy, service))

    run(conversation)
