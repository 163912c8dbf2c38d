from __future__ import annotations

import argparse
import urllib.request
from pathlib import Path

import pytest

from e2e.proxies import tcp
from l4proxy.cli.main import main
from l4proxy.plugins.redis.quick import Redis
from services.needs import needs
from services.process import HOST, free_port
from services.redis import RedisServer


@needs("redis-cli")
def test_the_command(tmp_path: Path, redis: RedisServer) -> None:
    with tcp(tmp_path, redis.port, command="redis") as proxy:
        assert redis.command("set", "test_quick", "1", port=proxy.port) == "OK"
        assert redis.command("get", "test_quick", port=proxy.port) == "1"
        assert redis.command("-3", "hello", port=proxy.port).startswith("server redis\n")
        proxy.ended("client:eof", times=3)


@needs("redis-cli")
def test_whoever_can_look_sees_keys(tmp_path: Path, redis: RedisServer) -> None:
    admin = f"{HOST}:{free_port()}"
    with tcp(tmp_path, redis.port, "--admin", admin, command="redis") as proxy:
        assert redis.command("set", "test_quick_hot", "1", port=proxy.port) == "OK"
        proxy.ended("client:eof")
        with urllib.request.urlopen(f"http://{admin}/tables?table=hot+keys") as page:
            assert b"test_quick_hot" in page.read()


@needs("redis-cli")
def test_message_filters(tmp_path: Path, redis: RedisServer) -> None:
    options = ("--use", "redis", "--redis", "block", "--redis", "fault:error=no")
    with tcp(tmp_path, redis.port, *options, command="redis") as proxy:
        assert (
            redis.command("flushall", port=proxy.port).strip()
            == "NOPERM FLUSHALL is blocked by this proxy (block: flush)"
        )
        assert redis.command("ping", port=proxy.port).strip() == "no"
        proxy.ended("client:eof", times=2)


@pytest.mark.parametrize(
    ("words", "balancer"),
    [
        (["cache1:1"], None),
        (["cache1:1", "cache2:1"], "ring_hash"),
        (["node1:1", "node2:1", "--topology", "cluster"], None),
    ],
)
def test_several_servers_divide_the_keys(words: list[str], balancer: str | None) -> None:
    parser = argparse.ArgumentParser()
    Redis().add_arguments(parser)
    (cluster,) = Redis().draft(parser.parse_args([":6380", *words])).config["clusters"]
    assert cluster.get("load_balancer") == balancer


@needs("redis-cli")
def test_nothing_dangerous_where_others_can_connect(tmp_path: Path, redis: RedisServer) -> None:
    port = free_port()
    with tcp(tmp_path, redis.port, listen=f"0.0.0.0:{port}", command="redis") as proxy:
        assert redis.command("set", "test_quick", "1", port=port) == "OK"
        assert redis.command("config", "get", "port", port=port).startswith("NOPERM CONFIG GET is blocked")
        proxy.wait_for_log("clients of 0.0.0.0:")
    with tcp(tmp_path, redis.port, "--allow-dangerous", listen=f"0.0.0.0:{port}", command="redis"):
        assert redis.command("config", "get", "port", port=port) == f"port\n{redis.port}"


def test_a_wrong_filter_is_said_in_words_of_the_option(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["redis", "127.0.0.1:0", "127.0.0.1:1", "--redis", "blok"]) == 2
    assert "--redis blok" in capfd.readouterr().err
