"""What every request counts, and what is known of who sends it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kafka_messages import batch, request, response
from kafka_speech import Speech
from l4proxy.plugins.kafka.config import KafkaConfig


def test_requests_bytes_and_time(speech: Speech) -> None:
    client = speech.client(b"me")
    client.ask("Heartbeat", 4, {"group_id": "g"}, {"throttle_time_ms": 250})
    assert speech.values("requests_total") == {("Heartbeat", "4"): 1}
    asked, answered = len(request("Heartbeat", 4, 1, b"me", group_id="g")), len(response("Heartbeat", 4, 1))
    assert speech.value("request_bytes_total", "Heartbeat") == asked
    assert speech.value("response_bytes_total", "Heartbeat") == answered
    assert speech.value("request_seconds", "Heartbeat")["sum"] == 0.25
    assert speech.value("throttled_total", "Heartbeat") == 1
    assert speech.value("throttled_seconds_total", "Heartbeat") == 0.25
    assert speech.value("client_requests_total", "me") == 1
    assert speech.value("client_request_bytes_total", "me") == asked
    assert speech.value("client_response_bytes_total", "me") == answered
    assert speech.value("client_throttled_total", "me") == 1


def test_time_by_version(speech: Speech) -> None:
    client = speech.client()
    client.ask("Heartbeat", 4, {"group_id": "g"}, {})
    client.ask("Heartbeat", 3, {"group_id": "g"}, {}, after=1)
    assert speech.value("request_seconds", "Heartbeat")["sum"] == 1.25
    by_version = {labels: value["sum"] for labels, value in speech.values("version_request_seconds").items()}
    assert by_version == {("Heartbeat", "4"): 0.25, ("Heartbeat", "3"): 1}
    client.ask("Heartbeat", 3, {"group_id": "g"}, {}, after=1)
    assert speech.value("request_seconds", "Heartbeat")["sum"] == 2.25


def test_in_flight_and_never_answered(speech: Speech) -> None:
    client = speech.client()
    client.send("Heartbeat", 4, group_id="g")
    client.send("Produce", 9, acks=1, topic_data=[{"name": "t", "partition_data": [{"records": batch(7)}]}])
    assert speech.value("requests_in_flight") == 2
    client.close()
    assert speech.value("requests_in_flight") == 0
    assert speech.value("unanswered_requests_total") == 2
    assert speech.value("unanswered_records_total") == 7


def test_without_acknowledgement(speech: Speech) -> None:
    client = speech.client()
    client.produce("orders", 5, acks=0)
    assert speech.value("produced_records_total", "orders", "0") == 5
    assert speech.value("requests_without_acks_total") == 1
    assert speech.value("requests_in_flight") == 0
    assert [(exchange.kind, exchange.seconds) for exchange in speech.exchanges] == [("Produce", None)]
    assert speech.values("partition_end_offset") == {}


def test_fetches(speech: Speech) -> None:
    client = speech.client()
    records = batch(3) + batch(1, base_offset=3, attributes=0x30)
    partition = {"partition_index": 2, "high_watermark": 9, "records": records}
    failed = {"partition_index": 3, "error_code": 1}
    topic = {"topic": "orders", "partitions": [partition, failed]}
    client.ask("Fetch", 11, {}, {"responses": [topic]})
    client.ask("Fetch", 11, {}, {"responses": []})
    client.ask("Fetch", 11, {}, {"error_code": 70})
    assert speech.values("fetched_records_total") == {("orders", "2"): 3}
    assert speech.value("fetched_batches_total", "orders", "2") == 1
    assert speech.value("fetched_control_batches_total", "orders", "2") == 1
    assert speech.value("fetched_bytes_total", "orders", "2") == len(records)
    assert speech.value("partition_end_offset", "orders", "2") == 9
    assert speech.value("idle_fetches_total") == 1
    assert speech.value("errors_total", "Fetch", "OFFSET_OUT_OF_RANGE") == 1
    assert speech.value("errors_total", "Fetch", "FETCH_SESSION_ID_NOT_FOUND") == 1
    assert speech.value("client_fetched_records_total", "client") == 3


def test_brokers_that_replicate_are_no_consumers(speech: Speech) -> None:
    client = speech.client(b"broker-2-fetcher-0")
    partition = {"partition_index": 0, "high_watermark": 9, "records": batch(3)}
    client.ask("Fetch", 11, {}, {"responses": [{"topic": "orders", "partitions": [partition]}]})
    assert speech.values("fetched_records_total") == {}
    assert speech.value("follower_fetches_total") == 1


def test_share_groups_fetch_too(speech: Speech) -> None:
    client = speech.client()
    client.ask("Metadata", 12, {}, {"topics": [{"name": "orders", "topic_id": b"i" * 16}]})
    partitions = [{"records": batch(3)}, {"partition_index": 1, "error_code": 6, "acknowledge_error_code": 121}]
    client.ask("ShareFetch", 1, {}, {"responses": [{"topic_id": b"i" * 16, "partitions": partitions}]})
    client.ask("ShareFetch", 1, {}, {"responses": []})
    assert speech.values("fetched_records_total") == {("orders", "0"): 3}
    assert speech.value("idle_fetches_total") == 1
    assert speech.value("errors_total", "ShareFetch", "INVALID_RECORD_STATE") == 1


@pytest.mark.parametrize(
    ("api", "version", "answer", "errors"),
    [
        ("AddPartitionsToTxn", 4, {"results_by_transaction": [{"topic_results": [{"results_by_partition": [
            {"partition_error_code": 51}]}]}]}, {"CONCURRENT_TRANSACTIONS": 1}),
        ("DescribeConfigs", 4, {"results": [{"error_code": 0}, {"error_code": 29}]}, {"TOPIC_AUTHORIZATION_FAILED": 1}),
        ("InitProducerId", 4, {"error_code": 15}, {"COORDINATOR_NOT_AVAILABLE": 1}),
        ("FindCoordinator", 2, {"error_code": 15}, {"COORDINATOR_NOT_AVAILABLE": 1}),
        ("FindCoordinator", 6, {"coordinators": [{"error_code": 15}] * 2}, {"COORDINATOR_NOT_AVAILABLE": 2}),
        ("ApiVersions", 4, {"api_keys": [{"api_key": 7}]}, {}),
        ("DescribeQuorum", 2, {"error_code": 41}, {"NOT_CONTROLLER": 1}),
        ("CreateDelegationToken", 3, {"error_code": 61}, {"DELEGATION_TOKEN_AUTH_DISABLED": 1}),
        ("PushTelemetry", 0, {"error_code": 118}, {"TELEMETRY_TOO_LARGE": 1}),
    ],
)  # fmt: skip
def test_errors_of_every_api(
    speech: Speech, api: str, version: int, answer: dict[str, Any], errors: dict[str, int]
) -> None:
    speech.client().ask(api, version, {}, answer)
    assert {error: count for (_, error), count in speech.values("errors_total").items()} == errors
    assert speech.exchanges[-1].error == next(iter(errors), "")


def test_what_is_not_known_is_opaque(speech: Speech) -> None:
    client = speech.client()
    client.send("Heartbeat", 4, group_id="g")
    client.conversation.client_data(struct.pack(">ihhih", 14, 10_001, 3, 9, 0) + b"body", 0.0)
    client.conversation.client_data(struct.pack(">ihhih", 14, 0, 99, 10, 0) + b"body", 0.0)
    assert speech.value("opaque_requests_total") == 2
    assert speech.values("requests_total") == {("Heartbeat", "4"): 1, ("api_10001", "3"): 1, ("Produce", "99"): 1}


def test_what_cannot_be_read(speech: Speech) -> None:
    client = speech.client()
    client.send("Heartbeat", 4, group_id="g")
    client.conversation.server_data(struct.pack(">ii", 5, 1) + b"\0", 0.0)
    client.conversation.server_data(struct.pack(">ii", 5, 99) + b"\0", 0.0)
    assert speech.values("undecodable_frames_total") == {("truncated",): 1}
    assert speech.value("unknown_responses_total") == 1
    assert "a response: Heartbeat version 4" in speech.notices()[0]


# Who it is


def test_software(speech: Speech) -> None:
    client = speech.client()
    software = {"client_software_name": "apache-kafka-java", "client_software_version": "4.1.1"}
    client.ask("ApiVersions", 3, software, {})
    assert speech.value("software_connections_total", "apache-kafka-java", "4.1.1") == 1
    assert client.link.state["kafka:software"] == "apache-kafka-java 4.1.1"


def test_client_ids_come_and_go(speech: Speech) -> None:
    for number in range(3):
        client = speech.client(b"run-%d" % number)
        client.heartbeat("g", "m")
        client.close()
    stays = speech.client(b"stays")
    stays.heartbeat("g", "m")
    assert len(speech.values("client_requests_total")) == 4
    speech.now += 3601
    stays.heartbeat("g", "m")
    assert speech.values("client_requests_total") == {("stays",): 2}


def test_storms(speech: Speech) -> None:
    speech = Speech(KafkaConfig(connection_storm=5))
    for host, count in (("192.0.2.1", 20), ("192.0.2.2", 5)):
        for _ in range(count):
            speech.client(host=host).heartbeat("g", "m")
            speech.now -= 0.25
    assert speech.value("connection_storms_total") == 1
    assert speech.notices() == ["192.0.2.1 opens more than 5 connections in ten seconds"]
    speech.now += 20
    for _ in range(6):
        speech.client().heartbeat("g", "m")
        speech.now -= 0.25
    assert speech.value("connection_storms_total") == 2


def authenticate(speech: Speech, mechanism: str, *tokens: bytes, error: int = 0) -> Any:
    client = speech.client()
    client.ask("SaslHandshake", 1, {"mechanism": mechanism}, {"mechanisms": [mechanism]})
    for token in tokens:
        client.ask("SaslAuthenticate", 2, {"auth_bytes": token}, {"error_code": error, "auth_bytes": b"v=secret"})
    return client


def test_principals(speech: Speech) -> None:
    client = authenticate(speech, "PLAIN", b"\0alice\0sesame")
    client.heartbeat("g", "m", error=27)
    assert speech.value("authentications_total", "PLAIN", "success") == 1
    assert speech.value("principal_connections_total", "alice") == 1
    assert speech.value("principal_requests_total", "alice") == 1
    assert speech.value("principal_errors_total", "alice") == 1
    assert client.link.state["kafka:principal"] == "alice"
    assert client.link.state["kafka:mechanism"] == "PLAIN"


def test_scram_takes_two_rounds(speech: Speech) -> None:
    client = authenticate(speech, "SCRAM-SHA-256", b"n,,n=bob,r=abc")
    assert speech.values("authentications_total") == {}
    client.ask("SaslAuthenticate", 2, {"auth_bytes": b"c=biws,r=abc,p=x"}, {})
    assert speech.value("authentications_total", "SCRAM-SHA-256", "success") == 1
    assert speech.value("principal_connections_total", "bob") == 1


def test_failures(speech: Speech) -> None:
    authenticate(speech, "PLAIN", b"\0alice\0wrong", error=58)
    authenticate(speech, "SCRAM-SHA-256", b"n,,n=bob,r=abc").close()
    client = speech.client()
    client.ask("SaslHandshake", 1, {"mechanism": "GSSAPI"}, {"error_code": 33})
    outcomes = {("PLAIN", "failure"): 1, ("SCRAM-SHA-256", "failure"): 1, ("GSSAPI", "failure"): 1}
    assert speech.values("authentications_total") == outcomes
    assert speech.values("principal_connections_total") == {}


def test_bare_tokens(speech: Speech) -> None:
    client = speech.client()
    client.ask("SaslHandshake", 0, {"mechanism": "PLAIN"}, {})
    client.conversation.client_data(struct.pack(">i", 13) + b"\0alice\0sesame", speech.now)
    client.conversation.server_data(struct.pack(">i", 0), speech.now)
    client.heartbeat("g", "m")
    assert speech.value("authentications_total", "PLAIN", "success") == 1
    assert speech.value("principal_requests_total", "alice") == 1


def test_secrets_go_nowhere(speech: Speech) -> None:
    client = authenticate(speech, "PLAIN", b"\0alice\0sesame")
    client.close()
    told = [exchange.line() + repr(exchange.fields()) + repr(vars_of(exchange)) for exchange in speech.exchanges]
    assert not [text for text in [*told, repr(client.link.state), repr(speech.registry.snapshot())] if "sesame" in text]


def vars_of(exchange: Any) -> list[Any]:
    names = [name for cls in type(exchange).__mro__ for name in getattr(cls, "__slots__", ())]
    return [getattr(exchange, name, None) for name in names if name not in ("view", "link")]


def test_what_access_logs_can_print(speech: Speech) -> None:
    client = speech.client(b"me")
    client.produce("orders", 5)
    client.produce("orders", 5, error=6)
    partition = {"records": batch(3)}
    client.ask("Fetch", 11, {}, {"responses": [{"topic": "orders", "partitions": [partition]}]})
    client.close()
    assert client.link.state == {
        "kafka:client_id": "me",
        "kafka:requests": 3,
        "kafka:errors": 1,
        "kafka:produced_records": 5,
        "kafka:fetched_records": 3,
    }
