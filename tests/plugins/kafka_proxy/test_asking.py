"""Questions of the proxy's own, and what brokers may do instead of answering them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clusters import run
from kafka_broker import Asked, Broker, Cluster, cluster
from kafka_messages import request
from l4proxy.errors import UpstreamError
from l4proxy.plugins.kafka_proxy.asking import MAX_IDLE, Lines, NoAnswer
from proxying import proxy

QUESTION = request("Heartbeat", 4, 7)
LIMIT = 1000


@asynccontextmanager
async def lines(brokers: Cluster) -> AsyncIterator[Lines]:
    async with proxy({"use": "tcp_proxy", "cluster": "up"}, upstreams=brokers.bootstrap) as front:
        made = Lines(front.server.clusters.find("up"))
        yield made
        made.close()


def test_connections_are_kept_for_the_next_question() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, lines(brokers) as made:
            for _ in range(5):
                answer = await made.ask(QUESTION, LIMIT, 5)
                assert answer[:4] == b"\0\0\0\7"
            assert brokers.brokers[1].connections == 1
            await asyncio.gather(*(made.ask(QUESTION, LIMIT, 5) for _ in range(MAX_IDLE + 4)))
            await asyncio.gather(*(made.ask(QUESTION, LIMIT, 5) for _ in range(MAX_IDLE)))
            assert MAX_IDLE <= brokers.brokers[1].connections <= MAX_IDLE + 4

    run(main)


def test_one_that_the_broker_has_closed_is_not_used_again() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, lines(brokers) as made:
            await made.ask(QUESTION, LIMIT, 5)
            brokers.answers["Heartbeat"] = lambda broker, asked: None
            with pytest.raises(NoAnswer, match=r"the connection was closed$"):
                await made.ask(QUESTION, LIMIT, 5)
            del brokers.answers["Heartbeat"]
            await made.ask(QUESTION, LIMIT, 5)
            assert brokers.brokers[1].connections == 2

    run(main)


def test_brokers_that_want_to_know_who_asks() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, lines(brokers) as made:
            brokers.answers["Heartbeat"] = lambda broker, asked: None
            with pytest.raises(NoAnswer, match="does not authenticate"):
                await made.ask(QUESTION, LIMIT, 5)

    run(main)


def _another(broker: Broker, asked: Asked) -> bytes:
    asked.correlation_id += 1
    return asked.answer()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_another, "another question"),
        (lambda broker, asked: b"HTTP/1.1 400 Bad Request\r\n\r\n", "this is http, not Kafka"),
        (lambda broker, asked: b"\0\0", "no answer within"),
    ],
)
def test_what_is_no_answer_is_told(answer: object, why: str) -> None:
    async def main() -> None:
        async with cluster(1) as brokers, lines(brokers) as made:
            brokers.answers["Heartbeat"] = answer  # type: ignore[assignment]
            with pytest.raises(NoAnswer, match=why):
                await made.ask(QUESTION, LIMIT, 0.2)

    run(main)


def test_a_cluster_that_is_not_there_is_not_asked_all_the_time() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, lines(brokers) as made:
            await brokers.brokers[1].stop()
            with pytest.raises(NoAnswer) as told:
                await made.ask(QUESTION, LIMIT, 5)
            assert isinstance(told.value.__cause__, UpstreamError)
            with pytest.raises(NoAnswer, match="a moment ago"):
                await made.ask(QUESTION, LIMIT, 5)

    run(main)
