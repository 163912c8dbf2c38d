"""The contract of matchers and preambles: what they are given, and what they need not say."""

from __future__ import annotations

import pytest

from l4proxy.matcher import Matcher, PeekInfo, Preamble, PreambleResult


def test_what_is_known_at_first() -> None:
    info = PeekInfo(("198.51.100.1", 40000), ("192.0.2.1", 80))
    assert info.direct_source == info.source == ("198.51.100.1", 40000)
    assert info.direct_destination == info.destination == ("192.0.2.1", 80)
    assert (info.server_name, info.application_protocols, info.protocol, info.tlvs) == ("", (), "", {})
    info.source = info.destination = ("203.0.113.9", 1)
    assert (info.direct_source, info.direct_destination) == (("198.51.100.1", 40000), ("192.0.2.1", 80))


def test_two_connections_share_nothing() -> None:
    one, other = (PeekInfo(("", 0), ("", 0)) for _ in range(2))
    one.tlvs[1] = b"x"
    assert other.tlvs == {}
    assert PreambleResult(0).tlvs is not PreambleResult(0).tlvs


def test_a_preamble_need_not_say_anything() -> None:
    result = PreambleResult(12)
    assert (result.consumed, result.client, result.destination, result.tlvs) == (12, None, None, {})


@pytest.mark.parametrize("base", [Matcher, Preamble])
def test_one_that_decides_nothing_cannot_be_made(base: type[Matcher[bool]] | type[Preamble[bool]]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        base(True)
