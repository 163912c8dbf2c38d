"""Requests and responses made to be read in two ways: each class by its usual name.

What is refused byte by byte is in ``http1_corpus``; here it goes through a whole proxy, and what counts is what the
endpoint and the client get to see of it: never a request that nobody sent, never an answer to somebody else's.
"""

from __future__ import annotations

import asyncio

import pytest

from clusters import run
from http_peers import Answer, Reply, Seen, connect, http_proxy, ok, send, upstream

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def request(*lines: bytes, body: bytes = b"", first: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"Host: a", *lines, b"", b"")) + body


async def talk(data: bytes, *answers: Answer, body: bool = True, **options: object) -> tuple[bytes, list[Seen]]:
    """All that a client gets for these bytes until its connection is closed, and what the endpoint saw."""
    async with upstream(*answers, body=body) as up, http_proxy(up, **options) as proxy, connect(proxy) as client:
        client.send(data)
        return await client.rest(), up.seen


def refused(data: bytes, status: bytes = b"400") -> None:
    """One error, the end of the connection, and nothing for the endpoint."""

    async def conversation() -> None:
        got, seen = await talk(data)
        assert got.startswith(b"HTTP/1.1 " + status), got
        assert got.count(b"HTTP/1.1 ") == 1
        assert seen == []

    run(conversation)


@pytest.mark.parametrize("length", [b"5", b"0", b"6", b"44"])
def test_cl_te(length: bytes) -> None:
    refused(request(b"Content-Length: " + length, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN))


@pytest.mark.parametrize("length", [b"4", b"5", b"44"])
def test_te_cl(length: bytes) -> None:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
    refused(request(b"Transfer-Encoding: chunked", b"Content-Length: " + length, body=body))


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (b"501", [b"Transfer-Encoding: xchunked"]),
        (b"501", [b"Transfer-Encoding: chunked, identity"]),
        (b"501", [b"Transfer-Encoding: identity, chunked"]),
        (b"501", [b"Transfer-Encoding: chunked;q=1"]),
        (b"501", [b'Transfer-Encoding: "chunked"']),
        (b"400", [b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"]),
        (b"400", [b"Transfer-Encoding: chunked", b"transfer-encoding: chunked"]),
        (b"400", [b"Transfer-Encoding : chunked"]),
        (b"400", [b"Transfer-Encoding\t:chunked"]),
        (b"400", [b" Transfer-Encoding: chunked"]),
        (b"400", [b"X: y\rTransfer-Encoding: chunked"]),
        (b"400", [b"X: y\nTransfer-Encoding: chunked"]),
        (b"400", [b"Transfer-Encoding:", b" chunked"]),
        (b"400", [b"Transfer-Encoding: \x0bchunked"]),
        (b"400", [b"Transfer-Encoding: chunked\x00"]),
        (b"400", [b"Transfer-Encoding\x00: chunked"]),
        (b"501", [b"Transfer-Encoding: \xa0chunked"]),
        (b"501", [b"Transfer-Encoding: chun\xe2\x84\xaaed"]),
    ],
)
def test_te_te(status: bytes, lines: list[bytes]) -> None:
    refused(request(*lines, body=b"0\r\n\r\n" + HIDDEN), status)
    refused(request(b"Content-Length: 5", *lines, body=b"0\r\n\r\n" + HIDDEN))


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 0"],
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5, 0"],
        [b"Content-Length: +5"],
        [b"Content-Length: 05"],
        [b"Content-Length: 5 "[:-1] + b"\x0b"],
        [b"Content-Length: 5\xa0"],
        [b"Content-Length: 5;"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 5.0"],
        [b"Content-Length: 1e1"],
        [b"Content-Length: -5"],
        [b"Content-Length: 18446744073709551621"],
    ],
)
def test_cl_cl(lines: list[bytes]) -> None:
    refused(request(*lines, body=b"hello" + HIDDEN))


def test_cl_0() -> None:
    """The endpoint takes the body that it was told of for a request, and answers twice: its second answer is nobody's,
    and the connection that it came on is not used again."""

    async def conversation() -> None:
        second = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
        async with (
            upstream(send(OK + second), ok(b"mine"), body=False) as up,
            http_proxy(up) as proxy,
            connect(proxy) as attacker,
            connect(proxy) as victim,
        ):
            assert (await attacker.get(method="POST", body=HIDDEN)).body == b"ok"
            assert (await victim.get("/victim")).body == b"mine"
            assert len(up.connections) == 2

    run(conversation)


