"""Addresses of nodes in what servers say, changed on the way."""

from __future__ import annotations

import random

import pytest

from l4proxy.protocols.redis.readdress import MAX_ANSWER, Readdresser
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.topology import read_shards, read_slots
from l4proxy.protocols.redis.values import BulkFailure, Failure, Map, Push, Value, Verbatim, decode, encode
from resp_cases import VALUES

ID, OTHER = b"07c37dfeb235213a872192d90877d0cd55635b91", b"67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"
NODES = (
    b"%b 10.0.0.4:30004@31004,hostname4 slave %b 0 1426238317239 4 connected\n"
    b"%b 10.0.0.2:30002@31002 myself,master - 0 1426238316232 2 connected 5461-10922 [93->-%b]\n"
    % (ID, OTHER, OTHER, ID)
)
TOLD_NODES = (
    b"%b here:14@31004 slave %b 0 1426238317239 4 connected\n"
    b"%b here:12@31002 myself,master - 0 1426238316232 2 connected 5461-10922 [93->-%b]\n" % (ID, OTHER, OTHER, ID)
)


def place(host: str, port: int) -> tuple[str, int] | None:
    return {
        ("10.0.0.2", 30002): ("here", 12),
        ("10.0.0.4", 30004): ("here", 14),
        ("name4", 30004): ("here", 24),
        ("", 30002): ("here", 99),
    }.get((host, port))


def slots(meta: Value) -> list[Value]:
    return [
        [0, 5460, [b"10.0.0.2", 30002, OTHER, []], [b"name4", 30004, ID, meta]],
        [5461, 5461, [None, 30002, ID, []]],
    ]


def shards(kind: type[list[Value]]) -> list[Value]:
    def fields(**told: Value) -> Value:
        pairs = [(name.replace("_", "-").encode(), value) for name, value in told.items()]
        return Map(pairs) if kind is Map else [one for pair in pairs for one in pair]

    node = fields(id=ID, port=30002, ip=b"10.0.0.2", endpoint=b"10.0.0.2", role=b"master", health=b"online")
    other = fields(id=OTHER, tls_port=30004, ip=b"10.0.0.4", endpoint=b"name4", hostname=b"name4", role=b"replica")
    return [fields(slots=[0, 99], nodes=[node, other])]


def answer(question: bytes, reply: bytes) -> bytes:
    readdresser = Readdresser(place)
    readdresser.client_data(question)
    return readdresser.server_data(reply)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"-MOVED 3999 10.0.0.2:30002\r\n", b"-MOVED 3999 here:12\r\n"),
        (b"-ASK 3999 10.0.0.4:30004\r\n", b"-ASK 3999 here:14\r\n"),
        (b"-MOVED 3999 :30002\r\n", b"-MOVED 3999 here:99\r\n"),
        (b"-MOVED 3999 ?:30002\r\n", b"-MOVED 3999 here:99\r\n"),
        (b"-MOVED 3999 10.0.0.9:30002\r\n", b"-MOVED 3999 10.0.0.9:30002\r\n"),  # there is no place for it
        (b"-MOVED somewhere\r\n", b"-MOVED somewhere\r\n"),
        (b"-ERR MOVED 3999 10.0.0.2:30002\r\n", b"-ERR MOVED 3999 10.0.0.2:30002\r\n"),
        (b"$28\r\n-MOVED 3999 10.0.0.2:30002\r\n\r\n", b"$28\r\n-MOVED 3999 10.0.0.2:30002\r\n\r\n"),
    ],
)
def test_redirections(said: bytes, told: bytes) -> None:
    assert Readdresser(place).server_data(b"+OK\r\n" + said + b":1\r\n") == b"+OK\r\n" + told + b":1\r\n"


@pytest.mark.parametrize("question", [encode_command(b"CLUSTER", b"SLOTS"), b"cluster  slots\r\n"])
@pytest.mark.parametrize(("protocol", "meta"), [(2, [b"ip", b"10.0.0.4"]), (3, Map([(b"ip", b"10.0.0.4")]))])
def test_slots(question: bytes, protocol: int, meta: Value) -> None:
    told = decode(answer(question, encode(slots(meta), protocol)))[0]
    first, second = told
    assert first[2][:3] == [b"here", 12, OTHER]
    assert first[3] == [b"here", 24, ID, type(meta)()]
    assert second[2][:2] == [b"here", 99]
    assert [shard.slots for shard in read_slots(told)] == [[(0, 5460)], [(5461, 5461)]]


