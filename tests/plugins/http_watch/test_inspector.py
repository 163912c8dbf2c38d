"""The HTTP inspector: conversations of each version, however the bytes arrive and wherever the watching begins."""

from __future__ import annotations

from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from clusters import run
from grpc_peers import SERVICE, Calls, grpc_service, in_thread
from http2_wire import data as data_frame
from http2_wire import headers
from http_peers import connect, ok, upstream
from l4proxy.codec import RemoteProtocolError
from l4proxy.filter import Peer, Side
from l4proxy.inspector import Link, StopWatching
from l4proxy.plugins.http_watch.config import HttpWatchConfig
from l4proxy.plugins.http_watch.inspector import HttpInspector
from l4proxy.protocols.http2.codes import FrameType
from l4proxy.protocols.http2.frames import frame, ping_frame, settings_frame, window_update_frame
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import check_inspector
from proxying import proxy

CLIENT, SERVER = Side.CLIENT, Side.UPSTREAM
Script = list[tuple[Side, bytes]]


def seen(method: str, path: str, status: int, error: str = "", **more: Any) -> tuple[str, str, dict[str, Any]]:
    fields = {"host": "a.test", "path": path, "status": status, "version": "HTTP/1.1"}
    return method, error, fields | more


def test_http_1() -> None:
    script = [
        (CLIENT, b"GET /a?b HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        (CLIENT, b"POST /b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        (
            SERVER,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        ),
        (CLIENT, b"HEAD /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 304 Same\r\n\r\n"),
        (CLIENT, b"GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"),
        (SERVER, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    ]
    expect = [
        seen("GET", "/a?b", 200),
        seen("POST", "/b", 503, "503"),
        seen("HEAD", "/1", 200),
        seen("GET", "/2", 304),
        seen("GET", "/last", 404, "404"),
    ]
    check_inspector(HttpInspector, script, expect, bad=[b"\x00\x01\x02garbage\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n"])


def http2_script() -> Script:
    """What two ends of the package h2 say to each other."""
    script: Script = []
    client, server = H2Connection(H2Configuration(client_side=True)), H2Connection(H2Configuration(client_side=False))

    def turn() -> None:
        for side, one, other in ((CLIENT, client, server), (SERVER, server, client)):
            if data := one.data_to_send():
                script.append((side, data))
                other.receive_data(data)

    client.initiate_connection()
    server.initiate_connection()
    turn()
    head = [(":scheme", "http"), (":authority", "a.test")]
    for at, (method, path) in enumerate((("GET", "/a?b"), ("POST", "/b"))):
        stream = 2 * at + 1
        client.send_headers(stream, [(":method", method), *head, (":path", path)], end_stream=method == "GET")
        if method == "POST":
            client.send_data(stream, b"x" * 100, end_stream=True, pad_length=5)
        turn()
        server.send_headers(stream, [(":status", "103"), ("link", "x")])
        server.send_headers(stream, [(":status", "200" if at == 0 else "500"), ("server", "h2")])
        server.send_data(stream, b"y" * 50, end_stream=True)
        turn()
    grpc = [("content-type", "application/grpc"), ("te", "trailers")]
    client.send_headers(5, [(":method", "POST"), *head, (":path", "/a.B/C"), *grpc])
    client.send_data(5, (b"\0\0\0\0\2hi") * 3, end_stream=True)
    turn()
    server.send_headers(5, [(":status", "200"), *grpc[:1]])
    server.send_data(5, b"\0\0\0\0\1x" * 2)
    server.send_headers(5, [("grpc-status", "5"), ("grpc-message", "no such")], end_stream=True)
    turn()
    client.send_headers(7, [(":method", "GET"), *head, (":path", "/never")], end_stream=True)
    turn()
    client.reset_stream(7, 8)
    turn()
    return script


def test_http_2() -> None:
    rpc = {"service": "a.B", "rpc": "C", "grpc_status": "NOT_FOUND", "request_messages": 3, "response_messages": 2}
    expect = [
        seen("GET", "/a?b", 200, version="HTTP/2"),
        seen("POST", "/b", 500, "500", version="HTTP/2"),
        seen("POST", "/a.B/C", 200, "NOT_FOUND", version="HTTP/2", **rpc),
        seen("GET", "/never", 0, "client_CANCEL", version="HTTP/2"),
    ]
    check_inspector(HttpInspector, http2_script(), expect, bad=[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"])


def played(script: Script, *, midway: bool = False, config: HttpWatchConfig | None = None) -> tuple[list[str], Any]:
    inspector = HttpInspector(config or HttpWatchConfig(), StatsRegistry())
    lines: list[str] = []
    inspector.on_exchange = lambda exchange: lines.append(f"{exchange.kind} {exchange.text()}")
    conversation = inspector.conversation(Link(1, Peer("192.0.2.1", 4711), midway=midway))
    for at, (side, data) in enumerate(script):
        (conversation.client_data if side is CLIENT else conversation.server_data)(data, float(at))
    conversation.close(99.0)
    return lines, inspector


def test_a_line_for_people() -> None:
    lines, _ = played(http2_script())
    assert lines[0] == "GET a.test/a?b 200 HTTP/2"
    assert lines[2] == "POST a.test/a.B/C NOT_FOUND HTTP/2 3+2 messages"


def test_the_settings_of_a_server_may_be_seen_first() -> None:
    script = http2_script()
    assert script[1][0] is SERVER
    assert len(played([script[1], script[0], *script[2:]])[0]) == 4


def test_a_request_in_the_middle_of_a_connection_is_found() -> None:
    get = (CLIENT, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    answer = (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    lines, _ = played([(SERVER, b"the end of a body"), (CLIENT, b"and of another"), get, answer], midway=True)
    assert lines == ["GET a.test/ 200 HTTP/1.1"]


def test_what_cannot_be_read_from_the_middle() -> None:
    with pytest.raises(StopWatching, match="no request begins"):
        played([(CLIENT, bytes(40_000)), (CLIENT, bytes(40_000))], midway=True)


@pytest.mark.parametrize(
    "chunk",
    [
        headers(7),
        data_frame(7, b"x") + window_update_frame(0, 9),
        ping_frame(b"12345678", ack=True),
        settings_frame({4: 5}),
    ],
)
def test_http_2_cannot_be_read_from_the_middle(chunk: bytes) -> None:
    with pytest.raises(StopWatching, match="HTTP/2 that began before"):
        played([(SERVER, b"the end of something"), (CLIENT, chunk)], midway=True)
    for other in (chunk[:-1], chunk + b"x", b"\0" + chunk, frame(FrameType.PING, 0, 7, b"12345678"), b"and so on"):
        assert played([(CLIENT, other)], midway=True)[0] == []


def test_an_upgrade_is_the_end_of_it() -> None:
    script = [
        (CLIENT, b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (SERVER, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81"),
    ]
    with pytest.raises(StopWatching, match="it goes on as websocket"):
        played(script)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    inspector = HttpInspector(HttpWatchConfig(), StatsRegistry())
    told: list[Any] = []
    inspector.on_exchange = told.append
    conversation = inspector.conversation(Link(1, Peer("192.0.2.1", 4711)))
    conversation.client_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1.0)
    conversation.server_data(b"HTTP/1.1 200 OK\r\n\r\nall of it", 2.0)
    assert told == []
    conversation.server_eof(4.0)
    assert (told[0].seconds, told[0].error) == (3.0, "")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")], "no_response"),
        (
            [
                (CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            ],
            "response_cut_short",
        ),
    ],
)
def test_what_never_ended(script: Script, error: str) -> None:
    _, inspector = played(script)
    assert inspector.http_stats.errors_total.values == {error: 1}


def test_what_is_kept_is_bounded() -> None:
    config = HttpWatchConfig(max_paths=3, max_open=10)
    script: Script = []
    for at in range(8):
        script.append((CLIENT, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % at))
        script.append((SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    _, inspector = played(script, config=config)
    rows = {row[:3]: row[3] for table in inspector.tables() if table.name == "paths" for row in table.rows()}
    assert rows[("other", "other", "other")] == 5
    assert len(rows) == 4
    with pytest.raises(StopWatching, match="more than 10"):
        played([(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 11)], config=config)
    with pytest.raises(RemoteProtocolError):
        played([(CLIENT, b"GET /" + b"x" * 100_000)])


def test_the_filter_in_a_real_proxy() -> None:
    async def conversation() -> None:
        filters = ({"use": "http_watch"}, {"use": "tcp_proxy", "cluster": "up"})
        async with upstream(ok()) as up, proxy(*filters, upstreams=[up.port]) as running, connect(running) as client:
            for _ in range(3):
                await client.get()
            assert running.value("l4proxy_http_watch_responses_total", **{"class": "2xx"}) == 3
        async with grpc_service() as (port, _), proxy(*filters, upstreams=[port]) as running:
            with Calls(running.port) as calls:
                await in_thread(lambda: calls.unary("Unary"))
            labels = {"service": SERVICE, "method": "Unary", "status": "OK"}
            assert running.value("l4proxy_grpc_watch_calls_total", **labels) == 1

    run(conversation)
