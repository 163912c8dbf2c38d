from __future__ import annotations

import asyncio
from typing import Any

from clusters import run
from kafka_broker import Asked, Broker, Cluster, cluster
from kafka_front import Filtered, filtered
from kafka_messages import batch
from proxying import HOST

NAMES = {"copied": "copied_batches_total", "dropped": "dropped_batches_total"}
TRANSACTIONAL = 0x10


def second(other: Cluster, **options: Any) -> dict[str, Any]:
    """Options of a proxy that mirrors to these brokers, whose topic ``a`` has two partitions, one on each."""
    other.answers["Metadata"] = lambda broker, asked: asked.answer(
        brokers=other.listing(),
        topics=[
            {
                "name": one["name"],
                "partitions": [{"partition_index": at, "leader_id": node} for at, node in enumerate((1, 2))],
            }
            for one in asked.values["topics"]
        ],
    )
    other.answers["Produce"] = accept
    return {"clusters": [{"name": "other", "endpoints": [f"{HOST}:{port}" for port in other.bootstrap]}], **options}


def accept(broker: Broker, asked: Asked) -> bytes:
    return asked.answer(
        responses=[
            {"name": one["name"], "partition_responses": [{"index": part["index"]} for part in one["partition_data"]]}
            for one in asked.values["topic_data"]
        ]
    )


def produced(*batches: bytes, topic: str = "a", acks: int = 1) -> dict[str, Any]:
    partitions = [{"index": at, "records": records} for at, records in enumerate(batches)]
    return {"acks": acks, "topic_data": [{"name": topic, "partition_data": partitions}]}


def got(broker: Broker) -> list[tuple[str, int, bytes]]:
    return [
        (topic["name"], part["index"], part["records"])
        for asked in broker.asked
        if asked.api.name == "Produce"
        for topic in asked.values["topic_data"]
        for part in topic["partition_data"]
    ]


async def until(it: Filtered, name: str, value: int, **labels: str) -> None:
    while it.front.value(f"l4proxy_kafka_mirror_{NAMES[name]}", cluster="other", **labels) < value:
        await asyncio.sleep(0.01)


NOWHERE = {"use": "mirror", "cluster": "up", "topics": ["nothing"]}
MIRROR = {"use": "mirror", "cluster": "other", "topics": ["a*"]}


def test_what_the_brokers_have_taken_is_copied_to_its_partition() -> None:
    async def main() -> None:
        async with cluster(1, 2) as other, filtered(MIRROR, NOWHERE, **second(other)) as it:
            it.brokers.answers["Produce"] = accept
            first = batch(2, producer=(7, 1, 0))
            await it.client.ask("Produce", 9, **produced(first, batch(3)))
            await it.client.ask("Produce", 9, **produced(batch(5)))
            await it.client.ask("Produce", 9, **produced(batch(), topic="other"))
            await until(it, "copied", 3)
            assert got(other.brokers[1]) == [("a", 0, batch(2)), ("a", 0, batch(5))]
            assert got(other.brokers[2]) == [("a", 1, batch(3))]
            it.answer("Produce", responses=[{"name": "a", "partition_responses": [{"index": 0, "error_code": 10}]}])
            await it.client.ask("Produce", 9, **produced(batch(9)))
            it.brokers.answers["Produce"] = lambda broker, asked: b""
            it.client.send("Produce", 9, **produced(batch(4), acks=0))
            await until(it, "copied", 4)
            assert got(other.brokers[1])[-1] == ("a", 0, batch(4))

    run(main)


def test_a_leader_that_moves_is_asked_for_again() -> None:
    async def main() -> None:
        async with cluster(1, 2) as other, filtered(MIRROR, **second(other)) as it:
            it.brokers.answers["Produce"] = accept
            errors = iter([6])

            def moved(broker: Broker, asked: Asked) -> bytes:
                part = {"index": 0, "error_code": next(errors, 0)}
                return asked.answer(responses=[{"name": "a", "partition_responses": [part]}])

            other.answers["Produce"] = moved
            await it.client.ask("Produce", 9, **produced(batch(2)))
            await until(it, "copied", 1)
            assert other.brokers[1].names.count("Metadata") + other.brokers[2].names.count("Metadata") == 2

    run(main)


def test_the_original_does_not_notice_what_becomes_of_the_copy() -> None:
    """The other cluster refuses, then hangs, then is gone; there is room for little."""

    async def main() -> None:
        async with (
            cluster(1, 2) as other,
            filtered({**MIRROR, "buffer_limit": 1024}, **second(other)) as it,
        ):
            it.brokers.answers["Produce"] = accept

            def refuse(broker: Broker, asked: Asked) -> bytes:
                part = {"index": 0, "error_code": 29}
                return asked.answer(responses=[{"name": "a", "partition_responses": [part]}])

            other.answers["Produce"] = refuse
            await it.client.ask("Produce", 9, **produced(batch(2)))
            await until(it, "dropped", 1, reason="topic_authorization_failed")
            await it.client.ask("Produce", 9, **produced(batch(2, attributes=TRANSACTIONAL)))
            await until(it, "dropped", 1, reason="transactional")
            other.answers["Produce"] = lambda broker, asked: b""
            for _ in range(50):
                await it.client.ask("Produce", 9, **produced(batch(2)))
            await until(it, "dropped", 20, reason="overflow")
            for broker in other.brokers.values():
                await broker.stop()
            for _ in range(50):
                await it.client.ask("Produce", 9, **produced(batch(2)))
            assert it.front.value("l4proxy_kafka_mirror_waiting_bytes", cluster="other") <= 1024

    run(main)
