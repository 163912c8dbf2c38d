"""Redis: commands, load, pipelines, subscriptions, large values."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.proxies import Proxy, tcp
from services.needs import needs, program
from services.process import HOST
from services.redis import RedisServer


@pytest.fixture
def proxy(redis: RedisServer, tmp_path: Path) -> Iterator[Proxy]:
    with tcp(tmp_path, redis.port) as proxy:
        yield proxy


@needs("redis-cli")
def test_commands(redis: RedisServer, proxy: Proxy) -> None:
    assert redis.command("set", "e2e:key", "value", port=proxy.port) == "OK"
    assert redis.command("get", "e2e:key", port=proxy.port) == "value"
    assert "unknown command" in redis.command("nonsense", port=proxy.port)
    proxy.ended("client:eof", "flags=-", times=3)


@needs("redis-benchmark")
@pytest.mark.parametrize("pipeline", [1, 16])
def test_load(proxy: Proxy, pipeline: int) -> None:
    load = [program("redis-benchmark"), "-p", str(proxy.port), "-P", str(pipeline), "-c", "50", "-n", "10000", "--csv"]
    done = subprocess.run([*load, "-t", "set,get,lpush,lrange_100"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 5
    proxy.ended(times=50)


def test_a_value_of_32_mib_both_ways(redis: RedisServer, proxy: Proxy) -> None:
    value = bytes(range(256)) * (32 << 12)
    with socket.create_connection((HOST, proxy.port), timeout=30) as client:
        client.sendall(b"*3\r\n$3\r\nSET\r\n$9\r\ne2e:large\r\n$%d\r\n%b\r\n" % (len(value), value))
        client.sendall(b"*2\r\n$3\r\nGET\r\n$9\r\ne2e:large\r\n*2\r\n$3\r\nDEL\r\n$9\r\ne2e:large\r\n")
        reply = client.makefile("rb")
        assert reply.readline() == b"+OK\r\n"
        assert reply.readline() == b"$%d\r\n" % len(value)
        assert reply.read(len(value) + 2) == value + b"\r\n"
        assert reply.readline() == b":1\r\n"


@needs("redis-cli")
def test_a_subscriber_hears_what_others_publish(redis: RedisServer, proxy: Proxy) -> None:
    subscribe = [program("redis-cli"), "-p", str(proxy.port), "subscribe", "e2e:news"]
    with subprocess.Popen(subscribe, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        heard = [subscriber.stdout.readline() for _ in range(3)]
        assert heard == ["subscribe\n", "e2e:news\n", "1\n"]
        for news in ("one", "two"):
            assert redis.command("publish", "e2e:news", news, port=proxy.port) == "1"
            heard = [subscriber.stdout.readline() for _ in range(3)]
            assert heard == ["message\n", "e2e:news\n", f"{news}\n"]
        subscriber.terminate()
    proxy.ended("client:eof", times=3)
