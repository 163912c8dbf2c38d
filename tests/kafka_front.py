"""Message filters of Kafka between scripted brokers and clients that speak frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from clusters import run
from kafka_broker import Broker, Client, Cluster, cluster
from proxying import Proxy, proxy

__all__ = ["Filtered", "filtered", "with_filters"]


class Filtered:
    """One broker behind message filters, and a client."""

    def __init__(self, front: Proxy, brokers: Cluster, client: Client) -> None:
        self.front = front
        self.brokers = brokers
        self.client = client

    @property
    def broker(self) -> Broker:
        return self.brokers.brokers[1]

    def answer(self, name: str, **values: Any) -> None:
        """What the broker says to requests for an API."""
        self.brokers.answers[name] = lambda broker, asked: asked.answer(**values)

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The requests for an API that have come to the broker."""
        return [asked.values for asked in self.broker.asked if asked.api.name == name]

    async def another(self) -> Client:
        return await Client.connect(self.front.port)


@contextlib.asynccontextmanager
async def filtered(*filters: Any, **options: Any) -> AsyncIterator[Filtered]:
    async with cluster(1) as brokers:
        use = {"use": "kafka_proxy", "cluster": "up", "filters": filters, **options.pop("filter", {})}
        async with proxy(use, upstreams=brokers.bootstrap, **options) as front:
            client = await Client.connect(front.port)
            try:
                yield Filtered(front, brokers, client)
            finally:
                await client.close()


def with_filters(*filters: Any, **options: Any) -> Callable[[Callable[[Filtered], Coroutine[Any, Any, None]]], None]:
    """Run a test with these filters: ``@with_filters({"use": "fault", ...})`` above a coroutine function calls it."""

    def decorate(story: Callable[[Filtered], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with filtered(*filters, **options) as it:
                await asyncio.wait_for(story(it), 30)

        run(main)

    return decorate
