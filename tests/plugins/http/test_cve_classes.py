"""Classes of vulnerabilities that other proxies have had in HTTP/1, each by a CVE of it, held by a test.

Those of HTTP/2 are in ``tests/protocols/http2``, the rest of smuggling is in ``test_smuggling``.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from pathlib import Path
from typing import Any

import pytest

from clusters import refused, run
from http_peers import connect, http_proxy, ok, upstream
from l4proxy.plugins.http.conditions import MAX_SUBJECT, safe_regex

FORBIDDEN: dict[str, Any] = {"respond": {"status": 403}}
REST: dict[str, Any] = {"prefix": "/", "cluster": "up"}
BLANK = bytes(50_000_000)


def status(target: str, *lines: str, routes: list[dict[str, Any]] | None = None, **options: Any) -> int:
    """The status of a request with these lines; a byte stands for itself (Latin-1)."""

    async def conversation() -> int:
        async with (
            upstream() as up,
            http_proxy(up, routes=routes or [REST], **options) as proxy,
            connect(proxy) as client,
        ):
            return (await client.get(target, *lines)).status

    return run(conversation)


# Injected bytes


@pytest.mark.parametrize("line", ["X-Admin: tr\0ue", "X-Admin\0: true", "\0X-Admin: true", "Ho\0st: b"])
def test_cve_2019_9900_nul_in_a_header(line: str) -> None:
    """Matchers saw the value up to the NUL."""
    assert status("/", line) == 400


@pytest.mark.parametrize("line", ["X-Role: admin ", "X-Role:admin\t ", "X-Role: \t admin"])
def test_cve_2019_18802_white_space_around_a_value(line: str) -> None:
    """A rule for ``admin`` was passed by ``admin `` with a space behind, which the upstream took for the same."""
    rule = {"headers": [{"name": "x-role", "exact": "admin"}], **FORBIDDEN}
    assert status("/", line, routes=[rule, REST]) == 403


@pytest.mark.parametrize("line", ["X-Role : admin", "X-Role\t: admin", " X-Role: admin"])
def test_cve_2019_18802_white_space_around_a_name(line: str) -> None:
    assert status("/", line) == 400


# Accounting of headers and targets


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a: b"] * 99, 200),
        (["a: b"] * 100, 431),
        (["a:"] * 10_000, 431),
        ([f"a: {'b' * 50_000}"], 200),
        ([f"a: {'b' * 62_000}"], 431),
        ([f"a{at}: {'b' * 1000}" for at in range(70)], 431),
    ],
)
def test_cve_2019_15226_and_2020_12605_many_or_large_headers(lines: list[str], expected: int) -> None:
    """Sizes were summed up again for each header, or counted where it was too late."""
    assert status("/", *lines) == expected


@pytest.mark.parametrize(("size", "expected"), [(15_000, 200), (17_000, 414), (70_000, 414)])
def test_long_targets(size: int, expected: int) -> None:
    assert status("/" + "a" * size) == expected
    assert status("/?" + "a" * size) == expected


@pytest.mark.parametrize("lines", [["X-Role: admin", "X-Role: guest"], ["X-Role: guest", "x-role: admin"]])
def test_cve_2020_25017_and_2026_26308_repeated_headers(lines: list[str]) -> None:
    """Rules read one of several fields of a name. Here they read all of them as one value (RFC 9110 section 5.3)."""
    contains = {"headers": [{"name": "x-role", "contains": "admin"}], **FORBIDDEN}
    assert status("/", *lines, routes=[contains, REST]) == 403
    guests = {"headers": [{"name": "x-role", "exact": "guest"}], "cluster": "up"}
    assert status("/", *lines, routes=[guests, {"prefix": "/", **FORBIDDEN}]) == 403


# Paths that are read in two ways


@pytest.mark.parametrize(
    "target",
    [
        "/admin", "/admin/", "/admin/x", "/public/../admin", "/./admin", "/%61dmin", "/public/%2e%2e/admin",
        "/public/.%2E/admin", "/admin/.", "/admin?x=/../", "http://a.test/public/../admin",
        "//admin", "///admin//x", "/public/..//admin", "//%61dmin?a//b", "http://a.test//admin",
    ],
)  # fmt: skip
def test_cve_2019_9901_path_normalization(target: str) -> None:
    assert status(target, routes=[{"prefix": "/admin", **FORBIDDEN}, REST]) == 403


@pytest.mark.parametrize(
    "target",
    [
        "/public/..%2fadmin", "/public%2F..%2Fadmin", "/public/..\\admin", "/public/..%5cadmin", "/public/%00/../admin",
        "/../admin", "/%2e%2e/admin", "/public/%2/admin", "/public#/../admin",
    ],
)  # fmt: skip
def test_cve_2019_9901_paths_that_cannot_be_normalized(target: str) -> None:
    assert status(target, routes=[{"prefix": "/admin", **FORBIDDEN}, REST]) == 400


@pytest.mark.parametrize(
    "target", ["/public/..;/admin", "/public/..;x=1/admin", "/public/.;/admin", "/public/%2e%2e;/a"]
)
def test_cve_2026_73551_dot_segments_with_parameters(target: str) -> None:
    """Tomcat and its kin take ``..;x`` for ``..``, a proxy took it for a name."""
    assert status(target) == 400


@pytest.mark.parametrize("scheme", ["http", "HTTP", "hTTp"])
def test_cve_2023_35944_mixed_case_scheme(scheme: str) -> None:
    """Schemes were compared as they were written, and one that was not known passed checks made for ``http``."""

    async def conversation() -> None:
        secure = {"prefix": "/", "redirect": {"host": "b.test"}}
        async with http_proxy(routes=[secure]) as proxy, connect(proxy) as client:
            reply = await client.get(f"{scheme}://a.test/x")
            assert reply.field("location") == "http://b.test/x"

    run(conversation)


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_an_https_target_over_plain_http(scheme: str) -> None:
    """Who asks for ``https`` on a plain connection is not told that it is one."""
    assert status(f"{scheme}://a.test/") == 403


@pytest.mark.parametrize("said", ["https", "HTTPS", "Https"])
def test_a_trusted_proxy_may_write_the_scheme_in_any_case(said: str) -> None:
    async def conversation() -> None:
        options = {"routes": [{"prefix": "/", "redirect": {"host": "b.test"}}], "trusted_proxies": ["127.0.0.0/8"]}
        async with http_proxy(**options) as proxy, connect(proxy) as client:
            assert (await client.get("/", f"X-Forwarded-Proto: {said}")).field("location") == "https://b.test/"

    run(conversation)


# Bombs


@pytest.mark.parametrize(
    "expression",
    ["(a+)+", "(a*)*b", "(a|aa)+", "(.*)(.*)(.*)(.*)x", ".*.*.*.*=.*", r"(a)\1", "(?=a)a", "(?:a+){10}", "a" * 501],
)
def test_cve_2019_15225_regular_expressions(expression: str) -> None:
    """What could take for ever is refused when the configuration is read."""
    with pytest.raises(ValueError, match=r"regular expression|could take for ever|not allowed"):
        safe_regex(expression)


def test_cve_2019_15225_long_subjects() -> None:
    """What is longer than anything that should match is not tried."""
    route = {"regex": "/a.*b", "cluster": "up"}
    assert status("/a" + "x" * (MAX_SUBJECT - 10) + "b", routes=[route]) == 200
    assert status("/a" + "x" * MAX_SUBJECT + "b", routes=[route]) == 404


@pytest.mark.parametrize("value", ["admin", "\xffadmin", "admin\xc3\x28", "\xed\xa0\x80admin"])
def test_cve_2026_73552_regular_expressions_and_bytes_that_are_not_utf_8(value: str) -> None:
    """A rule that refuses what matches let pass what it could not decode. Here each byte is a character."""
    rule = {"headers": [{"name": "x-role", "regex": ".*admin.*"}], **FORBIDDEN}
    assert status("/", f"X-Role: {value}", routes=[rule, REST]) == 403


@pytest.mark.parametrize(("coding", "bomb"), [("gzip", gzip.compress(BLANK)), ("deflate", zlib.compress(BLANK))])
def test_cve_2022_29225_and_2026_48044_decompression_bombs(coding: str, bomb: bytes) -> None:
    """The second one is of zstd, which nobody decompresses here: such a body passes as it is."""

    async def conversation() -> None:
        use = {"use": "decompression", "requests": True, "max_ratio": 100}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            reply = await client.get("/", f"Content-Encoding: {coding}", method="POST", body=bomb)
            assert reply.status == 413
            assert up.seen == []

    run(conversation)


def test_cve_2026_48042_deeply_nested_json() -> None:
    """Whoever may not enter brings JSON, too: in tokens."""
    nested = base64.urlsafe_b64encode(b'{"a":' + b"[" * 15_000).decode().rstrip("=")
    use = {"use": "jwt_authn", "secret": "0123456789abcdef0123456789abcdef"}
    assert status("/", f"Authorization: Bearer {nested}.{nested}.AAAA", filters=[use]) == 401


# Bytes behind a request that may change the protocol


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_cve_2025_64763_data_before_connect_is_answered(version: str) -> None:
    """They came before anybody knew whether there is a tunnel, and were taken for requests when there was none."""

    async def conversation() -> None:
        port = int(refused().rpartition(":")[2])
        forward = {"allow": ["127.0.0.1"], "allow_private": True, "connect_ports": [port], "ports": [port]}
        async with http_proxy(routes=[{"forward": forward}]) as proxy, connect(proxy) as client:
            head = f"CONNECT 127.0.0.1:{port} HTTP/{version}\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            client.send(head + b"GET http://127.0.0.1/hidden HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            got = await client.rest()
            assert got.startswith(b"HTTP/1.1 503 ")
            assert got.count(b"HTTP/1.1 ") == 1
            assert proxy.value("l4proxy_http_requests_total", http="http") == 1

    run(conversation)


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_cve_2026_58055_an_upgrade_with_a_body(framing: str) -> None:
    """The body became the first bytes of the other protocol."""
    assert status("/", "Connection: Upgrade", "Upgrade: websocket", framing) == 400


# Pages that show what a client says


def test_cve_2026_73546_no_script_in_pages(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("%STATUS% %REQUEST_ID%")

    async def conversation() -> None:
        options = {"routes": [{"path": "/", "respond": {"text": "x"}}], "error_pages": {"404": str(page)}}
        async with http_proxy(**options) as proxy, connect(proxy) as client:
            reply = await client.get("/<script>", "X-Request-Id: <script>%REASON%", "Accept: text/html")
            assert reply.body == b"404 &lt;script&gt;%REASON%"
            reply = await client.get("/<script>", "Accept: application/json")
            assert b"<" not in reply.body

    run(conversation)


# Open files


def test_cve_2020_8663_more_connections_than_there_may_be() -> None:
    """One client cannot take all file descriptors: the listener has a limit, and those who are inside are served on."""

    async def conversation() -> None:
        config = {"listener": {"max_connections": 2}}
        async with (
            upstream(ok()) as up,
            http_proxy(up, config=config) as proxy,
            connect(proxy) as first,
            connect(proxy) as second,
        ):
            assert (await first.get()).status == (await second.get()).status == 200
            async with connect(proxy) as third:
                assert await third.rest() == b""
            assert (await first.get()).status == 200

    run(conversation)
