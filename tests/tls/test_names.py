"""Names in certificates, and which of them a rule allows."""

from __future__ import annotations

import pytest

from l4proxy.tls.names import SanRules, distinguished_name, peer_names, peer_subject


@pytest.mark.parametrize(
    ("rdns", "text"),
    [
        ([], ""),
        ([[("C", "DE")], [("O", "Example")], [("CN", "a.test")]], "CN=a.test,O=Example,C=DE"),
        ([[("CN", "a"), ("UID", "7")]], "CN=a+UID=7"),
        ([[("CN", 'a,b+c"d\\e<f>g;h')]], 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h'),
        ([[("CN", " a b ")]], "CN=\\ a b\\ "),
        ([[("CN", "#a#")]], "CN=\\#a#"),
        ([[("CN", "a\0b")]], "CN=a\\00b"),
    ],
)
def test_distinguished_names(rdns: list[list[tuple[str, str]]], text: str) -> None:
    assert distinguished_name(rdns) == text


def test_what_openssl_says_of_a_peer() -> None:
    certificate = {
        "subject": ((("organizationName", "Example"),), (("commonName", "a.test"),), (("title", "Dr"),)),
        "subjectAltName": (
            ("DNS", "A.test"),
            ("IP Address", "2001:DB8:0:0:0:0:0:1\n"),
            ("IP Address", "<invalid>"),
            ("URI", "spiffe://a.test/b"),
        ),
    }
    assert peer_subject(certificate) == "title=Dr,CN=a.test,O=Example"
    assert peer_names(certificate) == [
        ("DNS", "A.test"),
        ("IP Address", "2001:db8::1"),
        ("IP Address", "<invalid>"),
        ("URI", "spiffe://a.test/b"),
    ]
    assert peer_names({}) == []


@pytest.mark.parametrize(
    ("rule", "kind", "name", "allowed"),
    [
        ("a.test", "DNS", "a.test", True),
        ("A.test", "DNS", "a.TEST", True),
        ("a.test", "DNS", "b.a.test", False),
        ("a.test", "email", "a.test", False),
        ("*.a.test", "DNS", "b.a.test", True),
        ("*.a.test", "DNS", "c.b.a.test", True),
        ("*.a.test", "DNS", "a.test", False),
        ("*.a.test", "URI", "https://b.a.test", False),
        ("10.0.0.1", "IP Address", "10.0.0.1", True),
        ("10.0.0.1", "DNS", "10.0.0.1", False),
        ("2001:DB8::1", "IP Address", "2001:db8::1", True),
        ("ann@A.test", "email", "Ann@a.test", True),
        ("spiffe://a.test/b", "URI", "spiffe://a.test/b", True),
        ("spiffe://a.test/b", "URI", "spiffe://A.test/b", False),
        ("spiffe://a.test/b", "URI", "spiffe://a.test/b/c", False),
        ("spiffe://a.test/b/*", "URI", "spiffe://a.test/b/c/d", True),
        ("spiffe://a.test/b/*", "URI", "spiffe://a.test/bc", False),
        ("spiffe://a.test/b/*", "URI", "spiffe://a.test/b", False),
        ("spiffe://a.test/*", "DNS", "spiffe://a.test/b", False),
        ("urn:a:b", "URI", "urn:a:b", True),
    ],
)
def test_rules(rule: str, kind: str, name: str, allowed: bool) -> None:
    rules = SanRules([rule], "sans")
    assert rules
    assert rules.allow([("DNS", "else.test"), (kind, name)]) is allowed


def test_one_rule_is_enough_and_none_allows_nothing() -> None:
    assert SanRules(["a.test", "*.b.test", "spiffe://c/*"], "sans").allow([("DNS", "x.b.test")])
    assert not SanRules(["a.test"], "sans").allow([])
    assert not SanRules([], "sans")


@pytest.mark.parametrize(
    "rule",
    [
        "*",
        "a.*",
        "*a.test",
        "a.*.test",
        "*.*.test",
        "*@a.test",
        "spiffe://*",
        "spiffe://*/b",
        "spiffe://a/*/b",
        "urn:*",
    ],
)
def test_a_star_that_stands_elsewhere_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match=r"^client_sans: .*\* can only stand in front of a host name's suffix"):
        SanRules(["fine.test", rule], "client_sans")
