from __future__ import annotations

import logging
from typing import Any

import pytest

from clusters import run
from l4proxy import ConfigError, PeekInfo, TlsInfo
from l4proxy.plugins.rbac import Rbac, RbacStats
from l4proxy.protocols.proxy_protocol import encode_v1
from l4proxy.testing import Harness, check_filter, harness, use
from proxying import exchange, proxy

OFFICE = {"action": "allow", "policies": {"office": {"source": ["198.51.100.0/24"]}}}
NOT_OFFICE = {"action": "deny", "policies": {"office": {"source": ["198.51.100.0/24"]}}}


def stats(h: Harness, name: str = "") -> RbacStats:
    return h.stats.group(RbacStats, name=name)


def stranger() -> PeekInfo:
    return PeekInfo(("203.0.113.7", 40000), ("192.0.2.1", 80))


def test_who_is_allowed_passes() -> None:
    h = harness(Rbac, rules=OFFICE)
    h.client.send(b"hello")
    assert h.upstream.received == b"hello"
    assert h.connection.client.on_data == h.connection.upstream.write, "it reads no bytes"
    assert (stats(h).allowed_total, stats(h).fulfilled_total.values) == (1, {"office": 1})


def test_who_is_on_no_allow_list_is_denied_before_anything_is_connected() -> None:
    h = harness(Rbac, rules=OFFICE, info=stranger())
    assert str(h.closed) == "filter:rbac_denied:rbac phase=on_connect no policy allows it"
    assert h.finished
    assert h.client.received == b""
    assert h.terminal is None
    assert (stats(h).denied_total, stats(h).fulfilled_total.values) == (1, {})


def test_a_denying_policy_is_named() -> None:
    h = harness(Rbac, rules=NOT_OFFICE)
    assert str(h.closed) == "filter:rbac_denied:rbac phase=on_connect policy office"
    assert harness(Rbac, rules=NOT_OFFICE, info=stranger()).closed is None


def test_server_names_and_certificates_are_looked_at() -> None:
    rules = {"action": "allow", "policies": {"p": {"server_name": ["*.example.com"], "san": ["DNS:ann.test"]}}}
    info = stranger()
    info.server_name = "A.Example.com"
    assert harness(Rbac, rules=rules, info=info).closed is not None
    assert harness(Rbac, rules=rules, info=info, tls=TlsInfo(peer_sans=("DNS:ann.test",))).closed is None


def test_shadow_rules_only_count_and_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    h = harness(Rbac, shadow_rules=OFFICE, info=stranger(), name="trial")
    assert h.closed is None
    assert h.connection.state == {"rbac:shadow_result": "denied"}
    assert "shadow rules would deny 203.0.113.7:40000: no policy allows it" in caplog.text
    friend = h.another()
    assert friend.connection.state == {"rbac:shadow_result": "allowed", "rbac:shadow_policy": "office"}
    counted = stats(h, "trial")
    assert (counted.shadow_allowed_total, counted.shadow_denied_total) == (1, 1)
    assert counted.shadow_fulfilled_total.values == {"office": 1}
    assert (counted.allowed_total, counted.denied_total) == (0, 0)


def test_shadow_rules_beside_rules() -> None:
    h = harness(Rbac, rules=NOT_OFFICE, shadow_rules=OFFICE)
    assert h.closed is not None
    assert h.connection.state["rbac:shadow_result"] == "allowed"


def test_all_uses_in_a_chain_have_to_allow_it() -> None:
    h = harness(use(Rbac, rules=OFFICE), use(Rbac, rules=NOT_OFFICE, name="second"))
    assert h.closed is not None
    assert (stats(h).allowed_total, stats(h, "second").denied_total) == (1, 1)


def test_a_denied_connection_can_be_kept_for_a_while() -> None:
    h = harness(Rbac, rules=OFFICE, delay="1s", info=stranger())
    h.client.send(b"hello")
    h.advance(0.9)
    assert h.closed is None
    assert h.connection.client.received == 0
    h.advance(0.3)
    assert h.finished


def test_a_client_that_resets_while_it_is_kept() -> None:
    h = harness(Rbac, rules=OFFICE, delay="1s", info=stranger())
    h.client.reset()
    assert h.finished
    assert h.closed is not None
    assert h.closed.detail == "reset"
    h.advance(2)


def test_keeps_the_contract() -> None:
    check_filter(Rbac, client=[b"question", b"!"], upstream=[b"answer"], rules=OFFICE, shadow_rules=NOT_OFFICE)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "write rules, shadow_rules, or both"),
        ({"rules": {"action": "allow", "policies": {}}}, "rules.policies: write at least one"),
        ({"rules": {"policies": {"p": {}}}}, "rules.action: is missing"),
        ({"rules": {"action": "log", "policies": {"p": {}}}}, "rules.action: unknown value 'log'"),
        ({"rules": {"action": "deny", "policies": {"p": {"sources": []}}}}, "did you mean 'source'"),
        ({"rules": {"action": "deny", "policies": {"p": {"server_name": ["*x"]}}}}, "a star stands alone"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(Rbac, **options)


def test_real_connections_by_what_a_proxy_header_says() -> None:
    policies = {"lan": {"source": ["10.0.0.0/8"], "direct_source": ["127.0.0.0/8"]}}

    async def main() -> None:
        rbac = {"use": "rbac", "rules": {"action": "allow", "policies": policies}}
        async with proxy(rbac, "echo", listener={"preambles": ["proxy_protocol"]}) as running:
            friend = encode_v1(("10.1.2.3", 1), ("192.0.2.1", 2))
            other = encode_v1(("192.0.2.9", 1), ("192.0.2.1", 2))
            assert await exchange(running.port, friend + b"hello") == b"hello"
            assert await exchange(running.port, other, ends=False) == b""
            assert running.value("l4proxy_rbac_denied_total", name="") == 1

    run(main)
