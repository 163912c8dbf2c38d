"""What is counted of Kafka traffic. The names are for dashboards: they stay.

A class that has the labels of topics, partitions or groups may have many series. Those of what is gone (a deleted
topic, a group that is deleted, a client that was not seen for long) are discarded.
"""

from __future__ import annotations

from l4proxy.stats import BYTES, SECONDS, Stats, counter, gauge, histogram, labelled_counter

__all__ = [
    "ApiStats",
    "ClientStats",
    "GroupPartitionStats",
    "GroupStats",
    "KafkaStats",
    "LagStats",
    "MechanismStats",
    "PartitionEndStats",
    "PartitionStats",
    "PrincipalStats",
    "SoftwareStats",
    "TopicStats",
    "VersionStats",
]

RECORDS = tuple(2**power for power in range(15))
"""Records in a batch."""
PARTITIONS = 10_000
"""Partitions, and pairs of a group and a partition, with series of their own."""
TOPICS = 2000
CLIENTS = 1000


class KafkaStats(Stats, subsystem="kafka"):
    """What is counted of all connections together."""

    requests_in_flight = gauge("Requests that wait for their responses now.")
    unanswered_requests_total = counter("Requests whose connection ended before their response.")
    unanswered_records_total = counter("Records in such requests: whether they were stored is not known.")
    unknown_responses_total = counter("Responses to no request that was seen.")
    undecodable_frames_total = labelled_counter("Requests and responses that could not be read.", label="code")
    opaque_requests_total = counter("Requests of an API or a version that is not known here; they pass all the same.")
    idle_fetches_total = counter("Fetch responses without any record.")
    requests_without_acks_total = counter("Produce requests that ask for no acknowledgement (acks=0).")
    follower_fetches_total = counter("Fetch requests of other brokers, which count in nothing else but requests.")
    rewound_partitions_total = counter("Partitions that were found to begin anew: deleted and made again.")
    connection_storms_total = counter("Times that one host opened more connections than connection_storm allows.")


class ApiStats(Stats, subsystem="kafka", labels=("api",), budget=300):
    """Of each API."""

    request_seconds = histogram("From the last byte of a request to its response.", buckets=SECONDS)
    request_bytes_total = counter("Bytes of requests, with their headers.")
    response_bytes_total = counter("Bytes of responses, with their headers.")
    errors_total = labelled_counter("Error codes in responses: one for each topic, partition, group.", label="error")
    throttled_total = counter("Responses that told the client to slow down.")
    throttled_seconds_total = counter("By how long, in all.", number=float)


class VersionStats(Stats, subsystem="kafka", labels=("api", "version"), budget=1000):
    """Of each version of each API."""

    requests_total = counter("Requests.")
    version_request_seconds = histogram("`request_seconds`, by version.", buckets=SECONDS)


class PartitionStats(Stats, subsystem="kafka", labels=("topic", "partition"), budget=PARTITIONS):
    """Of each partition of which records were produced or fetched. Records are those of data batches; what a broker
    refused, or had already, is not produced."""

    produced_records_total = counter("Records that a broker acknowledged, or was asked not to (acks=0).")
    produced_batches_total = counter("Batches that these came in.")
    produced_bytes_total = counter("Bytes of these batches, as they are stored.")
    duplicate_records_total = counter("Records that were acknowledged a second time; not among the produced ones.")
    fetched_records_total = counter("Records that consumers were sent.")
    fetched_batches_total = counter("Batches that these came in.")
    fetched_bytes_total = counter("Bytes of all batches that consumers were sent.")
    fetched_control_batches_total = counter("Batches with the marker of a transaction that consumers were sent.")


class PartitionEndStats(Stats, subsystem="kafka", labels=("topic", "partition"), budget=PARTITIONS):
    """Of each partition whose end was seen."""

    partition_end_offset = gauge("The offset behind the last record, as far as it was seen.", merge="max")


class TopicStats(Stats, subsystem="kafka", labels=("topic",), budget=TOPICS):
    """Of each topic."""

    produced_batch_bytes = histogram("Sizes of produced batches.", buckets=BYTES)
    produced_batch_records = histogram("Records in produced batches.", buckets=RECORDS)
    codec_batches_total = labelled_counter("Produced batches, by compression codec.", label="codec")
    leader_changes_total = counter("Partitions that were seen to have another leader than before.")


class GroupStats(Stats, subsystem="kafka", labels=("group",), budget=TOPICS):
    """Of each consumer group."""

    consumer_group_members = gauge("Members, as far as they were heard of.")
    consumer_group_generation = gauge("The generation, or the epoch of the new protocol.", merge="max")
    rebalances_total = labelled_counter("Generations that began, by what made them.", label="reason")
    rebalance_seconds = histogram("From the first sign of a rebalance until it was over.", buckets=SECONDS)
    committed_offsets_total = counter("Offsets that were committed.")


class GroupPartitionStats(Stats, subsystem="kafka", labels=("group", "topic", "partition"), budget=PARTITIONS):
    """Of each partition that a group has committed an offset of."""

    consumer_group_committed_offset = gauge("The last offset that was seen to be committed.", merge="latest")


class LagStats(Stats, subsystem="kafka", labels=("group", "topic", "partition"), budget=PARTITIONS):
    """Of each of these partitions whose end was seen, too."""

    consumer_group_lag = gauge(
        "Records between that and the end of the partition, as it was seen.",
        merge="max",
        difference=("l4proxy_kafka_partition_end_offset", "l4proxy_kafka_consumer_group_committed_offset"),
    )


class ClientStats(Stats, subsystem="kafka_client", labels=("client_id",), budget=CLIENTS):
    """Of each client id that was seen of late."""

    requests_total = counter("Requests.")
    request_bytes_total = counter("Bytes of requests.")
    response_bytes_total = counter("Bytes of responses.")
    errors_total = counter("Error codes in responses.")
    produced_records_total = counter("Records that a broker acknowledged, or was asked not to.")
    fetched_records_total = counter("Records that the client was sent.")
    throttled_total = counter("Responses that told the client to slow down.")


class SoftwareStats(Stats, subsystem="kafka_software", labels=("name", "version")):
    """Of each kind of client software that has told its name (ApiVersions from version 3 on)."""

    connections_total = counter("Connections.")


class MechanismStats(Stats, subsystem="kafka", labels=("mechanism",)):
    """Of each SASL mechanism."""

    authentications_total = labelled_counter("Authentications, by outcome.", label="outcome")


class PrincipalStats(Stats, subsystem="kafka_principal", labels=("principal",)):
    """Of each principal that was seen to authenticate with SASL."""

    connections_total = counter("Connections that were authenticated.")
    requests_total = counter("Requests since then.")
    errors_total = counter("Error codes in responses to them.")
