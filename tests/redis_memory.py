"""``redis_proxy`` in memory: clients, and servers that answer what a test can foretell, piece by piece as it says."""

from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy.config.types import Use
from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.protocols.redis.codec import ReplyCodec, RequestCodec
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Map, Push, Simple, encode
from l4proxy.testing import End, Harness, use
from memory_cluster import MemoryCluster, memory_cluster

__all__ = ["Client", "FakeServer", "RedisMemory", "is_upstream_error", "memory_cluster", "redis_memory"]


class FakeServer:
    """A server's side of one connection. It keeps no data: what it answers says what it was asked.

    ``ECHO x`` is ``x``, and so is each of ``MGET``; ``GETRANGE`` is as long as it says. Transactions, subscriptions,
    ``SELECT``, ``HELLO`` and ``AUTH`` are as in Redis; ``BLPOP`` waits for ever, ``STRLEN`` fails for keys that end in
    ``!``. Anything else is answered with its own words, behind the database that is selected.
    """

    def __init__(self, end: End, password: bytes = b"", knows_resp3: bool = True) -> None:
        self.end = end
        self.address = ""
        self.knows_resp3 = knows_resp3
        self.password = password
        self.commands: list[list[bytes]] = []
        """All it was asked, in order."""
        self.replies = bytearray()
        """What it has to say and has not said."""
        self.protocol = 2
        self.database = b"0"
        self.user = b""
        self.queued: list[list[bytes]] | None = None
        self.channels: list[bytes] = []
        self.blocked = False
        self._codec = RequestCodec()
        self._read = 0

    def work(self) -> None:
        """Read what has come, and have the replies ready."""
        data = bytes(self.end.sock.taken[self._read :])
        self._read += len(data)
        for command in self._codec.receive_data(data) if data else ():
            self.commands.append(command.arguments)
            if not self.blocked:
                self._answer(command.arguments)

    def say(self, size: int | None = None) -> None:
        """Send so many bytes of what it has to say, or all."""
        size = len(self.replies) if size is None else size
        data = bytes(self.replies[:size])
        del self.replies[:size]
        if data:
            self.end.send(data)

    def serve(self) -> None:
        self.work()
        self.say()

    def reply(self, value: Any) -> None:
        self.replies += encode(value, self.protocol)

    def push(self, *words: bytes) -> None:
        self.reply(Push(words) if self.protocol == 3 else list(words))

    def _answer(self, words: list[bytes]) -> None:
        name = words[0].upper()
        method = getattr(self, f"_{name.decode().lower()}", None)
        if self.password and not self.user and name not in (b"AUTH", b"HELLO"):
            self.reply(Failure(b"NOAUTH Authentication required."))
        elif self.queued is not None and name not in (b"EXEC", b"DISCARD", b"MULTI"):
            self.queued.append(words)
            self.reply(Simple(b"QUEUED"))
        elif method is not None:
            method(words)
        else:
            self.reply(self._own_words(words))

    def _own_words(self, words: list[bytes]) -> Any:
        return words[1] if words[0].upper() == b"ECHO" else b" ".join([self.database, self.user, *words])

    def _multi(self, _words: list[bytes]) -> None:
        self.queued = []
        self.reply(Simple(b"OK"))

    def _exec(self, _words: list[bytes]) -> None:
        queued, self.queued = self.queued, None
        if queued is None:
            self.reply(Failure(b"ERR EXEC without MULTI"))
        else:
            self.reply([self._own_words(words) for words in queued])

    def _discard(self, _words: list[bytes]) -> None:
        self.queued = None
        self.reply(Simple(b"OK"))

    def _select(self, words: list[bytes]) -> None:
        if not words[1].isdigit() or int(words[1]) > 15:
            self.reply(Failure(b"ERR DB index is out of range"))
        else:
            self.database = words[1]
            self.reply(Simple(b"OK"))

    def _auth(self, words: list[bytes]) -> None:
        if words[-1] == self.password:
            self.user = words[1] if len(words) == 3 else b"default"
            self.reply(Simple(b"OK"))
        else:
            self.reply(Failure(b"WRONGPASS invalid username-password pair or user is disabled."))

    def _info(self, _words: list[bytes]) -> None:
        self.reply(b"# Server\r\nredis_version:5.0.1\r\nredis_mode:standalone\r\nrole:master\r\n")

    def _hgetall(self, _words: list[bytes]) -> None:
        self.reply(Map([(b"field", b"value")]))

    def _hello(self, words: list[bytes]) -> None:
        if not self.knows_resp3:
            self.reply(Failure(b"ERR unknown command `HELLO`, with args beginning with: `3`, "))
            return
        if len(words) > 4 and words[4] != self.password:
            self.reply(Failure(b"WRONGPASS invalid username-password pair or user is disabled."))
            return
        if len(words) > 4:
            self.user = words[3]
        if len(words) > 1:
            self.protocol = int(words[1])
        self.reply(Map([(b"proto", self.protocol)]))

    def _client(self, words: list[bytes]) -> None:
        self.reply(Simple(b"OK"))

    def _mget(self, words: list[bytes]) -> None:
        self.reply(words[1:])

    def _getrange(self, words: list[bytes]) -> None:
        self.reply(b"x" * (int(words[3]) - int(words[2]) + 1))

    def _strlen(self, words: list[bytes]) -> None:
        self.reply(Failure(b"WRONGTYPE " + words[1]) if words[1].endswith(b"!") else self._own_words(words))

    def _blpop(self, _words: list[bytes]) -> None:
        self.blocked = True

    def _subscribe(self, words: list[bytes]) -> None:
        for channel in words[1:]:
            self.channels.append(channel)
            answer = [b"subscribe", channel, len(self.channels)]
            self.reply(Push(answer) if self.protocol == 3 else answer)

    def _unsubscribe(self, words: list[bytes]) -> None:
        channels: list[bytes | None] = [*(words[1:] or self.channels)]
        for channel in channels or [None]:
            if channel in self.channels:
                self.channels.remove(channel)
            answer = [b"unsubscribe", channel, len(self.channels)]
            self.reply(Push(answer) if self.protocol == 3 else answer)


