from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clusters import run
from http_peers import Seen, connect, http_proxy, upstream
from l4proxy import ConfigError
from l4proxy.config.units import parse_network
from l4proxy.networks import NetworkSet
from l4proxy.plugins.http.forwarding import Forwarding
from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.message import HttpRequest

TRUSTED: dict[str, Any] = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}
HOP: dict[str, Any] = {"trusted_hops": 1}


def ask(*lines: str, log: str = "", **options: Any) -> tuple[int, Seen | None]:
    async def conversation() -> tuple[int, Seen | None]:
        config = {"access_log": [{"use": "file", "path": log, "format": CLIENT}]} if log else {}
        async with upstream() as up, http_proxy(up, config=config, **options) as proxy, connect(proxy) as client:
            reply = await client.get("/", *lines)
        return reply.status, up.seen[0] if up.seen else None

    return run(conversation)


CLIENT = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"


@pytest.mark.parametrize(
    ("lines", "options", "expected"),
    [
        ([], {}, ("127.0.0.1", "http", None)),
        (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"], {}, ("127.0.0.1", "http", None)),
        (["Forwarded: for=6.6.6.6"], {}, ("127.0.0.1", "http", None)),
        (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"], TRUSTED, ("6.6.6.6, 127.0.0.1", "https", None)),
        (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"], HOP, ("6.6.6.6, 127.0.0.1", "https", None)),
        ([], TRUSTED, ("127.0.0.1", "http", None)),
        (
            ['Forwarded: for="[2001:db8::7]:4711";proto=https, for=_hidden'],
            TRUSTED,
            ("2001:db8::7, unknown, 127.0.0.1", "https", 'for="[2001:db8::7]:4711";proto=https, for=_hidden'),
        ),
        ([], {"forwarded": "off"}, (None, None, None)),
        (["Forwarded: for=6.6.6.6"], {"forwarded": "rfc7239"}, (None, None, "for=127.0.0.1;proto=http")),
        (
            ["Forwarded: for=6.6.6.6"],
            {"forwarded": "rfc7239", **TRUSTED},
            (None, None, "for=6.6.6.6, for=127.0.0.1;proto=http"),
        ),
    ],
)
def test_the_upstream_is_told_who_the_client_is(lines: list[str], options: dict[str, Any], expected: Any) -> None:
    _, seen = ask(*lines, **options)
    assert seen is not None
    assert tuple(seen.field(name) for name in ("x-forwarded-for", "x-forwarded-proto", "forwarded")) == expected


@pytest.mark.parametrize(
    ("field", "value", "client"),
    [
        ("X-Forwarded-For", "192.0.2.9", "192.0.2.9"),
        ("X-Forwarded-For", "192.0.2.9, 6.6.6.6, 10.0.0.1", "6.6.6.6"),
        ("X-Forwarded-For", "6.6.6.6,10.0.0.2 ,10.0.0.1", "6.6.6.6"),
        ("X-Forwarded-For", "10.0.0.2, 10.0.0.1", "10.0.0.2"),
        ("X-Forwarded-For", "6.6.6.6:4711, 10.0.0.1", "6.6.6.6"),
        ("X-Forwarded-For", "[2001:db8::7]:80", "2001:db8::7"),
        ("X-Forwarded-For", "2001:db8::7", "2001:db8::7"),
        ("X-Forwarded-For", "6.6.6.6, nonsense, 10.0.0.1", "10.0.0.1"),
        ("X-Forwarded-For", "6.6.6.6, , 10.0.0.1", "10.0.0.1"),
        ("X-Forwarded-For", "unknown", "10.0.0.9"),
        ("X-Forwarded-For", "999.1.1.1", "10.0.0.9"),
        ("X-Forwarded-For", "", "10.0.0.9"),
        ("Forwarded", "for=6.6.6.6", "6.6.6.6"),
        ("Forwarded", 'by=10.0.0.9; For="[2001:db8::7]:4711" ;proto=https', "2001:db8::7"),
        ("Forwarded", "for=192.0.2.1, for=6.6.6.6;by=x, for=10.0.0.1", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6, for=_hidden, for=10.0.0.1", "10.0.0.1"),
        ("Forwarded", "host=for=6.6.6.6", "10.0.0.9"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(field: str, value: str, client: str) -> None:
    trusted = NetworkSet([parse_network("10.0.0.0/8")])
    request = HttpRequest("GET", "/", Headers.of([(field, value)]).block)
    assert Forwarding("append", "10.0.0.9", "http", trusted).client_of(request) == client
    assert Forwarding("append", "192.0.2.200", "http", trusted).client_of(request) == "192.0.2.200"


@pytest.mark.parametrize(
    ("hops", "value", "client"),
    [
        (1, "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        (2, "6.6.6.6, 192.0.2.1", "6.6.6.6"),
        (3, "6.6.6.6, 192.0.2.1", "192.0.2.200"),
        (1, "6.6.6.6, nonsense", "192.0.2.200"),
        (1, "", "192.0.2.200"),
    ],
)
def test_a_number_of_hops_may_be_trusted(hops: int, value: str, client: str) -> None:
    request = HttpRequest("GET", "/", Headers.of([("X-Forwarded-For", value)]).block)
    assert Forwarding("append", "192.0.2.200", "http", NetworkSet([]), hops).client_of(request) == client


@pytest.mark.parametrize("options", [TRUSTED, HOP])
def test_routes_and_logs_go_by_the_client(options: dict[str, Any], tmp_path: Path) -> None:
    routes = [{"source": ["192.0.2.0/24"], "cluster": "up"}]
    log = tmp_path / "log"
    assert ask("X-Forwarded-For: 192.0.2.9", routes=routes, log=str(log), **options)[0] == 200
    assert ask("X-Forwarded-For: 192.0.2.9, 6.6.6.6", routes=routes, log=str(log), **options)[0] == 404
    assert log.read_text().splitlines() == ["192.0.2.9 127.0.0.1", "6.6.6.6 127.0.0.1"]


def test_not_both() -> None:
    with pytest.raises(ConfigError, match="trusted_hops: not beside trusted_proxies"):
        ask(**TRUSTED, **HOP)
