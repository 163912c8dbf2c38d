"""Topics: names and ids, offsets that are told twice, partitions that begin anew, leaders."""

from __future__ import annotations

import base64

import pytest

from kafka_messages import batch, request, response
from kafka_speech import Client, Speech
from l4proxy.plugins.kafka import topics

ID = b"0123456789abcdef"
OTHER_ID = b"fedcba9876543210"
ID_TEXT = base64.urlsafe_b64encode(ID).rstrip(b"=").decode()


def metadata(client: Client, name: str = "orders", topic_id: bytes = ID, leaders: tuple[int, ...] = (1,)) -> None:
    partitions = [{"partition_index": index, "leader_id": leader} for index, leader in enumerate(leaders)]
    topic = {"name": name, "topic_id": topic_id, "partitions": partitions}
    client.ask("Metadata", 12, {}, {"topics": [topic]})


def fetch(client: Client, topic_id: bytes = ID, records: bytes = b"", end: int = 0) -> None:
    partition = {"partition_index": 0, "high_watermark": end, "records": records}
    client.ask("Fetch", 13, {"topics": []}, {"responses": [{"topic_id": topic_id, "partitions": [partition]}]})


def test_records_are_counted_when_they_are_acknowledged(speech: Speech) -> None:
    client = speech.client()
    client.send("Produce", 9, acks=1, topic_data=[{"name": "orders", "partition_data": [{"records": batch(5)}]}])
    assert speech.values("produced_records_total") == {}
    client.receive("Produce", 9, responses=[{"name": "orders", "partition_responses": [{"base_offset": 7}]}])
    assert speech.value("produced_records_total", "orders", "0") == 5
    assert speech.value("produced_batches_total", "orders", "0") == 1
    assert speech.value("produced_bytes_total", "orders", "0") == len(batch(5))
    assert speech.value("partition_end_offset", "orders", "0") == 12
    assert speech.value("produced_batch_records", "orders")["sum"] == 5


def test_what_a_broker_refuses_is_not_produced(speech: Speech) -> None:
    speech.client().produce("orders", 5, error=6)
    assert speech.values("produced_records_total") == {}
    assert speech.value("errors_total", "Produce", "NOT_LEADER_OR_FOLLOWER") == 1


def produce_as(client: Client, producer: tuple[int, int, int], offset: int, records: int = 5) -> None:
    partition = {"records": batch(records, producer=producer)}
    client.send("Produce", 9, acks=-1, topic_data=[{"name": "orders", "partition_data": [partition]}])
    client.receive("Produce", 9, responses=[{"name": "orders", "partition_responses": [{"base_offset": offset}]}])


def test_a_batch_that_is_acknowledged_again_is_a_duplicate(speech: Speech) -> None:
    client = speech.client()
    for sequence, offset in ((0, 0), (5, 5), (0, 0), (5, 5), (10, 10)):
        produce_as(client, (7, 0, sequence), offset)
    produce_as(client, (8, 0, 0), 15)
    produce_as(client, (7, 1, 0), 20)
    assert speech.value("produced_records_total", "orders", "0") == 25
    assert speech.value("duplicate_records_total", "orders", "0") == 10
    assert speech.value("partition_end_offset", "orders", "0") == 25


def test_sequence_numbers_begin_again(speech: Speech) -> None:
    client = speech.client()
    produce_as(client, (7, 0, 2**31 - 1), 0, records=1)
    produce_as(client, (7, 0, 0), 1, records=1)
    assert speech.value("produced_records_total", "orders", "0") == 2


def test_large_batches_have_producers_too(speech: Speech) -> None:
    client = speech.client()
    large = batch(1, producer=(7, 0, 0), packed=bytes(100_000))
    topic = {"name": "orders", "partition_data": [{"records": large}]}
    for number in (1, 2):
        frame = request("Produce", 9, number, acks=-1, topic_data=[topic])
        for at in range(0, len(frame), 30_000):
            client.conversation.client_data(frame[at : at + 30_000], 0.0)
        answer = response("Produce", 9, number, responses=[{"name": "orders", "partition_responses": [{}]}])
        client.conversation.server_data(answer, 0.0)
    assert speech.value("duplicate_records_total", "orders", "0") == 1


