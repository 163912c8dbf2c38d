from __future__ import annotations

from typing import Any

import pytest

from kafka_broker import Client
from kafka_front import Filtered, with_filters
from kafka_messages import batch, request
from l4proxy import ConfigError
from l4proxy.config.types import Size
from l4proxy.plugins.kafka_quota import KafkaQuota, KafkaQuotaConfig, KafkaQuotaStats, Quota
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import use

RECORDS = batch(value=bytes(10_000))
SIZE = len(RECORDS)


def produced(*topics: str, acks: int = 1) -> dict[str, Any]:
    partition = {"index": 0, "records": RECORDS}
    return {"acks": acks, "topic_data": [{"name": name, "partition_data": [partition]} for name in topics]}


async def throttle(client: Client, *topics: str, version: int = 9, client_id: bytes = b"test") -> int:
    """Seconds that a producer is told to wait, about."""
    client.number += 1
    client.writer.write(request("Produce", version, client.number, client_id, **produced(*topics)))
    response: dict[str, int] = client.read("Produce", version, await client.frame())
    return round(response.get("throttle_time_ms", 0) / 1000)


def test_producers_are_told_how_long_to_wait() -> None:
    @with_filters({"use": "quota", "produce_rate": SIZE // 100, "burst": "150s", "max_throttle": "120s"})
    async def story(it: Filtered) -> None:
        assert await throttle(it.client, "a") == 0
        assert await throttle(it.client, "a", "b") == 120  # it would be 150
        other = await it.another()
        assert await throttle(other, "a", client_id=b"other") == 0
        assert await throttle(other, "a") == 120
        await other.close()
        throttled = it.front.value("l4proxy_kafka_quota_throttled_total", name="", api="Produce")
        assert throttled == 2
        assert it.front.value("l4proxy_kafka_quota_clients", name="") == 2
        assert len(it.asked("Produce")) == 4


def test_a_client_that_does_not_wait_is_held() -> None:
    @with_filters({"use": "quota", "produce_rate": SIZE, "burst": "0s", "per": "source"})
    async def story(it: Filtered) -> None:
        for name in ("Produce", "Produce", "Heartbeat"):
            it.client.send(name, 0, **(produced("a") if name == "Produce" else {}))
        assert [int.from_bytes((await it.client.frame())[4:8], "big") for _ in range(3)] == [1, 2, 3]
        assert it.front.value("l4proxy_kafka_quota_held_total", name="") == 1


def test_consumers() -> None:
    @with_filters({"use": "quota", "fetch_rate": SIZE // 10, "per": "principal"})
    async def story(it: Filtered) -> None:
        partition = {"partition_index": 0, "records": RECORDS}
        it.answer("Fetch", throttle_time_ms=3, responses=[{"topic": "a", "partitions": [partition]}])
        fetched = await it.client.ask("Fetch", 11, topics=[])
        assert 8_000 < fetched["throttle_time_ms"] <= 10_001
        assert fetched["responses"][0]["partitions"][0]["records"] == RECORDS
        assert await throttle(it.client, "a") == 0


def test_quotas_of_topics() -> None:
    @with_filters(
        {"use": "quota", "produce_rate": SIZE // 100, "per": "topic", "topics": ["logs*"], "burst": "1ms",
         "max_throttle": "200s"},
    )  # fmt: skip
    async def story(it: Filtered) -> None:
        assert await throttle(it.client, "other") == 0
        other = await it.another()
        assert await throttle(it.client, "logs1", "other") in (100, 101)
        assert await throttle(other, "logs2") in (100, 101)
        await other.close()


def test_two_quotas_do_not_mix() -> None:
    tight = {"use": "quota", "produce_rate": SIZE // 100, "burst": "0s", "max_throttle": "200s", "name": "tight"}

    @with_filters(tight, {"use": "quota", "produce_rate": SIZE * 100, "name": "wide"})
    async def story(it: Filtered) -> None:
        assert await throttle(it.client, "a") in (100, 101)


def test_time_pays() -> None:
    now = 1000.0
    config = KafkaQuotaConfig(produce_rate=Size(100), max_clients=2)
    stats = StatsRegistry().group(KafkaQuotaStats, name="")
    quota = Quota(100, config, stats, lambda: now)
    assert quota.move("a", 100) == pytest.approx(0)
    assert quota.move("a", 250) == pytest.approx(2.5)
    now += 1
    assert quota.move("a", 0) == pytest.approx(1.5)
    now += 100
    assert quota.move("a", 100) == pytest.approx(0)
    quota.move("b", 1)
    quota.move("c", 1)
    assert len(quota) == 2
    assert stats.clients_forgotten_total == 1


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="produce_rate: write it"):
        use(KafkaQuota)
