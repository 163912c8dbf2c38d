"""Clients that send pipelines and check every reply, while something happens to the servers."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Simple, decode
from services.redis import RedisConnection
from services.redis_cluster import RedisCluster
from services.redis_servers import wait_for

__all__ = ["Load", "load_while_a_primary_dies"]


class Load:
    """``with Load(port, clients=4) as load: ...``; then ``load.wrong`` and ``load.errors`` say how it went.

    An error is a right reply where something happens to the servers. A reply to another command, a counter that goes
    back, a value that is older than what the same client was told it had written are wrong. So is a list
    (``load.lists``) that has what its client has pushed in another order (``wrong_lists``).
    """

    def __init__(self, port: int, clients: int = 4) -> None:
        self.errors: Counter[str] = Counter()
        self.wrong: list[Any] = []
        self.replies = 0
        self.lists: set[str] = set()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(port, number), daemon=True) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wrong_lists(self, client: RedisConnection) -> list[list[int]]:
        values = [[int(value) for value in client.ask("LRANGE", name, "0", "-1")] for name in sorted(self.lists)]
        return [steps for steps in values if steps != sorted(set(steps))]

    def _run(self, port: int, number: int) -> None:
        try:
            with RedisConnection(port) as connection:
                _Client(self, connection, number).run(self._stopping)
        except Exception as error:
            self.wrong.append(error)


class _Client:
    def __init__(self, load: Load, connection: RedisConnection, number: int) -> None:
        self._load = load
        self._connection = connection
        self._number = number
        self._chance = random.Random(number)
        self._step = 0
        self._counted: Counter[str] = Counter()
        self._written: dict[str, bytes] = {}

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            commands = [self._command() for _ in range(self._chance.choice([1, 1, 3, 10, 30]))]
            self._connection.send(b"".join(encode_command(*(word.encode() for word in words)) for words in commands))
            for words in commands:
                self._check(words, decode(self._connection.reply())[0])

    def _command(self) -> list[str]:
        self._step += 1
        key, mark = f"load{self._number}:{self._chance.randrange(40)}", f"{self._number}.{self._step}"
        match self._chance.randrange(7):
            case 0 | 1:
                return ["INCR", f"count{key}"]
            case 2:
                return ["ECHO", mark]
            case 3:
                return ["SET", key, mark]
            case 4:
                return ["GET", key]
            case 5:
                self._load.lists.add(f"list{key}")
                return ["RPUSH", f"list{key}", str(self._step)]
        return ["MGET", f"a{mark}", f"b{mark}", f"c{mark}"]

    def _check(self, words: list[str], reply: Any) -> None:
        load, (name, key, *_) = self._load, words
        load.replies += 1
        if isinstance(reply, Failure):
            load.errors[reply.decode()] += 1
            self._written.pop(key, None)  # it may have been done or not
            self._counted.pop(key, None)
            return
        match name:
            case "RPUSH":
                right = isinstance(reply, int)
            case "INCR":
                right = isinstance(reply, int) and reply > self._counted[key]
                self._counted[key] = reply
            case "ECHO":
                right = reply == key.encode()
            case "SET":
                right = reply == b"OK"
                self._written[key] = words[2].encode()
            case "GET":
                right = reply == self._written.get(key, reply)
            case _:
                right = reply == [None] * 3 or all(isinstance(one, Failure | None) for one in reply)
        if not right:
            load.wrong.append((words, reply))


def load_while_a_primary_dies(port: int, cluster: RedisCluster) -> Load:
    """Through a proxy on this port. Ends when the proxy has found the new primary, and the cluster is well again."""
    primary = cluster.primary_of("a")
    replica = cluster.replica_of(primary)
    with Load(port) as load:
        cluster.kill(primary)
        wait_for("the replica takes over", lambda: "role:master" in cluster.ask(replica, "info", "replication"))
        with RedisConnection(port) as client:
            wait_for("the proxy knows", lambda: client.ask("SET", "a", "x") == Simple(b"OK"))
    cluster.start(primary)
    cluster.settle()
    return load
