"""Message filters in front of a session: order, one reply per command, transactions, and that who is not asked costs
nothing."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from l4proxy.filter import NoConfig
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Push, Simple
from l4proxy.testing import use
from redis_memory import Client, RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK, QUEUED = Simple(b"OK"), Simple(b"QUEUED")


class Seen(RedisFilter[NoConfig]):
    """Sees everything; the test says what it does with it."""

    name = "seen"
    requests: list[RedisRequest]
    responses: list[RedisResponse]
    refuses: frozenset[str]
    holds: frozenset[str]
    held: list[Any]

    @classmethod
    def reset(cls, refuses: str = "", holds: str = "") -> None:
        cls.requests, cls.responses, cls.held = [], [], []
        cls.refuses, cls.holds = frozenset(refuses.split()), frozenset(holds.split())

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        Seen.requests.append(request)
        if request.kind in self.refuses:
            self.reply(request, RedisResponse.error(f"ERR {request.kind} refused"))
            return None
        if request.kind in self.holds:
            Seen.held.append(lambda: self.release(request))
            return None
        return request

    def on_response(self, response: RedisResponse) -> RedisResponse | None:
        Seen.responses.append(response)
        return response


class SeesOnly(Seen):
    name = "sees_only"
    wants = frozenset({"BAD", "SEEN"})


@pytest.fixture(autouse=True)
def _reset() -> None:
    Seen.reset()


def commands(*lines: str) -> bytes:
    return b"".join(encode_command(*line.encode().split()) for line in lines)


def test_every_command_comes_by(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    client.end.send(commands("GET a", "GET b", "SET a 1", "PING"))
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", b"0  GET b", b"0  SET a 1", b"0  PING"]
    assert [request.kind for request in Seen.requests] == ["GET", "GET", "SET", "PING"]
    assert [response.value for response in Seen.responses][:1] == [b"0  GET a"]
    get, *_ = Seen.requests
    assert (get.arguments, get.keys, get.raw) == ((b"GET", b"a"), [b"a"], commands("GET a"))
    assert get.command.is_readonly


def test_what_nobody_wants_goes_by_in_its_pipelines(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(SeesOnly))
    client.end.send(commands(*["GET a"] * 16))
    (server,) = redis_memory.look()
    server.work()
    assert len(server.commands) == 16
    server.say()
    assert client.replies() == [b"0  GET a"] * 16
    assert not Seen.requests


def test_a_filter_that_answers(redis_memory: RedisMemory) -> None:
    Seen.reset(refuses="BAD")
    for filter in (Seen, SeesOnly):
        redis_memory.servers.clear()
        client = redis_memory.start(use(filter))
        client.end.send(commands("GET a", "BAD", "GET b", "GET b", "BAD", "BAD", "GET c"))
        redis_memory.serve()
        refused = Failure(b"ERR BAD refused")
        expected = [b"0  GET a", refused, b"0  GET b", b"0  GET b", refused, refused, b"0  GET c"]
        assert client.replies() == expected


def test_a_filter_that_changes_both(redis_memory: RedisMemory) -> None:
    class Changes(RedisFilter[NoConfig]):
        name = "changes"

        def on_request(self, request: RedisRequest) -> RedisRequest:
            request.arguments = (*request.arguments[:1], b"x:" + request.arguments[1])
            return request

        def on_response(self, response: RedisResponse) -> RedisResponse:
            response.value = [response.value, True]
            return response

    client = redis_memory.start(use(Changes))
    client.end.send(commands("GET a", "GET b"))
    redis_memory.serve()
    assert client.replies() == [[b"0  GET x:a", 1], [b"0  GET x:b", 1]]


def test_a_filter_that_holds(redis_memory: RedisMemory) -> None:
    Seen.reset(holds="SEEN")
    client = redis_memory.start(use(Seen))
    client.end.send(commands("GET a", "SEEN", "GET b"))
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]
    Seen.held.pop()()
    client.harness.run()
    redis_memory.serve()
    assert client.replies() == [b"0  SEEN", b"0  GET b"]


def test_a_held_command_stops_the_client(redis_memory: RedisMemory) -> None:
    Seen.reset(holds="SEEN")
    client = redis_memory.start(use(SeesOnly))
    client.send(b"SEEN")
    for _ in range(20):
        client.end.send(commands("GET a") * 1000)
    assert client.end.sock.arrived
    Seen.held.pop()()
    client.harness.run()
    redis_memory.serve()
    assert len(client.replies()) == 20_001


def test_long_replies_pass_as_they_come(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    client.send(b"ECHO", b"x" * 100_000)
    client.send(b"GET", b"a")
    (server,) = redis_memory.look()
    server.work()
    server.say(50_000)
    assert len(client.end.received) > 40_000
    assert not Seen.responses[0].complete
    with pytest.raises(ValueError, match="only the beginning"):
        _ = Seen.responses[0].value
    server.say()
    assert client.replies() == [b"x" * 100_000, b"0  GET a"]


def test_a_long_reply_may_be_replaced(redis_memory: RedisMemory) -> None:
    class Shortens(RedisFilter[NoConfig]):
        name = "shortens"

        def on_response(self, response: RedisResponse) -> RedisResponse:
            return response if response.complete else RedisResponse(b"too long")

    client = redis_memory.start(use(Shortens))
    client.send(b"ECHO", b"x" * 100_000)
    client.send(b"GET", b"a")
    (server,) = redis_memory.look()
    server.work()
    server.say(50_000)
    server.serve()
    assert client.replies() == [b"too long", b"0  GET a"]


def test_connections_of_ones_own(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    for line in ("WATCH a", "GET b", "SUBSCRIBE c d", "CLIENT ID"):
        client.send(*line.encode().split())
        redis_memory.serve()
    assert client.replies() == [b"0  WATCH a", b"0  GET b", [b"subscribe", b"c", 1], [b"subscribe", b"d", 2], OK]
    assert [response.request.kind for response in Seen.responses] == ["WATCH", "GET", "SUBSCRIBE", "CLIENT"]
    redis_memory.servers[-1].push(b"message", b"c", b"x")
    redis_memory.servers[-1].say()
    assert client.replies() == [[b"message", b"c", b"x"]]


def test_who_a_client_is(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    client.end.send(
        commands("HELLO 3", "SELECT 3", "GET a", "CLIENT SETNAME x", "CLIENT GETNAME", "RESET", "GET a", "QUIT")
    )
    redis_memory.serve()
    _, *others = client.replies()
    assert others == [OK, b"3  GET a", OK, b"x", Simple(b"RESET"), b"0  GET a", OK]
    assert client.end.got_eof


def test_pushes_go_by(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    client.end.send(commands("HELLO 3", "SUBSCRIBE a", "GET b"))
    redis_memory.serve()
    assert client.replies()[1:] == [Push([b"subscribe", b"a", 1]), b"0  GET b"]
    redis_memory.servers[-1].push(b"message", b"a", b"x")
    redis_memory.servers[-1].say()
    assert client.replies() == [Push([b"message", b"a", b"x"])]


def test_client_reply(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    for line in (
        "CLIENT REPLY SKIP",
        "GET a",
        "GET b",
        "CLIENT REPLY OFF",
        "GET c",
        "MULTI",
        "EXEC",
        "CLIENT REPLY ON",
        "GET d",
    ):
        client.send(*line.encode().split())
        redis_memory.serve()
    assert client.replies() == [b"0  GET b", OK, b"0  GET d"]
    assert len(Seen.responses) == 9


# Transactions


@pytest.mark.parametrize("filter", [Seen, SeesOnly])
@pytest.mark.parametrize("size", [1000, 1])
def test_a_refused_command_aborts_the_transaction(filter: type[Seen], size: int, redis_memory: RedisMemory) -> None:
    Seen.reset(refuses="BAD")
    client = redis_memory.start(use(filter))
    data = commands("MULTI", "INCR a", "BAD", "INCR b", "EXEC", "GET c", "MULTI", "INCR a", "EXEC")
    for at in range(0, len(data), size):
        client.end.send(data[at : at + size])
        redis_memory.serve()
    redis_memory.serve()
    aborted = Failure(b"EXECABORT Transaction discarded because of previous errors.")
    assert client.replies() == [
        OK, QUEUED, Failure(b"ERR BAD refused"), QUEUED, aborted, b"0  GET c", OK, QUEUED, [b"0  INCR a"],
    ]  # fmt: skip
    assert [b"EXEC"] in redis_memory.servers[-1].commands or len(redis_memory.servers) > 1
    assert [words for server in redis_memory.servers for words in server.commands].count([b"EXEC"]) == 1


@pytest.mark.parametrize("cluster", [{}, {"load_balancer": "ring_hash"}])
def test_a_transaction_whose_end_a_filter_refuses_is_over(cluster: dict[str, Any], redis_memory: RedisMemory) -> None:
    class RefusesEnds(RedisFilter[NoConfig]):
        name = "refuses_ends"
        wants = frozenset({"EXEC", "DISCARD"})

        def on_request(self, request: RedisRequest) -> None:
            self.reply(request, RedisResponse.error(f"ERR no {request.kind}"))

    refused = Failure(b"ERR no EXEC")
    client = redis_memory.start(use(RefusesEnds), cluster=cluster)
    client.end.send(commands("MULTI", "SET a 1", "EXEC", "GET a", "EXEC"))
    redis_memory.serve()
    assert client.replies() == [OK, QUEUED, refused, b"0  GET a", refused]
    replies = []
    for line in ("MULTI", "SET a 1", "DISCARD", "GET a", "MULTI", "EXEC", "GET a"):
        client.end.send(commands(line))
        redis_memory.serve()
        replies += client.replies()
    assert replies == [OK, QUEUED, Failure(b"ERR no DISCARD"), b"0  GET a", OK, refused, b"0  GET a"]


def test_a_whole_transaction_still_shares_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    client.end.send(commands("MULTI", "INCR a", "EXEC"))
    redis_memory.serve()
    assert client.replies() == [OK, QUEUED, [b"0  INCR a"]]
    assert len(redis_memory.servers) == 1


# Failures


def test_a_lost_server_is_an_error_that_filters_see(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    client.end.send(commands("GET a", "GET b"))
    redis_memory.look()[0].end.reset()
    assert all(reply.startswith(b"ERR upstream failure") for reply in client.replies())
    assert [response.is_error for response in Seen.responses] == [True, True]


def test_a_filter_that_fails(redis_memory: RedisMemory) -> None:
    class Fails(RedisFilter[NoConfig]):
        name = "fails"

        def on_request(self, request: RedisRequest) -> RedisRequest:
            raise RuntimeError("on purpose")

    client = redis_memory.start(use(Fails))
    client.send(b"GET", b"a")
    assert client.end.got_reset
    redis_memory.servers.clear()
    client = redis_memory.start(use(Fails, on_error="bypass"))
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]


def test_bad_input_is_answered_behind_what_came_before(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(Seen))
    client.end.send(commands("GET a") + b"*x\r\n")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", Failure(b"ERR Protocol error: invalid multibulk length")]
    assert client.end.got_eof


def test_a_command_that_is_too_long_for_filters(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(SeesOnly), max_held=10_000)
    client.send(b"ECHO", b"x" * 20_000)
    redis_memory.serve()
    assert client.replies() == [b"x" * 20_000]  # nobody wants to see it
    for at in range(3):
        client.end.send(encode_command(b"SEEN", b"x" * 20_000)[at * 8000 : at * 8000 + 8000])
    redis_memory.serve()
    assert client.replies() == [Failure(b"ERR the command is longer than this proxy holds (max_held)")]
    assert client.end.got_eof


LINES = (
    *("GET a", "GET b", "SET a 1", "ECHO a", "HGETALL a", "SELECT 1", "SELECT 0", "HELLO 3", "HELLO 2", "RESET"),
    *("MULTI", "MULTI", "EXEC", "EXEC", "DISCARD", "WATCH a", "UNWATCH", "SUBSCRIBE c", "UNSUBSCRIBE c"),
    *("CLIENT REPLY SKIP", "CLIENT REPLY OFF", "CLIENT REPLY ON", "CLIENT SETNAME c", "CLIENT GETNAME"),
)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("balancer", ["round_robin", "ring_hash"])
def test_who_is_looked_at_is_answered_like_anybody(balancer: str, seed: int, redis_memory: RedisMemory) -> None:
    """Whatever the client has changed in front of a command that goes through the filters, in one write or in pieces,
    and wherever its keys are."""
    chance = random.Random(seed)

    class SeesSome(RedisFilter[NoConfig]):
        name = "sees_some"
        wants = frozenset(line.split()[0] for line in chance.sample(LINES, 3))

    lines = chance.choices(LINES, k=40)
    at = sorted(chance.sample(range(1, 40), chance.choice([0, 5])))
    writes = [commands(*lines[first:last]) for first, last in pairwise([0, *at, 40])]
    said = []
    for filters in ((), (use(SeesSome),)):
        redis_memory.servers.clear()
        client = redis_memory.start(
            *filters, cluster={"endpoints": ["192.0.2.1:1", "192.0.2.2:1"], "load_balancer": balancer}
        )
        for data in writes:
            client.end.send(data)
            redis_memory.serve()
        said.append(client.replies())
    assert said[0] == said[1]


def serve_all(memory: RedisMemory, client: Client) -> None:
    """Also what waits for room."""
    for _ in range(100):
        memory.serve()
        client.harness.run()


def test_what_is_long_and_not_wanted_passes_as_it_comes(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(SeesOnly))
    value = b"x" * 200_000
    data = encode_command(b"ECHO", value) + commands("SEEN", "GET a")
    client.end.send(data[:100_000])
    server = redis_memory.look()[-1]
    server.work()
    assert len(server.end.sock.taken) > 10_000
    client.end.send(data[100_000:])
    serve_all(redis_memory, client)
    assert client.replies() == [value, b"0  SEEN", b"0  GET a"]
    assert [request.kind for request in Seen.requests] == ["SEEN"]


def test_what_is_long_waits_behind_what_a_filter_holds_and_not_without_bound(redis_memory: RedisMemory) -> None:
    Seen.reset(holds="SEEN")
    client = redis_memory.start(use(SeesOnly))
    value = b"x" * 200_000
    client.end.send(commands("SEEN") + encode_command(b"ECHO", value) + commands("SEEN"))
    redis_memory.serve()
    Seen.held.pop()()
    client.harness.run()
    (server,) = redis_memory.look()
    for _ in range(30):  # the filter lets go, and the server owes the reply
        client.end.send(encode_command(b"ECHO", value))
    assert sum(map(len, client.end.sock.arrived)) > 10 * len(value)
    assert not server.commands
    serve_all(redis_memory, client)
    Seen.held.pop()()
    serve_all(redis_memory, client)
    assert client.replies() == [b"0  SEEN", value, b"0  SEEN", *[value] * 30]


@pytest.mark.parametrize("seed", range(60))
def test_one_reply_per_command_in_order(seed: int, redis_memory: RedisMemory) -> None:
    """Random pipelines through a filter that sees all, or some, and answers, holds, or lets pass by chance."""
    chance = random.Random(seed)

    class Random(RedisFilter[NoConfig]):
        name = "random"
        wants = frozenset({"SEEN"}) if chance.random() < 0.5 else None
        held: list[Any] = []  # noqa: RUF012

        def on_request(self, request: RedisRequest) -> RedisRequest | None:
            if request.kind != "SEEN" or chance.random() < 0.3:
                return request
            if chance.random() < 0.5:
                self.reply(request, RedisResponse(b"answered " + request.arguments[1]))
            else:
                self.held.append(lambda: self.release(request))
            return None

    first = redis_memory.start(use(Random))
    clients: list[tuple[Client, list[bytes]]] = []
    for number, client in enumerate((first, redis_memory.another())):
        kinds = [chance.choice([b"GET", b"GET", b"SEEN"]) for _ in range(60)]
        words = [b"%d.%d" % (number, at) for at in range(60)]
        if Random.wants is not None:  # what no filter sees passes in parts
            words = [
                word + b"x" * 70_000 * (kind == b"GET" and chance.random() < 0.05)
                for kind, word in zip(kinds, words, strict=True)
            ]
        data = b"".join(encode_command(kind, word) for kind, word in zip(kinds, words, strict=True))
        clients.append((client, words))
        while data:
            size = chance.choice([chance.randint(1, 300), 30_000])
            client.end.send(data[:size])
            data = data[size:]
            for server in redis_memory.look():
                server.work()
                server.say(chance.choice([0, 10, None]))
            if Random.held and chance.random() < 0.5:
                Random.held.pop(0)()
                client.harness.run()
    redis_memory.serve()
    while Random.held:
        Random.held.pop(0)()
        first.harness.run()
        redis_memory.serve()
    for client, words in clients:
        replies = client.replies()
        assert [reply.split()[-1] for reply in replies] == words