class Client:
    """A client's side of the proxy."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.end = harness.client
        self._codec = ReplyCodec()
        self._read = 0

    def send(self, *words: bytes) -> None:
        self.end.send(encode_command(*words))

    def replies(self) -> list[Any]:
        """The values that have come since this was asked last."""
        data = bytes(self.end.sock.taken[self._read :])
        self._read += len(data)
        return [reply.value for reply in self._codec.receive_data(data)] if data else []

    @property
    def unfinished(self) -> bytes:
        """The beginning of a reply that has not come whole."""
        return self._codec.leftover()


def is_upstream_error(value: Any) -> bool:
    return isinstance(value, Failure) and value.startswith(b"ERR upstream failure")


class RedisMemory:
    """Made by the fixture: clients of one proxy, and the server's side of its connections in ``servers``."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.password = b""
        self.knows_resp3 = True
        self.servers: list[FakeServer] = []
        self._first: Harness | None = None

    def start(
        self, *filters: Any, cluster: dict[str, Any] | None = None, last_resort: str | None = "c", **options: Any
    ) -> Client:
        """The first client. ``options`` are those of ``redis_proxy``, ``filters`` its message filters, made with
        ``l4proxy.testing.use``; ``cluster`` are options of the cluster, which has one endpoint."""
        if filters:
            options["filters"] = [
                Use(cls.name, config, "bypass" if bypass else "close", cls) for cls, config, bypass in filters
            ]
        self._first = self.cluster.start(
            use(RedisProxy, cluster=last_resort, **options), cluster={"endpoints": ["192.0.2.1:1"], **(cluster or {})}
        )
        return Client(self._first)

    def another(self) -> Client:
        assert self._first is not None
        return Client(self._first.another())

    def look(self) -> list[FakeServer]:
        """The connections to servers that there have been."""
        while len(self.servers) < len(self.cluster.ends):
            self.servers.append(FakeServer(self.cluster.ends[len(self.servers)], self.password, self.knows_resp3))
            self.servers[-1].address = self.cluster.targets[len(self.servers) - 1]
        return self.servers

    def serve(self) -> None:
        """Let servers answer until nobody has anything more to say."""
        while True:
            for server in self.look():
                server.work()
            speaking = [server for server in self.servers if server.replies and not server.end.closed]
            if not speaking:
                return
            for server in speaking:
                server.say()

    def talk(self, chance: random.Random, unsent: dict[Client, bytes], *, faults: float = 0) -> None:
        """Clients send what they have in pieces, and servers answer in pieces; connections to servers break with this
        probability each time that one speaks."""
        while any(unsent.values()):
            client = chance.choice([client for client, data in unsent.items() if data])
            size = chance.choice([1, 7, 50, 1000, 100_000])
            if client.end.closed:
                unsent[client] = b""
                continue
            client.end.send(unsent[client][:size])
            unsent[client] = unsent[client][size:]
            for server in self.look():
                if server.end.closed or chance.random() < 0.3:
                    continue
                server.work()
                server.say(chance.choice([0, 1, 5, 100, None]))
                if chance.random() < faults:
                    chance.choice([server.end.eof, server.end.reset])()
        self.serve()

    def statistic(self, metric: str, **labels: str) -> Any:
        assert self._first is not None
        family = self._first.stats.snapshot()[metric]
        wanted = [labels.get(label) for label in family["labels"]]
        return next((sample["value"] for sample in family["samples"] if sample["labels"] == wanted), 0)


@pytest.fixture
def redis_memory(memory_cluster: MemoryCluster) -> RedisMemory:
    return RedisMemory(memory_cluster)
