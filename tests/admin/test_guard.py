from __future__ import annotations

import pytest

from l4proxy.address import Address
from l4proxy.admin.guard import Guard
from l4proxy.admin.http import HttpError, Request
from l4proxy.config.types import Secret

LOOPBACK = Address("127.0.0.1", 9901)


def check(
    *, address: Address = LOOPBACK, hosts: tuple[str, ...] = (), token: str = "", method: str = "GET", **headers: str
) -> int:
    """The status with which a request is refused; 200 when it is not."""
    request = Request(method, "/", {}, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        Guard(address, hosts, Secret(token) if token else None).check(request)
    except HttpError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9901", "127.0.0.1", "localhost", "LocalHost:9901", "localhost.", "[::1]:9901", "[::1]", "10.1.2.3:80"],
)
def test_hosts_that_are_us(host: str) -> None:
    assert check(host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9901", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_names_that_were_rebound(host: str) -> None:
    assert check(host=host) == 403


@pytest.mark.parametrize("host", ["", "a b", "[::1", "h:port", "h:1:2", "user@localhost", "localhost/x", "[zz]"])
def test_hosts_that_are_none(host: str) -> None:
    assert check(host=host) in (400, 403)


def test_names_from_the_configuration() -> None:
    assert check(host="proxy.internal:9901", hosts=("Proxy.internal",)) == 200
    assert check(host="box.internal", address=Address("box.internal", 9901)) == 200
    assert check(host="other.internal", hosts=("proxy.internal",)) == 403


def test_no_host_is_for_health_checks_by_http_1_0() -> None:
    assert check() == 400
    Guard(LOOPBACK, (), None).check(Request("GET", "/ready", {}, {}, minor_version=0))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:9901", 200),
        ("https://localhost:9901", 200),
        ("http://localhost", 403),
        ("http://localhost:3000", 403),
        ("http://127.0.0.1:9901", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_origins(method: str, origin: str, status: int) -> None:
    assert check(method=method, host="localhost:9901", origin=origin) == status


@pytest.mark.parametrize(
    ("method", "site", "mode", "status"),
    [
        ("GET", "none", "navigate", 200),
        ("GET", "same-origin", "cors", 200),
        ("GET", "cross-site", "navigate", 200),
        ("GET", "cross-site", "no-cors", 403),
        ("GET", "same-site", "cors", 403),
        ("POST", "cross-site", "navigate", 403),
        ("POST", "same-origin", "navigate", 200),
    ],
)
def test_what_a_browser_says_of_who_asks(method: str, site: str, mode: str, status: int) -> None:
    assert check(method=method, host="localhost", sec_fetch_site=site, sec_fetch_mode=mode) == status


def test_a_unix_socket_has_no_name() -> None:
    assert check(address=Address(path="/run/admin.sock")) == 200
    assert check(address=Address(path="/run/admin.sock"), host="anything", origin="null") == 200


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        ("Bearer  s3cret", 200),
        ("Bearer wrong", 401),
        ("Bearer s3cre", 401),
        ("Bearer s3cret2", 401),
        ("Bearer ", 401),
        ("Bearer", 401),
        ("Basic s3cret", 401),
        ("s3cret", 401),
        ("Bearer s3crét", 401),
        ("", 401),
    ],
)
def test_the_token(authorization: str, status: int) -> None:
    assert check(host="localhost", token="s3cret", authorization=authorization) == status


def test_a_token_is_asked_for_also_on_a_unix_socket() -> None:
    assert check(address=Address(path="/run/admin.sock"), token="s3cret") == 401


def test_a_wrong_host_is_refused_before_the_token_is_looked_at() -> None:
    assert check(host="evil.example", token="s3cret") == 403
