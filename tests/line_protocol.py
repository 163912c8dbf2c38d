"""A toy protocol for tests of message filters: lines ``KIND text``, answered by lines. ``QUIET`` has no answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from l4proxy.chain import FilterStats
from l4proxy.config.types import Use
from l4proxy.filter import Conn, NoConfig
from l4proxy.message import MessageFilter, Request, Response
from l4proxy.message_chain import MessageChain
from l4proxy.message_filters import MessageFilters
from l4proxy.ordered_chain import OrderedMessageChain
from l4proxy.reason import CloseReason
from l4proxy.stats_registry import StatsRegistry

C = TypeVar("C")
CLOSED = CloseReason("client", "relay", "eof")


class LineRequest(Request):
    __slots__ = ("text",)

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(kind, expects_response=kind != "QUIET")
        self.text = text

    def __repr__(self) -> str:
        return f"{self.kind} {self.text}"


class LineResponse(Response):
    __slots__ = ("text",)

    def __init__(self, text: str, *, complete: bool = True) -> None:
        super().__init__(complete=complete)
        self.text = text


class LineFilter(MessageFilter[C, LineRequest, LineResponse]):
    """What a protocol offers to the authors of its filters."""

    protocol = "line"


class Plain(LineFilter[NoConfig]):
    name = "plain"


class FakeConn(Conn):
    """A client connection that only remembers what is asked of it."""

    id = 7
    client = upstream = tls = None  # type: ignore[assignment]
    destination = ("", 0)
    log = logging.LoggerAdapter(logging.getLogger("l4proxy.filter.line"), {})

    def __init__(self) -> None:
        self.closed: CloseReason | None = None
        self._state: dict[str, Any] = {}
        self.timers: list[Callable[[], object]] = []
        self._tasks: list[Coroutine[Any, Any, None]] = []

    @property
    def state(self) -> dict[str, Any]:
        return self._state

    def close(self, why: str | CloseReason, *, flush: bool = True, reset: bool = False) -> None:
        assert isinstance(why, CloseReason)
        self.closed = self.closed or why

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(coro)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        self.timers.append(callback)

    def run_tasks(self) -> None:
        while self._tasks:
            asyncio.run(self._tasks.pop(0))


def use(cls: type[Any], config: Any = None, **options: Any) -> Use:
    return Use(cls.name, NoConfig() if config is None else config, cls=cls, **options)


class Line:
    """A client, a chain and an upstream. ``upstream`` and ``client`` are what came out at either end, as text."""

    def __init__(self, *uses: Use | type[Any], ordered: bool = True, max_unanswered: int = 1000) -> None:
        self.statistics = StatsRegistry()
        server: Any = SimpleNamespace(stats=self.statistics)
        listed = [each if isinstance(each, Use) else use(each) for each in uses]
        self.filters = MessageFilters("line", listed, server)
        self.conn = FakeConn()
        self.requests: list[LineRequest] = []
        self.client: list[str] = []
        self.blocked: list[bool] = []
        self.auto_answer = False
        self.chain: MessageChain[LineRequest, LineResponse]
        if ordered:
            self.chain = OrderedMessageChain(
                self.filters, self.conn, forward=self._forward, deliver=self._deliver,
                on_blocked=self.blocked.append, max_unanswered=max_unanswered,
            )  # fmt: skip
        else:
            self.chain = MessageChain(self.filters, self.conn, forward=self._forward, deliver=self._deliver)

    def _forward(self, request: LineRequest) -> None:
        self.requests.append(request)
        if self.auto_answer and request.expects_response:
            self.chain.respond(request, LineResponse(f"re {request.text}"))

    def _deliver(self, response: LineResponse) -> None:
        self.client.append(response.text)

    @property
    def upstream(self) -> list[str]:
        return [repr(request) for request in self.requests]

    def send(self, *lines: str) -> list[LineRequest]:
        """The client sends lines."""
        sent = []
        for line in lines:
            kind, _, text = line.partition(" ")
            sent.append(LineRequest(kind, text))
            self.chain.request(sent[-1])
        return sent

    def answer(self, *positions: int) -> None:
        """The upstream answers requests by their position among all that it got, in this order."""
        for position in positions:
            request = self.requests[position]
            self.chain.respond(request, LineResponse(f"re {request.text}"))

    def stats(self, name: str) -> Mapping[str, int]:
        group = self.statistics.group(FilterStats, filter=f"line.{name}")
        return {"errors": group.errors_total, "bypassed": group.bypassed_total}

    def instances(self) -> Sequence[Any]:
        return list(self.chain._instances.values())