def test_producers_are_not_remembered_for_ever(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "PRODUCERS", 10)
    client = speech.client()
    for producer in range(100):
        produce_as(client, (producer, 0, 0), producer * 5)
    assert len(speech.view.topics.find(b"orders").partition(0)._producers) == 10
    assert speech.value("produced_records_total", "orders", "0") == 500


def test_news_of_other_connections_may_come_late(speech: Speech) -> None:
    one, other = speech.client(), speech.client()
    other.produce("orders", 5, 5)
    one.produce("orders", 5, 0)
    assert speech.value("produced_records_total", "orders", "0") == 10
    assert speech.value("partition_end_offset", "orders", "0") == 10


def test_a_partition_that_begins_anew(speech: Speech) -> None:
    client = speech.client()
    for offset in (0, 20_000, 0):
        client.produce("orders", 5, offset)
    assert speech.value("rewound_partitions_total") == 1
    assert speech.value("partition_end_offset", "orders", "0") == 5
    assert speech.value("produced_records_total", "orders", "0") == 15


def test_ids_get_their_names(speech: Speech) -> None:
    client = speech.client()
    fetch(client, records=batch(5), end=9)
    assert speech.values("fetched_records_total") == {(ID_TEXT, "0"): 5}
    metadata(client)
    fetch(client, records=batch(5), end=9)
    assert speech.values("fetched_records_total") == {("orders", "0"): 10}
    assert speech.values("partition_end_offset") == {("orders", "0"): 9}


def test_a_topic_that_was_seen_by_its_id_and_by_its_name(speech: Speech) -> None:
    client = speech.client()
    fetch(client, records=batch(5), end=9)
    client.produce("orders", 2, 7)
    metadata(client)
    assert speech.values("fetched_records_total") == {("orders", "0"): 5}
    assert speech.values("produced_records_total") == {("orders", "0"): 2}
    fetch(client, records=batch(1), end=10)
    assert speech.values("fetched_records_total") == {("orders", "0"): 6}


def test_another_id_is_another_topic_of_the_same_name(speech: Speech) -> None:
    client = speech.client()
    metadata(client)
    client.produce("orders", 5, 100)
    metadata(client, topic_id=OTHER_ID)
    client.produce("orders", 2, 0)
    assert speech.values("partition_end_offset") == {("orders", "0"): 2}
    assert speech.value("rewound_partitions_total") == 1


def test_a_deleted_topic_has_no_metrics(speech: Speech) -> None:
    client = speech.client()
    metadata(client)
    client.produce("orders", 5)
    client.commit("billing", "orders", 3)
    speech.registry.collect()
    client.ask("DeleteTopics", 6, {}, {"responses": [{"name": "orders", "topic_id": ID}]})
    for name in ("produced_records_total", "partition_end_offset", "leader_changes_total", "consumer_group_lag",
                 "consumer_group_committed_offset"):  # fmt: skip
        assert speech.values(name) == {}


def test_what_repeats_is_counted_for_the_topic_that_is_there_now(speech: Speech) -> None:
    client = speech.client()
    for offset in (0, 5, 10):
        client.produce("orders", 5, offset)
    client.ask("DeleteTopics", 6, {}, {"responses": [{"name": "orders", "topic_id": ID}]})
    assert speech.values("produced_records_total") == {}
    for offset in (0, 5, 10):
        client.produce("orders", 5, offset)
    assert speech.values("produced_records_total") == {("orders", "0"): 15}
    assert speech.values("partition_end_offset") == {("orders", "0"): 15}


