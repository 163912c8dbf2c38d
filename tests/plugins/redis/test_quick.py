from __future__ import annotations

from pathlib import Path

from e2e.proxies import tcp
from services.needs import needs
from services.redis import RedisServer


@needs("redis-cli")
def test_the_command(tmp_path: Path, redis: RedisServer) -> None:
    with tcp(tmp_path, redis.port, command="redis") as proxy:
        assert redis.command("set", "test_quick", "1", port=proxy.port) == "OK"
        assert redis.command("get", "test_quick", port=proxy.port) == "1"
        assert redis.command("-3", "hello", port=proxy.port).startswith("server redis\n")
        proxy.ended("client:eof", times=3)