def test_cl_0_before_the_body_is_sent() -> None:
    """The endpoint answers at once; the rest of the body never becomes anybody's request, on neither side."""

    async def conversation() -> None:
        async with (
            upstream(ok(b"early"), ok(b"mine"), body=False) as up,
            http_proxy(up) as proxy,
            connect(proxy) as client,
            connect(proxy) as victim,
        ):
            client.send(request(b"Content-Length: %d" % (5 + len(HIDDEN)), body=b"hello"))
            assert (await client.reply()).body == b"early"
            client.send(HIDDEN)
            assert await client.rest() == b""
            assert (await victim.get("/victim")).body == b"mine"
            assert [seen.line for seen in up.seen] == ["POST / HTTP/1.1", "GET /victim HTTP/1.1"]
            assert up.connections == [1, 1]

    run(conversation)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length : 37",
        b"Content-Length\t: 37",
        b"\x0bContent-Length: 37",
        b"Content-Length\x00: 37",
        b"X: y\rContent-Length: 37",
        b"X: y\r Content-Length: 37",
        b"X:\r\n Content-Length: 37",
        b"Content-Length:37\nX: y",
        b"Content-Length",
        b": Content-Length: 37",
    ],
)
def test_0_cl(line: bytes) -> None:
    """A length that we would not see and the endpoint might."""
    refused(request(line, body=HIDDEN, first=b"GET / HTTP/1.1"))


@pytest.mark.parametrize("line", [b"Content_Length: 37", b"Transfer_Encoding: chunked", b"content-Length_: 37"])
def test_0_cl_by_an_underscore(line: bytes) -> None:
    """What CGI and WSGI take for the real name does not reach them."""

    async def conversation() -> None:
        got, seen = await talk(request(line, b"Connection: close", first=b"GET / HTTP/1.1"))
        assert got.startswith(b"HTTP/1.1 200")
        assert not any("_" in line for line in seen[0].lines)

    run(conversation)


@pytest.mark.parametrize(
    "line",
    [b"5 ", b"5\t", b"+5", b"0x5", b"5_0", b" 5", b"5\xa0", b"5;a\nb", b"5;a\rb", b"5\n", b"", b"g", b"5;\x00", b"5,5"],
)
def test_chunk_sizes_and_extensions(line: bytes) -> None:
    refused(request(b"Transfer-Encoding: chunked", body=line + b"\r\nhello\r\n0\r\n\r\n" + HIDDEN))


def test_chunk_extensions_are_not_passed_on() -> None:
    async def conversation() -> None:
        async with upstream(body=False) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(request(b"Transfer-Encoding: chunked", body=b'5;a="b;c";d\r\nhello\r\n0;e\r\n\r\n'))
            assert (await client.reply()).status == 200
            assert up.seen[0].field("transfer-encoding") == "chunked"

    async def raw() -> bytes:
        got = asyncio.get_running_loop().create_future()

        async def remember(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.readuntil(b"0\r\n\r\n"))
            writer.write(OK)

        async with upstream(remember, body=False) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(request(b"Transfer-Encoding: chunked", body=b'5;a="b;c";d\r\nhello\r\n0;e\r\n\r\n'))
            await client.reply()
            return bytes(await got)

    run(conversation)
    assert run(raw) == b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "426 Upgrade Required"])
def test_data_behind_an_upgrade_that_is_refused(status: str) -> None:
    """A client that goes on as if it had been switched does not get its bytes read as requests."""

    async def conversation() -> None:
        upgrade = request(b"Connection: Upgrade", b"Upgrade: websocket", first=b"GET /ws HTTP/1.1")
        got, seen = await talk(upgrade + HIDDEN, ok(status=status))
        assert got.count(b"HTTP/1.1 ") == 1
        assert [one.line for one in seen] == ["GET /ws HTTP/1.1"]

    run(conversation)


