from __future__ import annotations

from typing import Any

import pytest

from clusters import run
from l4proxy import ConfigError, Matcher, PeekInfo
from l4proxy.config import load_mapping
from l4proxy.config.schema import Config
from l4proxy.plugin_manager import load_plugins
from proxying import exchange, proxy


def load(**match: Any) -> Config:
    chain = {"match": match, "filters": [{"use": "echo"}]}
    return load_mapping({"listeners": [{"address": "127.0.0.1:0", "filter_chains": [chain]}]}, load_plugins().registry)


def matches(info: PeekInfo, **match: Any) -> bool | None:
    (use,) = load(**match).listeners[0].chains[0].match
    one: Matcher[Any] = use.cls(use.config)
    return one.match(b"", info)


def proxied() -> PeekInfo:
    """A client that a load balancer at 10.0.0.9 has told of, by a PROXY header."""
    info = PeekInfo(("203.0.113.7", 50000), ("192.0.2.1", 8443))
    info.direct_source = ("10.0.0.9", 40000)
    return info


@pytest.mark.parametrize(
    ("match", "answer"),
    [
        ({"source": ["203.0.113.0/24"]}, True),
        ({"source": ["10.0.0.0/8", "203.0.113.7"]}, True),
        ({"source": ["10.0.0.0/8"]}, False),
        ({"source": ["::/0"]}, False),
        ({"source": []}, False),
        ({"direct_source": ["10.0.0.0/8"]}, True),
        ({"direct_source": ["203.0.113.0/24"]}, False),
        ({"destination": ["192.0.2.0/31"]}, True),
        ({"destination": ["192.0.2.0/32"]}, False),
        ({"port": [8443]}, True),
        ({"port": [443, "8000-8443"]}, True),
        ({"port": ["8444-9000"]}, False),
        ({"source_port": ["49152-65535"]}, True),
        ({"source_port": [8443]}, False),
    ],
)
def test_what_matches(match: dict[str, Any], answer: bool) -> None:
    assert matches(proxied(), **match) is answer


def test_ipv6_and_mapped_addresses() -> None:
    assert matches(PeekInfo(("2001:db8::7", 1), ("::1", 2)), source=["2001:db8::/32"])
    assert matches(PeekInfo(("::ffff:203.0.113.7", 1), ("::1", 2)), source=["203.0.113.0/24"])
    assert matches(PeekInfo(("fe80::1%eth0", 1), ("::1", 2)), source=["fe80::/10"])


def test_a_unix_socket_is_in_no_network_and_on_no_port() -> None:
    unix = PeekInfo(("", 0), ("", 0))
    assert not matches(unix, source=["0.0.0.0/0", "::/0"])
    assert not matches(unix, port=["1-65535"])


@pytest.mark.parametrize(
    ("match", "cause"),
    [
        ({"source": ["10.0.0.1/8"]}, 'source\\[0\\]: .*write "10.0.0.0/8"'),
        ({"sources": ["10.0.0.0/8"]}, "did you mean 'source'"),
        ({"port": [70000]}, "70000 is not a port"),
        ({"port": ["9-8"]}, 'write "8-9"'),
        ({"port": 443}, "port: expected an array"),
    ],
)
def test_mistakes(match: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        load(**match)


def test_a_chain_is_chosen_before_the_client_says_a_word() -> None:
    def says(text: str, **match: Any) -> dict[str, Any]:
        return {"match": match, "filters": [{"use": "direct_response", "text": text}]}

    async def main() -> None:
        chains = [says("far", source=["192.0.2.0/24"]), says("port 1", port=[1]), says("near", source=["127.0.0.0/8"])]
        async with proxy(listener={"filters": (), "filter_chains": chains}) as running:
            assert await exchange(running.port, ends=False) == b"near"

    run(main)
