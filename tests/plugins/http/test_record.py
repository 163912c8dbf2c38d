"""What is known of a request when it is over, and what of one that is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clusters import run
from http_peers import Answer, Client, Seen, connect, http_proxy, ok, send, upstream
from l4proxy import NoConfig, Register, hookimpl
from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.record import AccessRecord
from l4proxy.plugins.http import record
from l4proxy.reason import CloseReason

LINE = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"


async def silence(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
    await reader.read()


async def whole(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody")
    await client.rest()


async def cut(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.reader.readexactly(500)


@pytest.mark.parametrize(
    ("answer", "talk", "options", "expected"),
    [
        (ok(b"answer"), whole, {}, "200 via_upstream - 4 6"),
        (ok(status="404 Not Found"), whole, {}, "404 via_upstream - 4 2"),
        (send(b"", close=True), whole, {}, "502 connection_closed UC 4 35"),
        (send(b"garbage\r\n\r\n"), whole, {}, "502 bad_status_line UPE 4 33"),
        (silence, whole, {"routes": [{"cluster": "up", "timeout": "50ms"}]}, "504 response_timeout UT 4 38"),
        (send(CUT, close=True), cut, {}, "200 response_cut_short UC 0 4"),
        (send(CUT), cut, {"limits": {"stream_idle_timeout": "50ms"}}, "200 stream_idle_timeout SI 0 4"),
    ],
)
def test_how_it_ended(tmp_path: Path, answer: Answer, talk: Any, options: dict[str, Any], expected: str) -> None:
    log = tmp_path / "log"

    async def conversation() -> None:
        config = {"access_log": [{"use": "file", "path": str(log), "format": LINE, "flush_interval": 0}]}
        async with upstream(answer) as up, http_proxy(up, config=config, **options) as proxy:
            async with connect(proxy) as client:
                await talk(client)
            while proxy.value("l4proxy_http_requests_active", http="http"):
                await asyncio.sleep(0)

    run(conversation)
    assert log.read_text() == f"{expected}\n"


GRPC = "Content-Type: application/grpc"


@pytest.mark.parametrize(
    ("asked", "answered", "status", "expected"),
    [
        (GRPC, "Grpc-Status: 0", 200, ("OK", False, False)),
        (GRPC, "Grpc-Status: 5", 200, ("NOT_FOUND", False, True)),
        (GRPC, "Grpc-Status: 14", 200, ("UNAVAILABLE", True, False)),
        (GRPC, "Grpc-Status: what", 200, ("UNKNOWN", True, False)),
        (GRPC, "X: y", 200, ("UNKNOWN", True, False)),
        (GRPC, "X: y", 403, ("PERMISSION_DENIED", False, True)),
        ("Content-Type: text/plain", "X: y", 200, ("", False, False)),
        ("Content-Type: text/plain", "X: y", 404, ("", False, True)),
        ("Content-Type: text/plain", "X: y", 500, ("", True, False)),
    ],
)
def test_who_is_to_blame(asked: str, answered: str, status: int, expected: tuple[str, bool, bool]) -> None:
    records: list[Any] = []

    class Keep(AccessLogger[NoConfig]):
        name = "keep"

        def log(self, record: AccessRecord) -> None:
            records.append(record)

    class Plugin:
        @hookimpl
        def register_access_loggers(self, register: Register[Any]) -> None:
            register(Keep)

    async def conversation() -> None:
        config = {"plugins": [Plugin()], "access_log": [{"use": "keep"}]}
        options = {"upstream": {"protocol": "http1"}, "config": config}
        async with (
            upstream(ok(b"", answered, status=f"{status} X")) as up,
            http_proxy(up, **options) as proxy,
            connect(proxy) as client,
        ):
            await client.get("/a.B/C", asked, method="POST")

    run(conversation)
    (record,) = records
    assert (record.grpc_status, record.failed, record.warning) == expected


def test_fields_of_a_response_can_tell_of_it() -> None:
    values = {"x-code": "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESP(x-mine)% %UPSTREAM_CLUSTER%"}

    async def conversation() -> None:
        routes = [
            {"path": "/own", "respond": {"status": 418}, "response_headers": {"set": values}},
            {"cluster": "up", "response_headers": {"set": values}, "request_headers": {"set": values}},
        ]
        async with (
            upstream(ok(b"", "X-Mine: 1", status="201 Created")) as up,
            http_proxy(up, routes=routes) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get()).field("x-code") == "201 via_upstream 1 up"
            assert (await client.get("/own")).field("x-code") == "418 direct_response - -"
            assert up.seen[0].field("x-code") == "0 - - -", "nobody knows yet"

    run(conversation)


def test_few_ways_to_end_are_remembered_however_many_filters_think_of(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[tuple[str, tuple[str, ...]], CloseReason] = {}
    monkeypatch.setattr(record, "_reasons", known)
    for at in range(5000):
        reason = record._reason(f"mine_{at}", ("UF",))
        assert (reason.who, reason.detail, reason.flags) == ("proxy", f"mine_{at}", ("UF",))
        assert len(known) <= 256
