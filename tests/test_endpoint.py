from __future__ import annotations

import socket

import pytest

from l4proxy.address import Address
from l4proxy.endpoint import Endpoint, EndpointSpec, Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.0.0.1:80", Target(socket.AF_INET, ("10.0.0.1", 80), False)),
        ("127.0.0.5:80", Target(socket.AF_INET, ("127.0.0.5", 80), True)),
        ("[::1]:80", Target(socket.AF_INET6, ("::1", 80), True)),
        ("[fe80::1%eth0]:80", Target(socket.AF_INET6, ("fe80::1%eth0", 80), False)),
        ("unix:/run/s", Target(socket.AF_UNIX, "/run/s", False)),
        ("unix:@name", Target(socket.AF_UNIX, "\0name", False)),
    ],
)
def test_addresses_as_the_system_takes_them(text: str, target: Target) -> None:
    assert Target.of(Address.parse(text)) == target


@pytest.mark.parametrize("text", ["db:80", ":80", "999.1.1.1:80"])
def test_a_host_name_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP address"):
        Target.of(Address.parse(text))


def test_an_endpoint_is_named_after_its_address() -> None:
    endpoint = Endpoint(EndpointSpec.of_address(Address.parse("[::1]:80"), hostname="db", weight=3))
    assert (endpoint.name, endpoint.hostname, endpoint.weight) == ("[::1]:80", "db", 3)
    assert repr(endpoint) == "<Endpoint [::1]:80 weight=3 active=0>"
    endpoint.draining = True
    assert repr(endpoint).endswith(" draining>")
