"""What the options of ``redis_proxy`` refuse."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.errors import ConfigError
from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.testing import use


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "write cluster, or routes, or both"),
        ({"cluster": "c", "username": "x"}, "username: needs a password beside it"),
        ({"routes": [{"prefix": "a", "cluster": "c"}], "read_cluster": "d"}, "read_cluster: and mirrors go with"),
        ({"routes": [{"prefix": "", "cluster": "c"}]}, "prefix: is not empty"),
        ({"routes": [{"prefix": "a", "cluster": "c", "strip": True, "replace": "b"}]}, "replace: is instead of strip"),
        ({"cluster": "cache", "upstreams": [{"cluster": "cach"}]}, "did you mean 'cache'"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        use(RedisProxy, **options)
    assert problem in str(refused.value)
