"""An inspector: it reads a protocol's traffic, in a proxy as an observer filter and in ``l4proxy sniff`` alike.

The protocol is small enough to be seen whole: a client sends lines, ``WORD text``, and each is answered by a line.
"""

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l4proxy import (
    Column,
    ColumnKind,
    Conversation,
    Exchange,
    Inspector,
    Link,
    Notice,
    Peer,
    PluginManager,
    Register,
    Selector,
    Side,
    Stats,
    StopWatching,
    Table,
    counter,
    hookimpl,
    serve,
)
from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.observer import Observer
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import check_inspector


@dataclass(frozen=True, slots=True)
class LinesConfig:
    line_limit: int = 1024
    """Bytes of a line; a connection with longer ones is not watched on."""


class LinesStats(Stats, subsystem="lines"):
    """Conversations in lines."""

    requests_total = counter("Lines that were answered.")


class LinesExchange(Exchange):
    """A line and its answer."""

    __slots__ = ("answer", "text_sent")
    answer: str
    text_sent: str

    def fields(self) -> Mapping[str, Any]:
        return {"text": self.text_sent, "answer": self.answer}


class LinesConversation(Conversation):
    """One connection. Lines are answered in order."""

    def __init__(self, inspector: "Lines", link: Link) -> None:
        self.inspector = inspector
        self.link = link
        self.sent = self.received = b""
        self.waiting: deque[tuple[float, str]] = deque(maxlen=100)

    def client_data(self, data: bytes, at: float) -> None:
        *lines, self.sent = (self.sent + data).split(b"\n")
        if len(self.sent) > self.inspector.config.line_limit:
            raise RemoteProtocolError("the line does not end", code="line_too_long")
        for line in lines:
            if line == b"STARTTLS":
                raise StopWatching("tls", "the connection goes on encrypted")
            self.waiting.append((at, line.decode(errors="replace")))

    def server_data(self, data: bytes, at: float) -> None:
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            if self.waiting:
                self.inspector.answered(self.link, *self.waiting.popleft(), line.decode(errors="replace"), at)

    def close(self, at: float) -> None:
        if self.waiting:
            self.inspector.notice(self.link, at, "unanswered", f"{len(self.waiting)} lines had no answer")


class Lines(Inspector[LinesConfig]):
    """Read conversations in lines."""

    name = "lines"
    ports = (7777,)
    kind_word = "word"
    selectors = (Selector("text", "TEXT", "what a line says", lambda exchange: [exchange.text_sent]),)

    def __init__(self, config: LinesConfig, stats: StatsRegistry) -> None:
        super().__init__(config, stats)
        self.own = stats.group(LinesStats)
        self.words: Counter[str] = Counter()

    def conversation(self, link: Link) -> LinesConversation:
        return LinesConversation(self, link)

    def answered(self, link: Link, asked: float, line: str, answer: str, at: float) -> None:
        self.own.requests_total += 1
        word, _, text = line.partition(" ")
        if word in self.words or len(self.words) < 100:
            self.words[word] += 1
        if self.on_exchange is not None:
            exchange = LinesExchange(link, asked, word, at - asked, error="ERR" if answer == "ERR" else "")
            exchange.text_sent, exchange.answer = text, answer
            self.on_exchange(exchange)

    def tables(self) -> Sequence[Table]:
        columns = (Column("word"), Column("lines", ColumnKind.NUMBER), Column("lines/s", ColumnKind.RATE))
        return [Table("words", columns, lambda: [(word, n, n) for word, n in self.words.items()], sort="lines")]


class WatchLines(Observer[LinesConfig]):
    """Watch conversations in lines. Never changes or delays a byte."""

    name = "lines"
    inspector = Lines


@hookimpl
def register_inspectors(register: Register[type[Lines]]) -> None:
    register(Lines)


@hookimpl
def register_filters(register: Register[type[WatchLines]]) -> None:
    register(WatchLines)


async def through_a_proxy() -> None:
    """The filter that the inspector makes, in a chain in front of a server that echoes."""
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "lines")
    config = {"listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": ["lines", "echo"]}]}
    async with serve(config, plugins=plugins) as server:
        (address,) = server.addresses["a"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET a\n")
        assert await reader.readline() == b"GET a\n"
        writer.close()


def main() -> None:
    script = [(Side.CLIENT, b"GET a\nPUT b\n"), (Side.UPSTREAM, b"1\nERR\n")]
    check_inspector(
        Lines,
        script,
        expect=[("GET", "", {"text": "a", "answer": "1"}), ("PUT", "ERR", {"text": "b", "answer": "ERR"})],
        bad=[b"x" * 2000],
    )
    inspector = Lines(LinesConfig(), StatsRegistry())
    seen: list[Exchange] = []
    inspector.on_exchange = seen.append
    conversation = inspector.conversation(Link(1, Peer("192.0.2.1", 40000)))
    conversation.client_data(b"GET a\nGET b\n", 100.0)
    conversation.server_data(b"1\n", 100.25)
    conversation.close(101.0)
    assert [one.line() for one in seen] == [
        "192.0.2.1:40000 GET 250.000ms text=a answer=1",
        "192.0.2.1:40000 unanswered 1 lines had no answer",
    ]
    assert isinstance(seen[1], Notice)
    assert list(inspector.tables()[0].rows()) == [("GET", 1, 1)]
    asyncio.run(through_a_proxy())


if __name__ == "__main__":
    main()
