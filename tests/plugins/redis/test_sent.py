"""Commands that servers of a Redis Cluster send elsewhere, in memory: its nodes do not agree, slots are moved all the
time, and connections are lost.

Whatever happens, each command gets one reply, in order, and that is either the right one or an error that says so; what
writes is done at most once, and no command is sent on for ever.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from l4proxy.plugins.redis.replies import LOST
from l4proxy.plugins.redis.sent import MAX_TRIES, tries_for
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.slots import SLOTS, slot_of
from l4proxy.protocols.redis.values import Failure, Simple
from redis_memory import Client, FakeServer, RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

HOSTS = [f"192.0.2.{number}" for number in (1, 2, 3)]
KEYS = [b"{%d}" % number for number in range(6)]
OK = Simple(b"OK")
KEYED = frozenset((b"GET", b"SET", b"MGET"))
PASSING = (b"TRYAGAIN", b"CLUSTERDOWN", b"LOADING", b"EXECABORT", b"ERR upstream failure", b"ERR no upstream host")
"""How errors begin that clients may be given."""


class World:
    """What is true of the cluster, and how often its nodes say something else."""

    def __init__(self, chance: random.Random, *, trouble: float, losses: float) -> None:
        self.chance = chance
        self.trouble = trouble
        self.losses = losses
        self.owners = {key: chance.choice(HOSTS) for key in KEYS}
        self.announced = {host: host.encode() for host in HOSTS}
        """By which addresses nodes know each other."""
        self.seen: Counter[bytes] = Counter()
        """How often a command came to some node, by the word that it alone has."""
        self.done: dict[bytes, list[bytes]] = defaultdict(list)
        """Writes that were done, by client and key, in order."""

    def owner(self, key: bytes) -> str:
        return self.owners[key[: key.index(b"}") + 1]]

    def calm(self) -> None:
        self.trouble = self.losses = 0.0

    def moves(self) -> None:
        if self.chance.random() < self.trouble:
            self.owners[self.chance.choice(KEYS)] = self.chance.choice(HOSTS)


class Node(FakeServer):
    """A node: a connection to one of the hosts."""

    world: World
    asking = False
    dirty = False

    def _answer(self, words: list[bytes]) -> None:
        name = words[0].upper()
        if name == b"ASKING":
            self.asking = True
            self.reply(OK)
            return
        asking, self.asking = self.asking, False
        if name == b"EXEC" and self.dirty:
            self.queued, self.dirty = None, False
            self.reply(Failure(b"EXECABORT Transaction discarded because of previous errors."))
        elif name in KEYED and (error := self._error(words, asking)):
            self.dirty |= self.queued is not None
            self.reply(Failure(error))
        else:
            super()._answer(words)

    def _error(self, words: list[bytes], asking: bool) -> bytes:
        world, slot = self.world, slot_of(words[1])
        world.seen[words[-1]] += 1
        owner = world.owner(words[1])
        chance = world.chance.random()
        if chance < world.trouble:
            other = world.announced[world.chance.choice(HOSTS)]
            return world.chance.choice([
                b"TRYAGAIN Multiple keys request during rehashing of slot", b"CLUSTERDOWN The cluster is down",
                b"ASK %d %b:1" % (slot, other), b"MOVED %d %b:1" % (slot, other), b"LOADING Redis is loading",
            ])  # fmt: skip
        if owner != self.address and not asking:
            return b"MOVED %d %b:1" % (slot, world.announced[owner])
        return b""

    def _own_words(self, words: list[bytes]) -> Any:
        if words[0].upper() == b"SET":
            self.world.done[words[1]].append(words[2])
        return super()._own_words(words)

    def _cluster(self, words: list[bytes]) -> None:
        """A map in which some of the slots are where they were, or will be."""
        chance = self.world.chance
        owners = {slot_of(key): host for key, host in self.world.owners.items()}
        for slot in owners:
            if chance.random() < self.world.trouble:
                owners[slot] = chance.choice(HOSTS)
        ranges: dict[str, list[int]] = {host: [] for host in HOSTS}
        begin = 0
        for slot in sorted(owners):
            ranges[owners[slot]] += (begin, slot)
            begin = slot + 1
        ranges[HOSTS[0]] += (begin, SLOTS - 1)
        self.reply([
            [b"slots", ranges[host], b"nodes", [[
                b"id", b"node-" + host.encode(), b"port", 1, b"ip", self.world.announced[host],
                b"endpoint", self.world.announced[host], b"role", b"master", b"health", b"online",
            ]]]
            for host in HOSTS
        ])  # fmt: skip


class Script:
    """What a client sends, and what is right to be answered."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self.chance = chance
        self.number = number
        self.pieces: list[bytes] = []
        self.expected: list[Any] = []
        for step in range(chance.randint(5, 40)):
            self._step(b"%d.%d" % (number, step))

    def _step(self, word: bytes) -> None:
        key = self.chance.choice(KEYS) + b"%d" % self.number
        match self.chance.randrange(7):
            case 0 | 1:
                self._add([[b"GET", key + b"." + word]], [b"0  GET " + key + b"." + word])
            case 2 | 3:
                self._add([[b"SET", key, word]], [b"0  SET " + key + b" " + word])
            case 4:
                self._add([[b"ECHO", word]], [word])
            case 5:
                keys = [one + word for one in self.chance.sample(KEYS, 3)]
                self._add([[b"MGET", *keys]], [keys])
            case 6:
                queued = Simple(b"QUEUED")
                block = [[b"MULTI"], [b"SET", key, word], [b"GET", key + b"x." + word], [b"EXEC"]]
                done = [b"0  SET " + key + b" " + word, b"0  GET " + key + b"x." + word]
                self._add(block, [OK, queued, queued, done])

    def _add(self, commands: list[list[bytes]], replies: list[Any]) -> None:
        self.pieces.append(b"".join(encode_command(*words) for words in commands))
        self.expected += replies


