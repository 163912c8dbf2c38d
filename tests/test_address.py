"""Addresses as people write them, and what is said of those that are none."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.address import Address, AddressRange, format_host_port, in_ranges

PORTS = st.integers(0, 65535)
NAMES = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10})(\.[a-z0-9]{1,5}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("db.test:5432", Address("db.test", 5432)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        (":8080", Address("", 8080)),
        ("[::1]:80", Address("::1", 80)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
        ("unix:@app", Address(path="@app")),
        ("unix:relative.sock", Address(path="relative.sock")),
    ],
)
def test_what_can_be_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address == Address.from_config(text)
    assert str(address) == text
    assert address.is_unix == text.startswith("unix:")


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/app.sock", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.0.2.1:1", False),
        ("127.example.com:1", False),
    ],
)
def test_who_can_connect(text: str, local: bool) -> None:
    assert Address.parse(text).is_local is local


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no port"),
        ("db.test", "has no port (write host:port, :port, [::1]:port or unix:/path)"),
        ("db.test:", "'' is not a port"),
        ("db.test:http", "'http' is not a port (0 to 65535)"),
        ("db.test:65536", "'65536' is not a port"),
        ("db.test:-1", "'-1' is not a port"),
        ("db.test:+1", "'+1' is not a port"),
        ("db.test:٣", "is not a port"),
        ("::1:80", "an IPv6 address stands in brackets (write [::1]:80)"),
        ("[::g]:80", "'::g' is not an IPv6 address"),
        ("[127.0.0.1]:80", "'127.0.0.1' is not an IPv6 address"),
        ("http://db.test:80/", "is a URL (write host:port)"),
        ("db.test/x:80", "'db.test/x' is not a host name"),
        ("[::1:80", "'[::1' is not a host name"),
        (" db.test:80", "is not a host name"),
        ("db\0test:80", "is not a host name"),
        ("unix:", "has no path"),
        ("unix:@", "has no path"),
        ("unix:/a\0b", "a path has no NUL"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/" + "é" * 54, "at most 107 bytes"),
    ],
)
def test_what_cannot_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        Address.parse(text)
    assert repr(text) in str(refused.value)
    assert why in str(refused.value)


@pytest.mark.parametrize("raw", [8080, None, ["127.0.0.1:80"]])
def test_a_configuration_writes_text(raw: object) -> None:
    with pytest.raises(ValueError, match=r'such as "127\.0\.0\.1:8080"'):
        Address.from_config(raw)


@given(st.one_of(NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)), PORTS)
def test_what_is_printed_is_read_again(host: str, port: int) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address
    assert str(address) == format_host_port(host, port)


@given(st.ip_addresses(v=6), PORTS)
def test_ipv6_addresses_stand_in_brackets(host: ipaddress.IPv6Address, port: int) -> None:
    assert format_host_port(str(host), port) == f"[{host}]:{port}"


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("127.0.0.1:9092-9095", AddressRange("127.0.0.1", 9092, 9095)),
        (":80-80", AddressRange("", 80, 80)),
        ("[::1]:80-1079", AddressRange("::1", 80, 1079)),
        ("some-host:1-2", AddressRange("some-host", 1, 2)),
    ],
)
def test_a_range_of_ports_can_be_written(text: str, ports: AddressRange) -> None:
    assert AddressRange.parse(text) == ports
    assert str(ports) == text
    assert ports.addresses == tuple(Address(ports.host, port) for port in range(ports.first, ports.last + 1))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("host:80", "is not a range of ports (write host:first-last)"),
        ("host-80", "is not a range of ports"),
        ("unix:/tmp/a:1-2", "is not a range of ports"),
        ("host:0-9", "0-9 is not a range of ports (1-65535)"),
        ("host:9-8", "9-8 is not a range of ports"),
        ("host:65530-65536", "is not a range of ports"),
        ("host:1-1001", "has 1001 ports (at most 1000)"),
        ("a b:1-2", "is not a host name"),
    ],
)
def test_what_is_wrong_with_a_range(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        AddressRange.parse(text)


def test_people_are_shown_ranges() -> None:
    some = [Address("::", port) for port in (1, 2, 3, 5, 6)] + [Address("0.0.0.0", port) for port in (1, 2)]
    assert in_ranges([some[5], *some[:5], some[6], Address(path="@x")]) == [
        "0.0.0.0:1", "0.0.0.0:2", "[::]:1-3", "[::]:5", "[::]:6", "unix:@x",
    ]  # fmt: skip
    assert in_ranges([]) == []
