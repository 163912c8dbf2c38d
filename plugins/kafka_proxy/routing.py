"""What becomes of each API where clients see several clusters as one.

Little has to be split. A client is told that the partitions of a topic are at brokers of the cluster that has it, and
sends what is about them (Produce, Fetch with its sessions, ListOffsets, OffsetForLeaderEpoch, DeleteRecords) to these
brokers by itself; so it does with a group, or a transaction, and its coordinator. All of this goes **straight**. What a
client may ask any broker is **routed**: parted by topic or group, asked of each cluster that it is about, and the
answers become one. What is about a cluster as a whole is **hidden**, as there is none.

Versions in which a response names brokers where they are not renumbered, or a request numbers topics, are not offered.
And as all clusters are asked in the version that the client has settled with one of them, routed APIs are offered in
those that Kafka has had since 3.0.
"""

from __future__ import annotations

from l4proxy.protocols.kafka.apis import BY_NAME

__all__ = ["HIDDEN", "OFFERED", "ROUTED"]

ROUTED = frozenset({
    "AlterConfigs", "CreatePartitions", "CreateTopics", "DeleteTopics", "DescribeCluster", "DescribeConfigs",
    "FindCoordinator", "IncrementalAlterConfigs", "InitProducerId", "Metadata",
})  # fmt: skip
STRAIGHT = frozenset({
    "AddOffsetsToTxn", "AddPartitionsToTxn", "ApiVersions", "ConsumerGroupDescribe", "ConsumerGroupHeartbeat",
    "DeleteGroups", "DeleteRecords", "DescribeGroups", "DescribeLogDirs", "DescribeProducers", "DescribeTransactions",
    "EndTxn", "Fetch", "Heartbeat", "JoinGroup", "LeaveGroup", "ListGroups", "ListOffsets", "ListTransactions",
    "OffsetCommit", "OffsetDelete", "OffsetFetch", "OffsetForLeaderEpoch", "Produce", "SaslAuthenticate",
    "SaslHandshake", "SyncGroup", "TxnOffsetCommit",
})  # fmt: skip
HIDDEN = frozenset(BY_NAME) - ROUTED - STRAIGHT
OFFERED = {
    "AlterConfigs": (0, 2),
    "CreatePartitions": (0, 3),
    "CreateTopics": (2, 7),
    "DeleteTopics": (1, 5),
    "DescribeCluster": (0, 0),
    "DescribeConfigs": (1, 4),
    "Fetch": (0, 10),
    "FindCoordinator": (0, 4),
    "IncrementalAlterConfigs": (0, 1),
    "Metadata": (1, 12),
}
"""First and last version, where that is not what it is without routes. From version 11 on, Fetch tells of replicas to
read from, and from 12 on of leaders."""