def is_passing(reply: Any) -> bool:
    return isinstance(reply, Failure) and reply.startswith(PASSING)


def is_right(reply: Any, expected: Any) -> bool:
    if isinstance(reply, list) and isinstance(expected, list) and len(reply) == len(expected):
        return all(one == two or is_passing(one) for one, two in zip(reply, expected, strict=True))
    return bool(reply == expected) or is_passing(reply)


def seeded(seed: int, losses: float) -> tuple[World, list[Script]]:
    random.seed(seed)  # the proxy's own: whom it asks, and when it asks again
    chance = random.Random(seed)
    world = World(chance, trouble=chance.choice([0.05, 0.3, 0.6]), losses=losses)
    return world, [Script(chance, number) for number in range(3)]


def play(memory: RedisMemory, world: World, scripts: list[Script], **further: Any) -> list[list[Any]]:
    """The replies that each client got."""
    options = {"topology": "cluster", "topology_refresh": "5s", **further}
    first = memory.start(cluster={"endpoints": [f"{host}:1" for host in HOSTS]}, **options)
    clients: list[Client] = [first, *(memory.another() for _ in scripts[1:])]
    pieces = [list(script.pieces) for script in scripts]
    replies: list[list[Any]] = [[] for _ in scripts]
    nodes: list[Node] = []
    for _round in range(2000):
        if not any(pieces):
            world.calm()
            if all(len(got) >= len(script.expected) for got, script in zip(replies, scripts, strict=True)):
                break
        for client, left in zip(clients, pieces, strict=True):
            if left and world.chance.random() < 0.3:
                size = world.chance.randint(1, 4)
                client.end.send(b"".join(left[:size]))
                del left[:size]
        while len(nodes) < len(memory.cluster.ends):
            node = Node(memory.cluster.ends[len(nodes)])
            node.address, node.world = memory.cluster.targets[len(nodes)], world
            nodes.append(node)
        for node in nodes:
            if node.end.closed:
                continue
            node.work()
            world.moves()
            if world.chance.random() < world.losses:
                node.say(world.chance.randrange(len(node.replies) + 1))
                node.end.reset()
            elif world.chance.random() < 0.7:
                node.say()
        if world.chance.random() < 0.3:
            first.harness.advance(world.chance.choice([0.05, 0.5]))
        for client, got in zip(clients, replies, strict=True):
            got += client.replies()
    first.harness.advance(5)
    for client, got in zip(clients, replies, strict=True):
        got += client.replies()
        assert not client.unfinished
    return replies


@pytest.mark.parametrize("losses", [0.0, 0.02])
@pytest.mark.parametrize("seed", range(40))
def test_one_reply_for_each_command_and_never_a_wrong_one(losses: float, seed: int, redis_memory: RedisMemory) -> None:
    world, scripts = seeded(seed, losses)
    for got, script in zip(play(redis_memory, world, scripts), scripts, strict=True):
        assert len(got) == len(script.expected)
        for reply, expected in zip(got, script.expected, strict=True):
            assert is_right(reply, expected), (reply, expected)
    assert max(world.seen.values()) <= MAX_TRIES + 1
    for words in world.done.values():
        assert len(words) == len(set(words))
        assert words == sorted(words, key=_step), "writes of one client to one key"


def test_what_went_wrong_for_one_seed_goes_wrong_again(redis_memory: RedisMemory) -> None:
    first, second = (play(redis_memory, *seeded(7, 0.02)) for _ in range(2))
    assert first == second


def _step(word: bytes) -> int:
    """When its client has sent it."""
    return int(word.partition(b".")[2])


def test_nodes_know_each_other_by_addresses_that_cannot_be_reached(redis_memory: RedisMemory) -> None:
    random.seed(1)
    world = World(random.Random(1), trouble=0.1, losses=0)
    world.announced = {host: host.replace("192.0.2", "10.0.0").encode() for host in HOSTS}
    scripts = [Script(world.chance, number) for number in range(3)]
    addresses = {"10.0.0.1:1": "192.0.2.1:1", "10.0.0.2": "192.0.2.2", "10.0.0.3:1": "192.0.2.3"}
    for got, script in zip(play(redis_memory, world, scripts, addresses=addresses), scripts, strict=True):
        assert all(map(is_right, got, script.expected))
        assert sum(reply == expected for reply, expected in zip(got, script.expected, strict=True)) > len(got) / 2
    assert set(redis_memory.cluster.targets) <= set(HOSTS)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", 0),
        (b"-ERR SELECT is not allowed in cluster mode\r\n", 0),
        (b"-NOAUTH Authentication required.\r\n", 0),
        (b"-LOADING Redis is loading the dataset in memory\r\n", MAX_TRIES),
        (b"-ERR no upstream host\r\n", MAX_TRIES),
        (LOST, MAX_TRIES),
    ],
)
def test_what_a_server_refuses_it_is_not_asked_again(error: bytes, tries: int) -> None:
    assert tries_for(error) == tries
