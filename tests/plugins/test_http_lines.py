from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from clusters import refused, run, until
from grpc_peers import Calls, grpc_service, in_thread
from http_peers import connect, exchange_all, http_proxy, upstream
from l4proxy.filter import Peer
from l4proxy.plugins.http_lines import connection_line, request_line
from l4proxy.reason import CloseReason
from l4proxy.terminal import GREEN, RED, YELLOW, paint
from records import record as connection


def plain(text: str, _colour: str) -> str:
    return text


def request(**changes: Any) -> Any:
    fields = {
        "request": SimpleNamespace(kind="GET", authority="a.test", target="/x?y"),
        "status": 200,
        "verdict": changes.get("status", 200),
        "grpc_status": "",
        "started": 0.0,
        "duration": 0.0123,
        "bytes_sent": 2048,
        "endpoint": "127.0.0.1:8000",
        "attempts": 1,
        "details": "via_upstream",
        "reason": CloseReason("upstream", "relay", "via_upstream"),
        "state": {},
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "200 12.30 ms    2048 B GET  a.test/x?y → 127.0.0.1:8000"),
        ({"details": "direct_response", "endpoint": ""}, "200 12.30 ms    2048 B GET  a.test/x?y"),
        ({"attempts": 3}, "200 12.30 ms    2048 B GET  a.test/x?y → 127.0.0.1:8000 (3 tries)"),
        (
            {"status": 404, "details": "route_not_found", "endpoint": "", "duration": 2, "bytes_sent": 20_000},
            "404    2.0 s  19.5 KiB GET  a.test/x?y (route_not_found)",
        ),
        (
            {"status": 503, "details": "x", "state": {"http:problem": "cluster up is full"}},
            "503 12.30 ms    2048 B GET  a.test/x?y → 127.0.0.1:8000 (cluster up is full)",
        ),
        (
            {"status": 0, "details": "", "reason": CloseReason("client", "relay", "client_reset", flags=("DC",))},
            "--- 12.30 ms    2048 B GET  a.test/x?y → 127.0.0.1:8000 (client_reset)",
        ),
        ({"grpc_status": "OK"}, "200 12.30 ms    2048 B GET  a.test/x?y → 127.0.0.1:8000 (OK)"),
        (
            {"grpc_status": "UNAVAILABLE", "attempts": 2},
            "200 12.30 ms    2048 B GET  a.test/x?y → 127.0.0.1:8000 (UNAVAILABLE, 2 tries)",
        ),
    ],
)
def test_a_line(changes: dict[str, Any], line: str) -> None:
    assert request_line(request(**changes), plain)[9:] == line


def test_colours() -> None:
    assert paint("200", GREEN) in request_line(request(), paint)
    assert paint("404", YELLOW) in request_line(request(status=404), paint)
    assert paint("502", RED) in request_line(request(status=502), paint)
    assert paint("200", YELLOW) in request_line(request(verdict=404), paint)
    assert paint("200", RED) in request_line(request(verdict=503), paint)
    assert paint("   3.0 s", YELLOW) in request_line(request(duration=3), paint)


def test_a_line_fits_and_forges_nothing() -> None:
    long = SimpleNamespace(kind="GET", authority="a.test", target="/" + "x" * 500 + "\x1b[2J\n200")
    line = request_line(request(request=long), plain, 90)
    assert len(line) == 90
    assert line.endswith("… → 127.0.0.1:8000")
    assert request_line(request(request=long), plain).isprintable()
    reason = CloseReason("client", "relay", "bad_request_line", flags=("DPE",), message="no HTTP: \x1b")
    told = connection_line(connection(reason=reason, client=Peer("192.0.2.1", 5, "", 0, "")), plain, 60)
    assert told[9:] == "--- 192.0.2.1:5 no HTTP: \\x1b"


def test_grpc_calls_in_a_proxy(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(port: int, *methods: str) -> None:
        with Calls(port) as calls:
            for method in methods:
                calls.failure(method)

    async def conversation() -> None:
        config = {"access_log": [{"use": "http_lines"}]}
        async with grpc_service() as (port, _), http_proxy(f"127.0.0.1:{port}", config=config) as proxy:
            await in_thread(lambda: fail(proxy.port, "Unary", "Fail", "FailLate", "Missing"))
        async with http_proxy(refused(), config=config) as proxy:
            await in_thread(lambda: fail(proxy.port, "Unary"))
        out = ""

        def whole() -> bool:
            nonlocal out
            out += capfd.readouterr().out
            return out.count("\n") == 5

        await until(whole)
        *answered, refusal = (line[9:] for line in out.splitlines())
        assert [re.sub(r"200 .* POST .*/test\.v1\.Echo/(\w+) → [0-9.:]+", r"\1", line) for line in answered] == [
            "Unary (OK)",
            "Fail (FAILED_PRECONDITION)",
            "FailLate (DATA_LOSS)",
            "Missing (UNIMPLEMENTED)",
        ]
        assert re.fullmatch(r"200 .*/Unary → [0-9.:]+ \(UNAVAILABLE, .*Connection refused\)", refusal)

    run(conversation)


def test_in_a_proxy(capfd: pytest.CaptureFixture[str]) -> None:
    async def conversation() -> None:
        config = {"access_log": [{"use": "http_lines"}]}
        async with upstream() as up, http_proxy(up, config=config) as proxy:
            async with connect(proxy) as client:
                await client.get("/first")
            async with connect(proxy):
                pass
            await exchange_all(proxy, [b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"])
        async with http_proxy(refused(), config=config) as proxy, connect(proxy) as client:
            await client.get("/second")
        out = ""

        def whole() -> bool:
            nonlocal out
            out += capfd.readouterr().out
            return out.count("\n") == 3

        await until(whole)
        first, second, third = sorted((line[9:] for line in out.splitlines()), reverse=True)
        assert re.fullmatch(r"503 .* B GET  a\.test/second → 127\.0\.0\.1:\d+ \(.*Connection refused\)", first)
        assert re.fullmatch(r"200 .* 2 B GET  a\.test/first → 127\.0\.0\.1:\d+", second)
        assert "white space between a field's name and its colon" in third

    run(conversation)
