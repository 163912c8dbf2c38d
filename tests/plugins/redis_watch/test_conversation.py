"""Which reply belongs to which command, however the bytes arrive and wherever the watching begins."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from l4proxy.config.types import Duration, Size
from l4proxy.exchange import Exchange
from l4proxy.filter import Peer, Side
from l4proxy.inspector import Link, StopWatching
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.conversation import RedisConversation
from l4proxy.plugins.redis_watch.inspector import RedisInspector
from l4proxy.plugins.redis_watch.together import look_at_all
from l4proxy.protocols.redis.request import encode_command
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import check_inspector

CLIENT, SERVER = Side.CLIENT, Side.UPSTREAM
Script = list[tuple[Side, bytes]]
NOBODY = {"database": 0, "user": "", "name": ""}
NO_KEYS = RedisWatchConfig(hot_keys=0)


def ask(*words: str | bytes) -> tuple[Side, bytes]:
    return CLIENT, encode_command(*(word.encode() if isinstance(word, str) else word for word in words))


def answer(data: bytes) -> tuple[Side, bytes]:
    return SERVER, data


def seen(command: str, *keys: str, error: str = "", **more: Any) -> tuple[str, str, dict[str, Any]]:
    kind, _, arguments = command.partition(" ")
    return kind, error, {"arguments": arguments, "keys": list(keys), **NOBODY, **more}


def message(channel: str, kind: str = "message") -> tuple[str, str, dict[str, Any]]:
    return kind, "", {"channel": channel}


PLAIN: Script = [
    ask("SET", "user:1", "ann"),
    answer(b"+OK\r\n"),
    ask("get", "user:1"),
    answer(b"$3\r\nann\r\n"),
    (CLIENT, encode_command(b"GET", b"a") * 3 + encode_command(b"MGET", b"a", b"b")),
    answer(b"$-1\r\n:1\r\n-WRONGTYPE no\r\n*2\r\n$-1\r\n$1\r\nx\r\n"),
    (CLIENT, b"PING\r\nEXISTS inline:1\r\n"),
    answer(b"+PONG\r\n:0\r\n"),
    ask("FROB", "what"),
    answer(b"-ERR unknown command\r\n"),
]
PLAIN_SEEN = [
    seen("SET user:1 ann", "user:1"),
    seen("GET user:1", "user:1"),
    seen("GET a", "a"),
    seen("GET a", "a"),
    seen("GET a", "a", error="WRONGTYPE"),
    seen("MGET a b", "a", "b"),
    seen("PING"),
    seen("EXISTS inline:1", "inline:1"),
    ("(unknown)", "ERR", {"arguments": "FROB what", "keys": [], **NOBODY}),
]


@pytest.mark.parametrize("config", [RedisWatchConfig(), NO_KEYS], ids=["keys", "no keys"])
def test_plain_commands(config: RedisWatchConfig) -> None:
    bad = [
        b"POST / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"*1\r\nPING\r\n",
        b"*9999999999\r\n",
        b'SET "a\r\n',
    ]
    check_inspector(RedisInspector, PLAIN, PLAIN_SEEN, config=config, bad=bad)


def test_who_it_is() -> None:
    script = [
        ask("HELLO", "3", "AUTH", "ann", "secret", "SETNAME", "app"),
        answer(b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        ask("SELECT", "5"),
        answer(b"+OK\r\n"),
        ask("AUTH", "bob", "wrong"),
        answer(b"-WRONGPASS no\r\n"),
        ask("CLIENT", "SETNAME", "other"),
        answer(b"+OK\r\n"),
        ask("GET", "a"),
        answer(b"_\r\n"),
        ask("CONFIG", "SET", "requirepass", "secret"),
        answer(b"+OK\r\n"),
        ask("RESET"),
        answer(b"+RESET\r\n"),
    ]
    ann = {"user": "ann", "name": "app"}
    expect = [
        seen("HELLO 3 AUTH (redacted)", **ann),
        seen("SELECT 5", **ann, database=5),
        seen("AUTH (redacted)", **ann, database=5, error="WRONGPASS"),
        seen("CLIENT SETNAME other", user="ann", name="other", database=5),
        seen("GET a", "a", user="ann", name="other", database=5),
        seen("CONFIG SET requirepass (redacted)", user="ann", name="other", database=5),
        seen("RESET"),
    ]
    check_inspector(RedisInspector, script, expect)


@pytest.mark.parametrize("kind", [b"*", b">"], ids=["RESP2", "RESP3"])
def test_subscriptions(kind: bytes) -> None:
    def told(*words: bytes) -> bytes:
        return kind + encode_command(*words)[1:]

    def confirmed(word: bytes, channel: bytes, count: int) -> bytes:
        return kind + b"3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:%d\r\n" % (len(word), word, len(channel), channel, count)

    script = [
        ask("SUBSCRIBE", "a", "b"),
        answer(confirmed(b"subscribe", b"a", 1) + confirmed(b"subscribe", b"b", 2) + told(b"message", b"a", b"1")),
        ask("PSUBSCRIBE", "c*"),
        answer(told(b"message", b"b", b"2") + confirmed(b"psubscribe", b"c*", 3)),
        answer(told(b"pmessage", b"c*", b"c1", b"x" * 50)),
        (CLIENT, encode_command(b"PING") + encode_command(b"UNSUBSCRIBE") + encode_command(b"PUNSUBSCRIBE", b"c*")),
        answer(b"+PONG\r\n" if kind == b">" else told(b"pong", b"")),
        answer(confirmed(b"unsubscribe", b"a", 2) + told(b"message", b"b", b"3") + confirmed(b"unsubscribe", b"b", 1)),
        answer(confirmed(b"punsubscribe", b"c*", 0)),
        ask("GET", "k"),
        answer(b"*2\r\n$7\r\nmessage\r\n$1\r\na\r\n" if kind == b"*" else b"$1\r\nv\r\n"),
    ]
    expect = [
        seen("SUBSCRIBE a b"),
        message("a"),
        message("b"),
        seen("PSUBSCRIBE c*"),
        message("c*"),
        seen("PING"),
        message("b"),
        seen("UNSUBSCRIBE"),
        seen("PUNSUBSCRIBE c*"),
        seen("GET k", "k"),
    ]
    check_inspector(RedisInspector, script, expect)


def test_pushes_and_monitor() -> None:
    script = [
        ask("CLIENT", "TRACKING", "ON"),
        answer(b"+OK\r\n"),
        (CLIENT, encode_command(b"GET", b"a") * 2),
        answer(b"$1\r\n1\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n$1\r\n2\r\n"),
        ask("MONITOR"),
        answer(b'+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n'),
        ask("RESET"),
        answer(b'+1339518083.107412 [0 127.0.0.1:60866] "get" "a"\r\n+RESET\r\n'),
    ]
    expect = [
        seen("CLIENT TRACKING ON"),
        seen("GET a", "a"),
        message("invalidate", "push"),
        seen("GET a", "a"),
        seen("MONITOR"),
        seen("RESET"),
    ]
    check_inspector(RedisInspector, script, expect)


def test_transactions() -> None:
    script = [
        (CLIENT, b"".join(encode_command(*words) for words in ((b"MULTI",), (b"SET", b"a", b"1"), (b"LPOP", b"a")))),
        answer(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n"),
        ask("EXEC"),
        answer(b"*2\r\n+OK\r\n-WRONGTYPE no\r\n"),
        (CLIENT, encode_command(b"MULTI") + encode_command(b"NO") + encode_command(b"EXEC")),
        answer(b"+OK\r\n-ERR no\r\n-EXECABORT no\r\n"),
        (CLIENT, encode_command(b"WATCH", b"a") + encode_command(b"MULTI") + encode_command(b"EXEC")),
        answer(b"+OK\r\n+OK\r\n*-1\r\n"),
        (CLIENT, encode_command(b"MULTI") + encode_command(b"DISCARD")),
        answer(b"+OK\r\n+OK\r\n"),
        ask("GET", "a"),
        answer(b"+QUEUED\r\n"),
    ]
    _, inspector, _ = played(script)
    view = inspector.view
    assert view.stats.transactions_total.values == {"executed": 1, "aborted": 2, "discarded": 1}
    assert view.plans["LPOP"].stats.errors_total.values == {"WRONGTYPE": 1}
    assert view.plans["EXEC"].stats.errors_total.values == {"EXECABORT": 1}
    assert view.stats.unanswered_total == view.stats.unasked_total == 0
    check_inspector(
        RedisInspector,
        script[:4],
        [seen("MULTI"), seen("SET a 1", "a"), seen("LPOP a", "a"), seen("EXEC")],
    )


def test_replies_that_are_not_wanted() -> None:
    script = [
        ask("CLIENT", "REPLY", "SKIP"),
        ask("SET", "a", "1"),
        ask("GET", "a"),
        answer(b"$1\r\n1\r\n"),
        ask("CLIENT", "REPLY", "OFF"),
        ask("SET", "a", "2"),
        (CLIENT, encode_command(b"SET", b"a", b"3") * 3),
        ask("CLIENT", "REPLY", "ON"),
        answer(b"+OK\r\n"),
        ask("GET", "a"),
        answer(b"$1\r\n3\r\n"),
    ]
    check_inspector(RedisInspector, script, [seen("GET a", "a"), seen("CLIENT REPLY ON"), seen("GET a", "a")])
    _, inspector, _ = played(script)
    assert inspector.view.stats.silenced_total == 7


def played(
    script: Script, *, midway: bool = False, config: RedisWatchConfig | None = None
) -> tuple[list[str], RedisInspector, Link]:
    inspector = RedisInspector(config or RedisWatchConfig(), StatsRegistry())
    lines: list[str] = []
    inspector.on_exchange = lambda exchange: lines.append(f"{exchange.kind} {exchange.text()}")
    link = Link(1, Peer("192.0.2.1", 4711), Peer("192.0.2.2", 6379), midway=midway)
    conversation = inspector.conversation(link)
    try:
        feed(conversation, script)
    finally:
        conversation.close(99.0)
    return lines, inspector, link


def feed(conversation: RedisConversation, script: Script) -> None:
    for at, (side, data) in enumerate(script):
        (conversation.client_data if side is CLIENT else conversation.server_data)(data, float(at))


def test_what_it_says_and_counts() -> None:
    lines, inspector, link = played(PLAIN)
    assert lines[:2] == ["SET user:1 ann 5 bytes", "GET user:1 9 bytes"]
    stats = inspector.view.plans["GET"].stats
    assert (stats.commands_total, stats.seconds.count) == (4, 4)
    assert stats.errors_total.values == {"WRONGTYPE": 1}
    assert stats.request_bytes_total == sum(len(encode_command(b"GET", key)) for key in (b"user:1", b"a", b"a", b"a"))
    endpoint = inspector.view.endpoints["192.0.2.2:6379"]
    assert endpoint.commands_total == len(PLAIN_SEEN) == link.state["redis:commands"]
    assert endpoint.errors_total.values == {"WRONGTYPE": 1, "ERR": 1}
    assert inspector.view.clients["192.0.2.1"].stats.commands_total == len(PLAIN_SEEN)
    assert inspector.view.plans["SET"].stats.seconds.sum == 1.0


def test_a_command_in_the_middle_of_a_connection_is_found() -> None:
    script = [
        answer(b"of a value\r\n"),
        (CLIENT, b"rest of a value\r\n"),
        ask("GET", "a"),
        answer(b"$1\r\n1\r\n"),
    ]
    assert played(script, midway=True)[0] == ["GET a 7 bytes"]


def test_a_capture_may_have_the_reply_first() -> None:
    script = [answer(b"$1\r\n1\r\n"), ask("GET", "a"), ask("PING"), answer(b"+PONG\r\n")]
    lines, inspector, _ = played(script)
    assert lines == ["GET a 7 bytes", "PING 7 bytes"]
    assert inspector.view.stats.unasked_total == 0


def test_a_server_that_refuses_connections() -> None:
    inspector = RedisInspector(RedisWatchConfig(), StatsRegistry())
    told: list[Exchange] = []
    inspector.on_exchange = told.append
    conversation = inspector.conversation(Link(1, Peer("192.0.2.1", 4711)))
    conversation.server_data(b"-ERR max number of clients reached\r\n", 1.0)
    conversation.close(2.0)
    assert (told[0].error, told[0].text()) == ("ERR", "-ERR max number of clients reached")
    assert inspector.view.stats.unasked_total == 1


def test_a_replica_is_not_watched() -> None:
    with pytest.raises(StopWatching, match="replica"):
        played([ask("PSYNC", "?", "-1")])


def test_what_waits_is_bounded() -> None:
    config = RedisWatchConfig(max_in_flight=10)
    with pytest.raises(StopWatching, match="more than 10"):
        played([ask("GET", str(number)) for number in range(11)], config=config)
    with pytest.raises(StopWatching, match="nobody"):
        played([answer(b"$40000\r\n" + bytes(40_000) + b"\r\n") for _ in range(2)])


def test_of_long_commands_the_beginning_is_known() -> None:
    lines, _, _ = played([ask("SET", "long", b"x" * 6000), answer(b"+OK\r\n"), ask("DEL", *"abc"), answer(b":1\r\n")])
    assert lines == [f"SET long {'x' * 64}… (6032 bytes) 5 bytes", "DEL a b c 4 bytes"]


@pytest.mark.parametrize("config", [RedisWatchConfig(), NO_KEYS], ids=["keys", "no keys"])
def test_long_values_need_not_be_seen(config: RedisWatchConfig) -> None:
    """What it has no need of is as long as it says, and what comes behind is understood."""
    size = 1 << 20
    inspector = RedisInspector(config, StatsRegistry())
    conversation = inspector.conversation(Link(1, Peer("192.0.2.1", 4711)))
    command, reply = ask("SET", "k", bytes(size))[1], b"$%d\r\n" % size + bytes(size) + b"\r\n"
    for data, tell, side in ((command, conversation.client_data, CLIENT), (reply, conversation.server_data, SERVER)):
        spare = tell(data[:100_000], 1.0)
        assert spare is not None
        assert spare >= size - 100_000
        conversation.skipped(side, spare)
        assert not tell(data[100_000 + spare :], 2.0)
    assert conversation.in_flight == 0
    stats = inspector.view.plans["SET"].stats
    assert (stats.request_bytes_total, stats.reply_bytes_total) == (len(command), len(reply))
    feed(conversation, [ask("GET", "k"), answer(b"$1\r\n1\r\n")])
    assert conversation.commands == 2


@pytest.mark.parametrize("seed", range(5))
def test_pipelines_in_pieces(seed: int) -> None:
    """Runs, where nobody looks at single commands, count the same as single ones."""
    chance = random.Random(seed)
    words = [(b"GET", b"a"), (b"SET", b"b", b"x" * 200), (b"INCR", b"c"), (b"LRANGE", b"d", b"0", b"9")]
    replies = [b"$3\r\nabc\r\n", b"+OK\r\n", b"-ERR no\r\n", b"*2\r\n$5000\r\n" + b"y" * 5000 + b"\r\n:1\r\n"]
    asked, answered = b"", b""
    for _ in range(60):
        one, times = chance.randrange(4), chance.choice([1, 5, 20])
        asked += encode_command(*words[one]) * times
        answered += b"".join(replies[chance.randrange(4)] for _ in range(times))
    conversations = []
    for config in (RedisWatchConfig(), NO_KEYS):
        inspector = RedisInspector(config, StatsRegistry())
        conversation = inspector.conversation(Link(1, Peer("192.0.2.1", 4711)))
        for data, tell in ((asked, conversation.client_data), (answered, conversation.server_data)):
            at = 0
            while at < len(data):
                size = chance.choice([1, 7, 100, 4000])
                tell(data[at : at + size], 1.0)
                at += size
        assert conversation.in_flight == 0
        conversations.append(conversation)
    first, other = conversations
    assert (first.commands, first.errors, first.request_bytes, first.reply_bytes) == (
        other.commands, other.errors, other.request_bytes, other.reply_bytes
    )  # fmt: skip
    assert first.request_bytes == len(asked)
    assert first.reply_bytes == len(answered)


CONFIG = RedisWatchConfig(hot_keys=100, big_from=Size(1024), slow_log=Duration(0.5))
EXCHANGES: list[tuple[bytes, bytes]] = [
    (encode_command(b"GET", b"user:1"), b"$5\r\nvalue\r\n"),
    (encode_command(b"get", b"user:2"), b"$-1\r\n"),
    (encode_command(b"SET", b"user:3", b"x" * 64), b"+OK\r\n"),
    (encode_command(b"SET", b"user:3", b"a\r\nb"), b"+OK\r\n"),
    (encode_command(b"SET", b"big:1", b"x" * 1500), b"+OK\r\n"),
    (encode_command(b"GET", b"big:1"), b"$1500\r\n" + b"x" * 1500 + b"\r\n"),
    (encode_command(b"GET", b"big:2"), b"$9000\r\n" + b"x" * 9000 + b"\r\n"),
    (encode_command(b"GET", b"list:1"), b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    (encode_command(b"MGET", b"a", b"b"), b"*2\r\n$-1\r\n$1\r\nx\r\n"),
    (encode_command(b"GET", b"a") * 3, b"$1\r\n1\r\n$1\r\n2\r\n-ERR no\r\n"),
    (b"".join(encode_command(b"SET", b"k%d" % n, b"*2\r\n$3\r\nGET\r\n") for n in range(4)), b"+OK\r\n" * 4),
    (b"".join(encode_command(b"GET", b"\r\nk%d" % n) for n in range(4)), b"$3\r\na\r\n\r\n" * 4),
    (b"".join(encode_command(b"GET", b"\r\nk%d" % n) for n in range(4)), b"$3\r\na\r\n\r\n" * 3 + b"$4\r\nb\r\n$\r\n"),
    (encode_command(b"MULTI") + encode_command(b"INCR", b"n") + encode_command(b"EXEC"),
     b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n"),
    (encode_command(b"CLIENT", b"REPLY", b"SKIP"), b""),
    (encode_command(b"PING"), b"+PONG\r\n"),
    (b"PING\r\n", b"+PONG\r\n"),
    (encode_command(b"SUBSCRIBE", b"c"), b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"),
    (encode_command(b"UNSUBSCRIBE", b"c"), b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"),
    (encode_command(b"LONGERTHANTEN", b"a"), b"-ERR unknown command\r\n"),
]  # fmt: skip


def traffic(chance: random.Random) -> Iterator[tuple[Side, bytes, float]]:
    """One connection's exchanges, each side's in pieces of which most are whole."""
    at = 1000.0
    skips = False
    for _ in range(50):
        asked, answered = chance.choice(EXCHANGES)
        if skips:
            asked, answered = EXCHANGES[0][0], b""
        skips = asked.endswith(b"SKIP\r\n") and not skips
        for side, data in ((CLIENT, asked), (SERVER, answered)):
            while data:
                size = chance.choice([len(data), len(data), len(data), 1, 5, 50])
                at += chance.choice([0.0001, 0.001, 0.01, 0.7])
                yield side, data[:size], at
                data = data[size:]


class Watching:
    """Stands in for the filter."""

    def __init__(self, conversation: RedisConversation) -> None:
        self.conversation = conversation

    def look(self, side: Side, data: bytes, at: float) -> None:
        (self.conversation.client_data if side is CLIENT else self.conversation.server_data)(data, at)


HOW = ("whole", "bytewise", "together")


def counted(how: str, config: RedisWatchConfig, seed: int) -> Any:
    """What is known of several connections, of which chunks are shown as they come, in bytes, or many together."""
    inspector = RedisInspector(config, StatsRegistry())
    inspector.view._chance = random.Random(1).random
    talks = [
        inspector.conversation(Link(number, Peer("192.0.2.1", number, ""), server=Peer("192.0.2.9", 1, "")))
        for number in range(5)
    ]
    chance = random.Random(seed)
    for number, talk in enumerate(talks):
        watching = Watching(talk)
        chunks = [(watching, side, data, at) for side, data, at in traffic(random.Random(seed + number))]
        while chunks and how == "together":
            size = chance.randrange(1, 20)
            look_at_all(chunks[:size], inspector.view)
            del chunks[:size]
        for _, side, data, at in chunks:
            for begin in range(0, len(data), 1 if how == "bytewise" else len(data)):
                watching.look(side, data[begin : begin + 1] if how == "bytewise" else data, at)
    view = inspector.view
    view.collect()
    seen = [(talk.commands, talk.errors, talk.in_flight) for talk in talks]
    return view.registry.snapshot(), seen, view.moment(), view.hottest().keys(), list(view.big), list(view.slow)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("config", [CONFIG, RedisWatchConfig(hot_keys=0, big_keys=0, slow_log=Duration(0.0))])
def test_however_it_is_shown_it_counts_the_same(config: RedisWatchConfig, seed: int) -> None:
    """Most of what comes whole is told by a few of its bytes, and pipelines of one shape are counted as they are."""
    whole, bytewise, together = (counted(how, config, seed) for how in HOW)
    assert whole == bytewise
    assert together == whole
    assert sum(commands for commands, *_ in whole[1]) > 100


def test_what_is_usual_is_not_looked_at_for_itself() -> None:
    inspector = RedisInspector(NO_KEYS, StatsRegistry())
    talk = inspector.conversation(Link(1, Peer("192.0.2.1", 1), server=Peer("192.0.2.9", 1)))
    watching = Watching(talk)
    exchanges = [EXCHANGES[0], (EXCHANGES[0][0] * 16, EXCHANGES[0][1] * 16)]
    both = [(watching, side, pair[side is SERVER], 1.0) for pair in exchanges for side in (CLIENT, SERVER)]
    look_at_all(both * 2, inspector.view)
    watching.look = None  # type: ignore[assignment, method-assign]
    look_at_all(both * 3, inspector.view)
    assert talk.commands == 5 * 17
