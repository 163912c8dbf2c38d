"""Client libraries and applications through ``redis_proxy``, in front of one server and of a Redis Cluster."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from e2e.proxies import Proxy, run, tcp
from l4proxy.protocols.redis.slots import slot_of
from services.needs import needs, program
from services.npm import node_modules
from services.process import HOST, free_port
from services.redis import RedisServer
from services.redis_cluster import RedisCluster

pytestmark = needs("redis-server", "redis-cli")


@pytest.fixture
def single(redis: RedisServer, tmp_path: Path) -> Iterator[Proxy]:
    with tcp(tmp_path, redis.port, command="redis") as proxy:
        yield proxy


@pytest.fixture
def clustered(redis_cluster: RedisCluster, tmp_path: Path) -> Iterator[Proxy]:
    redis_cluster.settle()
    port = free_port()
    config: dict[str, Any] = {
        "listeners": [
            {
                "address": f"{HOST}:{port}",
                "filters": [{"use": "redis_proxy", "cluster": "cache", "topology": "cluster"}],
            }
        ],
        "clusters": [{"name": "cache", "endpoints": redis_cluster.addresses[:2]}],
    }
    with run(tmp_path, config, port) as proxy:
        yield proxy


@pytest.fixture(params=["single", "clustered"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    proxy: Proxy = request.getfixturevalue(request.param)
    subprocess.run([program("redis-cli"), "-p", str(proxy.port), "flushall"], check=True, capture_output=True)
    return proxy


PROMPT = r":\d+(\([^)]*\))?> "
"""Also in a transaction: ``127.0.0.1:6379(TX)> ``."""


class Terminal:
    """``redis-cli`` at a terminal."""

    def __init__(self, port: int) -> None:
        self._terminal, other_side = pty.openpty()
        argv = ["setsid", "--ctty", "--wait", program("redis-cli"), "-p", str(port)]
        environment = {**os.environ, "TERM": "dumb"}
        self._process = subprocess.Popen(argv, stdin=other_side, stdout=other_side, stderr=other_side, env=environment)
        os.close(other_side)

    def read(self, until: str = PROMPT) -> str:
        shown = b""
        while not re.search(until.encode(), shown):
            assert select.select([self._terminal], [], [], 30)[0], shown
            shown += os.read(self._terminal, 65536)
        return shown.decode().replace("\r", "")

    def say(self, line: str, until: str = PROMPT) -> str:
        """What is shown below a line, up to the next prompt or some other words."""
        os.write(self._terminal, line.encode() + b"\n")
        return self.read(until).removeprefix(line).rpartition("\n")[0].strip()

    def interrupt(self) -> None:
        os.write(self._terminal, b"\x03")

    def close(self) -> None:
        os.close(self._terminal)
        self._process.wait()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_redis_cli_at_a_terminal(proxy: Proxy) -> None:
    with Terminal(proxy.port) as terminal:
        terminal.read()
        assert terminal.say("set a 1") == "OK"
        assert terminal.say("multi") == "OK"
        assert terminal.say("incr a") == "QUEUED"
        assert terminal.say("exec") == "1) (integer) 2"
        assert terminal.say("hello 3").startswith('1# "server" => "redis"')
        assert terminal.say("hgetall no") == "(empty hash)"
        assert terminal.say("client setname me") == "OK"
        assert terminal.say("client getname") == '"me"'
        assert terminal.say("subscribe news", until=r"\(integer\) 1\r\n").endswith("(integer) 1")
        terminal.interrupt()
        terminal.read()
        assert terminal.say("get a") == '"2"'
        assert terminal.say("monitor", until="OK\r\n") == "OK"
        terminal.interrupt()
        terminal.read()
        assert terminal.say("ping") == "PONG"
        assert terminal.say("reset") == "RESET"


def test_redis_cli_in_its_other_uses(proxy: Proxy) -> None:
    cli = [program("redis-cli"), "-p", str(proxy.port)]
    written = "".join(f"SET pipe:{number} x\r\n" for number in range(2000))
    piped = subprocess.run([*cli, "--pipe"], input=written, capture_output=True, text=True, check=True)
    assert "errors: 0, replies: 2000" in piped.stdout
    scanned = subprocess.run([*cli, "--scan", "--pattern", "pipe:1*"], capture_output=True, text=True, check=True)
    assert len(scanned.stdout.split()) == 1111
    sampled = subprocess.run([*cli, "--bigkeys"], capture_output=True, text=True, check=True)
    assert "Sampled 2000 keys" in sampled.stdout


def test_redis_py(proxy: Proxy, request: pytest.FixtureRequest) -> None:
    library = pytest.importorskip("redis", reason="redis (redis-py) is not installed")
    for protocol in (2, 3):
        with library.Redis(port=proxy.port, protocol=protocol, decode_responses=True) as client:
            pipeline = client.pipeline(transaction=False)
            for number in range(200):
                pipeline.set(f"py:{number}", number).get(f"py:{number}")
            assert pipeline.execute()[1::2] == [str(number) for number in range(200)]
            assert client.pipeline().incr("{py}a").incrby("{py}a", 2).delete("{py}a").execute() == [1, 3, 1]
            client.transaction(lambda one: one.multi() or one.incr("{py}n"), "{py}n")
            with client.pubsub() as listener:
                listener.subscribe("py:news")
                assert listener.get_message(timeout=30)["type"] == "subscribe"
                client.publish("py:news", "hi")
                assert listener.get_message(timeout=30)["data"] == "hi"
            script = client.register_script("return {KEYS[1], ARGV[1]}")
            assert script(keys=["py:k"], args=["v"]) == ["py:k", "v"]
            with client.lock("py:lock", timeout=5):
                assert client.blpop("py:no", timeout=0.05) is None
            assert len(list(client.scan_iter("py:1*"))) == 111
    if "clustered" in request.node.name:
        with library.RedisCluster(host=HOST, port=proxy.port) as cluster:
            assert [cluster.get(f"py:{number}") for number in range(20)] == [b"%d" % number for number in range(20)]
            assert len(cluster.get_nodes()) == 1
            with cluster.pubsub() as listener:
                listener.ssubscribe("py:shard")
                assert listener.get_sharded_message(timeout=30)["type"] == "ssubscribe"
                cluster.spublish("py:shard", "hi")
                assert listener.get_sharded_message(timeout=30)["data"] == b"hi"


def test_redis_py_while_slots_are_moved(clustered: Proxy, redis_cluster: RedisCluster) -> None:
    """Every INCR is done once, one by one and in pipelines, and what blocks gets all that is pushed, in order."""
    library = pytest.importorskip("redis", reason="redis (redis-py) is not installed")
    tags = "mnopqrst"
    stopping = threading.Event()

    def count(number: int) -> dict[str, int]:
        done = dict.fromkeys((f"{{{tag}}}py{number}" for tag in tags), 0)
        with library.Redis(port=clustered.port, socket_timeout=60) as client:
            client.delete(*done)
            while not stopping.is_set():
                pipeline = client.pipeline(transaction=False)
                for key in done:
                    pipeline.incr(key).incr(key)
                told = pipeline.execute()
                for key, two in zip(done, zip(told[::2], told[1::2], strict=True), strict=True):
                    assert two == (done[key] + 1, done[key] + 2)
                    done[key] = client.incr(key)
        return done

    def push() -> int:
        pushed = 0
        with library.Redis(port=clustered.port, socket_timeout=60) as client:
            while not stopping.is_set():
                client.rpush("{m}jobs", pushed)
                pushed += 1
            client.rpush("{m}jobs", "end")
        return pushed

    def pop() -> list[bytes]:
        popped: list[bytes] = []
        with library.Redis(port=clustered.port, socket_timeout=60) as client:
            while popped[-1:] != [b"end"]:
                popped.append(client.blpop("{m}jobs", timeout=50)[1])
        return popped

    owners = redis_cluster.owners()
    with ThreadPoolExecutor(max_workers=4) as threads:
        counts = [threads.submit(count, number) for number in range(2)]
        pushed, popped = threads.submit(push), threads.submit(pop)
        try:
            slots = [slot_of(tag.encode()) for tag in tags]
            targets = [next(port for port in owners.values() if port != owners[slot]) for slot in slots]
            for slot, target in zip(slots, targets, strict=True):
                redis_cluster.move_slot(slot, owners[slot], target)
            for slot, target in zip(slots, targets, strict=True):
                redis_cluster.move_slot(slot, target, owners[slot])
        finally:
            stopping.set()
        assert popped.result() == [*(b"%d" % number for number in range(pushed.result())), b"end"]
        done = {key: times for one in counts for key, times in one.result().items()}
    with library.Redis(port=clustered.port) as client:
        assert client.mget(list(done)) == [b"%d" % times for times in done.values()]


JOBS = """
import sys
from redis import Redis
from rq import Queue, SimpleWorker
connection = Redis(port=int(sys.argv[1]))
queue = Queue(connection=connection)
jobs = [queue.enqueue(pow, 2, number) for number in range(20)]
SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")
assert [job.return_value() for job in jobs] == [2**number for number in range(20)]
"""


def test_rq(single: Proxy) -> None:
    """Jobs, workers and results: transactions, what blocks, messages, scripts."""
    pytest.importorskip("rq", reason="rq is not installed")
    done = subprocess.run([sys.executable, "-c", JOBS, str(single.port)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@needs("node")
@pytest.mark.parametrize(
    ("name", "version", "script"), [("ioredis", "6.0.0", "ioredis.cjs"), ("redis", "6.3.1", "node_redis.cjs")]
)
def test_javascript(name: str, version: str, script: str, proxy: Proxy, request: pytest.FixtureRequest) -> None:
    modules = node_modules(name, version)
    argv = [program("node"), str(Path(__file__).with_name("clients") / script), str(proxy.port)]
    argv += ["cluster"] if "clustered" in request.node.name else []
    environment = {**os.environ, "NODE_PATH": str(modules / "node_modules")}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr[-2000:]