@pytest.mark.parametrize(("protocol", "kind"), [(2, list), (3, Map)])
def test_shards(protocol: int, kind: type[list[Value]]) -> None:
    reply = encode(shards(kind), protocol)
    changed = answer(encode_command(b"cluster", b"Shards"), reply)
    assert changed[:20] == reply[:20]
    (shard,) = read_shards(decode(changed)[0], tls=True)
    assert shard.primary is not None
    assert shard.primary[1:4] == ("here", 12, "")
    assert shard.replicas[0][1:4] == ("here", 24, "here")


@pytest.mark.parametrize("form", [bytes, lambda text: Verbatim(text, b"txt")])
def test_nodes(form: type[bytes]) -> None:
    question = encode_command(b"CLUSTER", b"NODES")
    assert answer(question, encode(form(NODES), 3)) == encode(form(TOLD_NODES), 3)
    lines = [line + b" " for line in NODES.splitlines()]
    told = [line + b" " for line in TOLD_NODES.splitlines()]
    assert answer(encode_command(b"CLUSTER", b"REPLICAS", OTHER), encode(lines, 2)) == encode(told, 2)


@pytest.mark.parametrize(
    "value",
    [NODES[:-1], NODES + b"x\n", [1, 2], [[0, 1, [b"h", 1, b"id"]]], [b"a", b"b"], [], [[]], Map([]), b"", None,
     [Map([(b"nodes", 1)])], Failure(b"ERR no"), BulkFailure(b"ERR no"), Push([b"message", b"c", NODES])],
)  # fmt: skip
def test_what_is_no_such_answer_stays_as_it_is(value: Value) -> None:
    question, nodes = encode_command(b"CLUSTER", b"NODES"), encode(NODES)
    data = encode(value)
    assert answer(question, data + nodes) == data + encode(TOLD_NODES)
    assert Readdresser(place).server_data(nodes) == nodes  # nobody has asked


def test_a_server_that_is_no_cluster() -> None:
    readdresser = Readdresser(place)
    readdresser.client_data(encode_command(b"CLUSTER", b"NODES"))
    error = b"-ERR This instance has cluster support disabled\r\n"
    assert readdresser.server_data(error + encode(NODES)) == error + encode(NODES)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_in_pieces(size: int) -> None:
    question = encode_command(b"GET", b"a") + encode_command(b"CLUSTER", b"NODES")
    data = (
        encode([raw for raw, *_ in VALUES])
        + b"".join(raw for raw, *_ in VALUES)
        + encode(NODES)
        + b"-MOVED 1 :30002\r\n"
    )
    readdresser = Readdresser(place)
    for at in range(0, len(question), size):
        readdresser.client_data(question[at : at + size])
    told = b"".join(readdresser.server_data(data[at : at + size]) for at in range(0, len(data), size))
    assert told == answer(question, data)
    assert told.endswith(encode(TOLD_NODES) + b"-MOVED 1 here:99\r\n")


@pytest.mark.parametrize("seed", range(20))
def test_what_is_not_changed_passes_as_the_very_bytes(seed: int) -> None:
    chance = random.Random(seed)
    raws = [raw for raw, *_ in VALUES] + [encode(chance.randbytes(chance.choice([0, 10, 5000, 300_000])))]
    data = b"".join(chance.choice(raws) for _ in range(100))
    readdresser, told, at = Readdresser(place), b"", 0
    while at < len(data):
        size = chance.choice([1, 10, 1000, 100_000])
        told += readdresser.server_data(data[at : at + size])
        at += size
    assert told == data


def test_a_long_value_passes_as_it_comes() -> None:
    readdresser = Readdresser(place)
    held = 0
    for chunk in [b"$%d\r\n" % (1 << 20), *[bytes(1 << 16)] * 16]:
        held += len(chunk) - len(readdresser.server_data(chunk))
        assert held < 100


def test_an_answer_without_end_is_not_held() -> None:
    readdresser = Readdresser(place)
    readdresser.client_data(encode_command(b"CLUSTER", b"NODES"))
    sent = passed = 0
    for chunk in [b"$%d\r\n" % (1 << 26), *[bytes(1 << 20)] * 32]:
        sent += len(chunk)
        passed += len(readdresser.server_data(chunk))
        assert sent - passed <= MAX_ANSWER + (1 << 20)


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 200 OK\r\n\r\n", b"*x\r\n", b"\0\0\r\n"])
def test_what_is_no_redis_passes(garbage: bytes) -> None:
    data = b"+OK\r\n" + garbage + b"-MOVED 1 10.0.0.2:30002\r\n"
    readdresser = Readdresser(place)
    assert b"".join(readdresser.server_data(data[at : at + 1]) for at in range(len(data))) == data
    assert Readdresser(place).server_data(data) == data
