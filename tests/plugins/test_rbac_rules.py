from __future__ import annotations

from typing import Any

import pytest

from l4proxy import TlsInfo
from l4proxy.config.structure import structure
from l4proxy.plugins.rbac_rules import Engine, Facts, RbacRules
from l4proxy.registry import Registry

TLS = TlsInfo(
    peer_subject="CN=ann,O=Example",
    peer_sans=(
        "DNS:ann.example.com",
        "URI:spiffe://example.com/web/1",
        "IP Address:192.0.2.7",
        "email:ann@example.com",
    ),
)
FACTS = Facts("203.0.113.7", "10.0.0.9", "192.0.2.1", 8443, "a.example.com", TLS)


def engine(action: str = "allow", **policies: dict[str, Any]) -> Engine:
    return Engine(structure(RbacRules, {"action": action, "policies": policies}, registry=Registry()))


def fulfils(facts: Facts = FACTS, **policy: Any) -> bool:
    return engine(p=policy).decide(facts)[0]


@pytest.mark.parametrize(
    ("policy", "fulfilled"),
    [
        ({}, True),
        ({"source": ["203.0.113.0/24"]}, True),
        ({"source": ["10.0.0.0/8", "203.0.113.7"]}, True),
        ({"source": ["10.0.0.0/8"]}, False),
        ({"direct_source": ["10.0.0.0/8"]}, True),
        ({"direct_source": ["203.0.113.0/24"]}, False),
        ({"destination": ["192.0.2.1"]}, True),
        ({"destination": ["192.0.2.2"]}, False),
        ({"port": [443, "8000-8999"]}, True),
        ({"port": [443]}, False),
        ({"server_name": ["a.example.com"]}, True),
        ({"server_name": ["A.Example.com"]}, True),
        ({"server_name": ["*.example.com"]}, True),
        ({"server_name": ["*"]}, True),
        ({"server_name": ["example.com", "*.a.example.com"]}, False),
        ({"subject": ["CN=ann,O=Example"]}, True),
        ({"subject": ["CN=ann,*"]}, True),
        ({"subject": ["CN=ann"]}, False),
        ({"subject": ["cn=ann,*"]}, False),
        ({"source": ["203.0.113.0/24"], "port": [8443], "subject": ["*"]}, True),
        ({"source": ["203.0.113.0/24"], "port": [8444], "subject": ["*"]}, False),
    ],
)
def test_conditions(policy: dict[str, Any], fulfilled: bool) -> None:
    assert fulfils(**policy) is fulfilled


@pytest.mark.parametrize(
    ("pattern", "fulfilled"),
    [
        ("DNS:ann.example.com", True),
        ("DNS:Ann.Example.COM", True),
        ("ANN.example.com", True),
        ("*.example.com", True),
        ("DNS:*.example.com", True),
        ("DNS:*.com", True),
        ("example.com", False),
        ("ann.example.com.evil", False),
        ("URI:spiffe://example.com/web/1", True),
        ("URI:spiffe://example.com/web/*", True),
        ("spiffe://example.com/*/1", True),
        ("spiffe://example.com/WEB/1", False),
        ("URI:spiffe://example.com/we", False),
        ("IP Address:192.0.2.7", True),
        ("192x0x2x7", False),
        ("email:ann@example.com", True),
        ("URI:*.example.com", False),
        ("DNS:spiffe://*", False),
        ("*", True),
        ("DNS:*", True),
    ],
)
def test_alternative_names(pattern: str, fulfilled: bool) -> None:
    assert fulfils(san=[pattern]) is fulfilled


def test_a_kind_is_not_taken_from_inside_a_name() -> None:
    disguised = FACTS._replace(tls=TlsInfo(peer_sans=("URI:DNS:admin.example.com",)))
    assert not fulfils(disguised, san=["DNS:admin.example.com"])


def test_without_a_certificate_there_is_nothing_to_fulfil() -> None:
    plain = FACTS._replace(tls=TlsInfo())
    assert not fulfils(plain, san=["*"])
    assert not fulfils(plain, subject=["*"])


def test_without_a_server_name_there_is_none_to_fulfil() -> None:
    assert not fulfils(FACTS._replace(server_name=""), server_name=["*"])


def test_a_unix_socket_is_in_no_network() -> None:
    unix = Facts("", "", "", 0, "", TlsInfo())
    assert not fulfils(unix, source=["0.0.0.0/0", "::/0"])
    assert fulfils(unix)


def test_the_first_policy_that_is_fulfilled_decides_and_is_named() -> None:
    policies: dict[str, Any] = {"none": {"port": [1]}, "first": {"port": [8443]}, "second": {}}
    assert engine("allow", **policies).decide(FACTS) == (True, "first")
    assert engine("deny", **policies).decide(FACTS) == (False, "first")


def test_who_fulfils_none_is_denied_by_an_allow_list_only() -> None:
    assert engine("allow", none={"port": [1]}).decide(FACTS) == (False, "")
    assert engine("deny", none={"port": [1]}).decide(FACTS) == (True, "")