def test_what_repeats_by_its_id_is_counted_for_the_name_when_that_is_known(speech: Speech) -> None:
    client, other = speech.client(), speech.client()

    def produce(offset: int) -> None:
        asked = {"acks": 1, "topic_data": [{"topic_id": ID, "partition_data": [{"records": batch(5)}]}]}
        answered = {"responses": [{"topic_id": ID, "partition_responses": [{"base_offset": offset}]}]}
        client.ask("Produce", 13, asked, answered)

    for offset in (0, 5, 10):
        produce(offset)
    assert speech.values("produced_records_total") == {(ID_TEXT, "0"): 15}
    other.produce("orders", 5, 15)
    metadata(other)
    for offset in (20, 25, 30):
        produce(offset)
    assert speech.values("produced_records_total") == {("orders", "0"): 35}
    assert speech.values("partition_end_offset") == {("orders", "0"): 35}


def test_topics_have_ids_as_soon_as_they_are_made(speech: Speech) -> None:
    client = speech.client()
    client.ask("CreateTopics", 7, {}, {"topics": [{"name": "orders", "topic_id": ID}, {"name": "x", "error_code": 36}]})
    fetch(client, records=batch(1), end=1)
    assert speech.values("fetched_records_total") == {("orders", "0"): 1}
    assert speech.value("errors_total", "CreateTopics", "TOPIC_ALREADY_EXISTS") == 1


def test_topics_that_are_only_named_have_no_metrics(speech: Speech) -> None:
    metadata(speech.client())
    assert not speech.values("produced_batch_bytes")
    assert not speech.values("leader_changes_total")


def test_leaders(speech: Speech) -> None:
    client = speech.client()
    for leaders in ((1, 2), (1, 2), (1, -1), (1, 3), (1, 3)):
        metadata(client, leaders=leaders)
    assert speech.value("leader_changes_total", "orders") == 1
    metadata(client, leaders=(2, 3))
    assert speech.value("leader_changes_total", "orders") == 2
    assert speech.notices() == [
        "orders/1 is led by broker 3, not by 2 any more",
        "orders/0 is led by broker 2, not by 1 any more",
    ]


def test_errors_of_partitions_are_counted_each_time(speech: Speech) -> None:
    client = speech.client()
    topic = {"name": "orders", "partitions": [{"partition_index": 0, "leader_id": -1, "error_code": 5}]}
    for _ in range(3):
        client.ask("Metadata", 9, {}, {"topics": [topic]})
    assert speech.value("errors_total", "Metadata", "LEADER_NOT_AVAILABLE") == 3


def test_clients_cannot_make_up_topics(speech: Speech) -> None:
    client = speech.client()
    client.ask("Metadata", 9, {}, {"topics": [{"name": "nonsense", "error_code": 3}]})
    client.produce("nonsense", error=3)
    assert list(speech.view.topics) == []


def test_there_is_an_end_to_topics(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MAX_TOPICS", 3)
    client = speech.client()
    for number in range(9):
        client.produce(f"topic{number}")
    assert {name for name, _ in speech.values("produced_records_total")} == {"topic0", "topic1", "topic2", "other"}


def test_names_that_are_not_text(speech: Speech) -> None:
    client = speech.client()
    topic = {"name": "t\udcff", "partition_data": [{"records": batch(1)}]}
    client.conversation.client_data(request("Produce", 9, 1, acks=1, topic_data=[topic]), 0.0)
    answer = response("Produce", 9, 1, responses=[{"name": "t\udcff", "partition_responses": [{}]}])
    client.conversation.server_data(answer, 0.0)
    assert speech.value("produced_records_total", "t\\xff", "0") == 1


def test_codecs(speech: Speech) -> None:
    client = speech.client()
    for offset, attributes in enumerate((0, 1, 1, 4)):
        partition = {"records": batch(1, attributes=attributes)}
        client.send("Produce", 9, acks=1, topic_data=[{"name": "orders", "partition_data": [partition]}])
        client.receive("Produce", 9, responses=[{"name": "orders", "partition_responses": [{"base_offset": offset}]}])
    for _ in range(2):
        expected = {("orders", "none"): 1, ("orders", "gzip"): 2, ("orders", "zstd"): 1}
        assert speech.values("codec_batches_total") == expected
