"""What the options of ``redis_proxy`` refuse."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.address import Address
from l4proxy.config.schema import Listener
from l4proxy.config.types import Use
from l4proxy.errors import ConfigError
from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.plugins.redis_block import RedisBlock
from l4proxy.testing import use


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "write cluster, or routes, or both"),
        ({"cluster": "c", "username": "x"}, "username: needs a password beside it"),
        ({"routes": [{"prefix": "a", "cluster": "c"}], "read_cluster": "d"}, "read_cluster: and mirrors go with"),
        ({"routes": [{"prefix": "", "cluster": "c"}]}, "prefix: is not empty"),
        ({"routes": [{"prefix": "a", "cluster": "c", "strip": True, "replace": "b"}]}, "replace: is instead of strip"),
        ({"cluster": "c", "addresses": {"10.0.0.1": "cache.example:1"}}, "'cache.example:1' is not an IP address"),
        ({"cluster": "cache", "upstreams": [{"cluster": "cach"}]}, "did you mean 'cache'"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        use(RedisProxy, **options)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("told", "real"),
    [
        (("10.0.0.1", 6379), ("192.0.2.1", 7001)),
        (("10.0.0.1", 6380), ("192.0.2.9", 6380)),
        (("10.0.0.2", 6379), ("10.0.0.2", 6379)),
        (("fd00::1", 6379), ("2001:db8::1", 7001)),
        (("fd00::2", 6379), ("2001:db8::2", 6379)),
    ],
)
def test_where_servers_really_are(told: tuple[str, int], real: tuple[str, int]) -> None:
    addresses = {
        "10.0.0.1:6379": "192.0.2.1:7001",
        "10.0.0.1": "192.0.2.9",
        "[fd00::1]:6379": "[2001:db8::1]:7001",
        "fd00::2": "2001:db8::2",
    }
    _, config, _ = use(RedisProxy, cluster="c", addresses=addresses)
    assert config.real_address(*told) == real


@pytest.mark.parametrize(
    ("address", "options", "names"),
    [
        ("127.0.0.1:6380", {}, []),
        ("unix:/run/redis.sock", {}, []),
        (":6380", {}, ["block"]),
        ("192.0.2.1:6380", {}, ["block"]),
        (":6380", {"block_dangerous": False}, []),
    ],
)
def test_what_is_dangerous_is_blocked_where_others_can_connect(
    address: str, options: dict[str, Any], names: list[str]
) -> None:
    said: list[str] = []
    _, config, _ = use(RedisProxy, cluster="c", **options)
    placed = RedisProxy.placed(config, Listener(Address.parse(address), filters=(Use("redis_proxy"),)), said.append)
    assert [one.name for one in placed.filters] == names
    assert [address in one for one in said] == [True] * len(names)


def test_a_filter_of_ones_own_counts_instead() -> None:
    cls, options, _ = use(RedisBlock, keys=False)
    _, config, _ = use(RedisProxy, cluster="c", filters=[Use("block", options, cls=cls)])
    listener = Listener(Address("", 6380), filters=(Use("redis_proxy"),))
    assert RedisProxy.placed(config, listener, print) is config