def test_an_upgrade_with_a_body() -> None:
    """CVE-2026-58055 of nghttpx: the body became the first bytes of the other protocol."""
    lines = [b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: %d" % len(HIDDEN)]
    refused(request(*lines, body=HIDDEN, first=b"GET /ws HTTP/1.1"))
    refused(request(*lines[:2], b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", first=b"GET /ws HTTP/1.1"))


@pytest.mark.parametrize("lines", [[b"Connection: Upgrade, HTTP2-Settings"], [b"Connection: upgrade"]])
def test_h2c_smuggling(lines: list[bytes]) -> None:
    async def conversation() -> None:
        data = request(*lines, b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", first=b"GET / HTTP/1.1")
        got, seen = await talk(data + request(b"Connection: close", first=b"GET /2 HTTP/1.1"))
        assert got.count(b"HTTP/1.1 200") == 2
        assert seen[0].field("upgrade") is seen[0].field("http2-settings") is seen[0].field("connection") is None

    run(conversation)


def test_data_behind_connect() -> None:
    refused(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n" + HIDDEN, b"405")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nstray",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nstray",
    ],
)
def test_pipelining_desync_by_the_endpoint(answer: bytes) -> None:
    """More than one answer for one request: the surplus is nobody's, whoever asks next."""

    async def conversation() -> None:
        async with upstream(send(answer), ok(b"mine")) as up, http_proxy(up) as proxy:
            async with connect(proxy) as client:
                client.send(request(first=b"GET /1 HTTP/1.1") + request(first=b"GET /2 HTTP/1.1"))
                first, second = await client.reply(), await client.reply()
                assert b"stray" not in first.body + second.body
                assert second.body == b"mine"
            assert len(up.connections) == 2

    run(conversation)


def test_a_body_behind_the_answer_to_head_is_not_the_next_answer() -> None:
    async def conversation() -> None:
        async with (
            upstream(send(b"HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n" + HIDDEN[:37]), ok(b"mine")) as up,
            http_proxy(up) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get(method="HEAD")).status == 200
            assert (await client.get("/2")).body == b"mine"
            assert up.connections == [1, 1]

    run(conversation)


def test_bytes_of_an_endpoint_before_it_was_asked() -> None:
    """A response that lies in wait on a connection that is kept."""

    async def conversation() -> None:
        stray = asyncio.Event()

        async def prepare(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK)
            await writer.drain()
            await stray.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")

        async with upstream(prepare, ok(b"mine")) as up, http_proxy(up) as proxy, connect(proxy) as client:
            assert (await client.get()).body == b"ok"
            stray.set()
            while proxy.value("l4proxy_cluster_connections_active", cluster="up"):
                await asyncio.sleep(0)
            assert (await client.get("/2")).body == b"mine"
            assert up.connections == [1, 1]

    run(conversation)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Content-Length: 2\r\nContent-Length: 37",
        b"Content-Length: 2, 2",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding : chunked",
        b"A: b\nContent-Length: 2",
        b"A: b\rContent-Length: 2",
        b"A: b\r\n Content-Length: 2",
        b"A\x00: b",
    ],
)
def test_responses_that_can_be_read_in_two_ways(head: bytes) -> None:
    async def conversation() -> None:
        async with (
            upstream(send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nhi")) as up,
            http_proxy(up) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get()).status == 502

    run(conversation)


@pytest.mark.parametrize("where", ["/%0d%0aSet-Cookie:%20a=b", "/a?b=%0d%0a%0d%0aHTTP/1.1%20200%20OK"])
def test_response_splitting_by_the_request(where: str) -> None:
    """What a redirect repeats of the request stays in its one line."""

    async def conversation() -> Reply:
        async with (
            http_proxy(routes=[{"prefix": "/", "redirect": {"scheme": "https"}}]) as proxy,
            connect(proxy) as client,
        ):
            return await client.get(where)

    reply = run(conversation)
    assert reply.status in (301, 400)
    assert reply.field("set-cookie") is None


def test_request_splitting_by_changes_of_fields() -> None:
    """Log operators in header values repeat what the client said: as one value."""

    async def conversation() -> None:
        options = {
            "routes": [{"prefix": "/", "cluster": "up", "request_headers": {"set": {"X-Was": "%REQ(:PATH)%"}}}],
        }
        async with upstream() as up, http_proxy(up, **options) as proxy, connect(proxy) as client:
            await client.get("/a%0d%0aX-Evil:%201")
            assert up.seen[0].field("x-evil") is None
            assert up.seen[0].field("x-was") == "/a%0D%0AX-Evil:%201"

    run(conversation)


@pytest.mark.parametrize(
    "named", ["Host", "Content-Length", "Transfer-Encoding", "Cookie", "Authorization", "X-Forwarded-For", "Via"]
)
def test_connection_nominates_a_field_that_somebody_relies_on(named: str) -> None:
    refused(request(f"Connection: close, {named}".encode(), first=b"GET / HTTP/1.1"))


def test_connection_nominates_a_field_of_its_own() -> None:
    async def conversation() -> None:
        lines = [b"Connection: close, X-Mine", b"X-Mine: 1", b"Keep-Alive: 1", b"Proxy-Connection: close", b"TE: gzip"]
        got, seen = await talk(request(*lines, first=b"GET / HTTP/1.1"), ok(b"ok", "Connection: x-his", "X-His: 1"))
        assert {line.partition(":")[0] for line in seen[0].lines} == {"Host", "X-Forwarded-For", "X-Forwarded-Proto"}
        assert b"X-His" not in got

    run(conversation)
