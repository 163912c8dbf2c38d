"""The cluster: who is there, what they can, where to go."""

from __future__ import annotations

from l4proxy.protocols.kafka.api import api

__all__ = [
    "ADD_RAFT_VOTER",
    "API_VERSIONS",
    "DESCRIBE_CLUSTER",
    "DESCRIBE_QUORUM",
    "DESCRIBE_TOPIC_PARTITIONS",
    "GET_TELEMETRY_SUBSCRIPTIONS",
    "METADATA",
    "PUSH_TELEMETRY",
    "REMOVE_RAFT_VOTER",
    "UNREGISTER_BROKER",
    "UPDATE_FEATURES",
]

METADATA = api(
    3,
    "Metadata",
    versions=(0, 13),
    flexible=9,
    request="""
        topics []?
          topic_id uuid                            10+
          name string?
        allow_auto_topic_creation bool             4+
        include_cluster_authorized_operations bool 8-10
        include_topic_authorized_operations bool   8+
    """,
    response="""
        throttle_time_ms int32              3+
        brokers []
          node_id int32
          host string
          port int32
          rack string?                      1+
        cluster_id string?                  2+
        controller_id int32                 1+
        topics []
          error_code int16
          name string?
          topic_id uuid                     10+
          is_internal bool                  1+
          partitions []
            error_code int16
            partition_index int32
            leader_id int32
            leader_epoch int32              7+
            replica_nodes []int32
            isr_nodes []int32
            offline_replicas []int32        5+
          topic_authorized_operations int32 8+
        cluster_authorized_operations int32 8-10
        error_code int16                    13+
    """,
)

API_VERSIONS = api(
    18,
    "ApiVersions",
    versions=(0, 4),
    flexible=3,
    request="""
        client_software_name string    3+
        client_software_version string 3+
    """,
    response="""
        error_code int16
        api_keys []
          api_key int16
          min_version int16
          max_version int16
        throttle_time_ms int32         1+
        supported_features []          3+ @0
          name string
          min_version int16
          max_version int16
        finalized_features_epoch int64 3+ @1
        finalized_features []          3+ @2
          name string
          max_version_level int16
          min_version_level int16
        zk_migration_ready bool        3+ @3
    """,
)

DESCRIBE_QUORUM = api(
    55,
    "DescribeQuorum",
    versions=(0, 2),
    flexible=0,
    request="""
        topics []
          topic_name string
          partitions []
            partition_index int32
    """,
    response="""
        error_code int16
        error_message string?                2+
        topics []
          topic_name string
          partitions []
            partition_index int32
            error_code int16
            error_message string?            2+
            leader_id int32
            leader_epoch int32
            high_watermark int64
            current_voters []
              replica_id int32
              replica_directory_id uuid      2+
              log_end_offset int64
              last_fetch_timestamp int64     1+
              last_caught_up_timestamp int64 1+
            observers []
              replica_id int32
              replica_directory_id uuid      2+
              log_end_offset int64
              last_fetch_timestamp int64     1+
              last_caught_up_timestamp int64 1+
        nodes []                             2+
          node_id int32
          listeners []
            name string
            host string
            port uint16
    """,
)

UPDATE_FEATURES = api(
    57,
    "UpdateFeatures",
    versions=(0, 2),
    flexible=0,
    request="""
        timeout_ms int32
        feature_updates []
          feature string
          max_version_level int16
          allow_downgrade bool     0
          upgrade_type int8        1+
        validate_only bool         1+
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        results []                 0-1
          feature string
          error_code int16
          error_message string?
    """,
)

DESCRIBE_CLUSTER = api(
    60,
    "DescribeCluster",
    versions=(0, 2),
    flexible=0,
    request="""
        include_cluster_authorized_operations bool
        endpoint_type int8          1+
        include_fenced_brokers bool 2+
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        endpoint_type int8         1+
        cluster_id string
        controller_id int32
        brokers []
          broker_id int32
          host string
          port int32
          rack string?
          is_fenced bool           2+
        cluster_authorized_operations int32
    """,
)

UNREGISTER_BROKER = api(
    64,
    "UnregisterBroker",
    versions=(0, 0),
    flexible=0,
    request="""
        broker_id int32
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
    """,
)

GET_TELEMETRY_SUBSCRIPTIONS = api(
    71,
    "GetTelemetrySubscriptions",
    versions=(0, 0),
    flexible=0,
    request="""
        client_instance_id uuid
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        client_instance_id uuid
        subscription_id int32
        accepted_compression_types []int8
        push_interval_ms int32
        telemetry_max_bytes int32
        delta_temporality bool
        requested_metrics []string
    """,
)

PUSH_TELEMETRY = api(
    72,
    "PushTelemetry",
    versions=(0, 0),
    flexible=0,
    request="""
        client_instance_id uuid
        subscription_id int32
        terminating bool
        compression_type int8
        metrics bytes
    """,
    response="""
        throttle_time_ms int32
        error_code int16
    """,
)

DESCRIBE_TOPIC_PARTITIONS = api(
    75,
    "DescribeTopicPartitions",
    versions=(0, 0),
    flexible=0,
    request="""
        topics []
          name string
        response_partition_limit int32
        cursor {}?
          topic_name string
          partition_index int32
    """,
    response="""
        throttle_time_ms int32
        topics []
          error_code int16
          name string?
          topic_id uuid
          is_internal bool
          partitions []
            error_code int16
            partition_index int32
            leader_id int32
            leader_epoch int32
            replica_nodes []int32
            isr_nodes []int32
            eligible_leader_replicas []int32?
            last_known_elr []int32?
            offline_replicas []int32
          topic_authorized_operations int32
        next_cursor {}?
          topic_name string
          partition_index int32
    """,
)

ADD_RAFT_VOTER = api(
    80,
    "AddRaftVoter",
    versions=(0, 0),
    flexible=0,
    request="""
        cluster_id string?
        timeout_ms int32
        voter_id int32
        voter_directory_id uuid
        listeners []
          name string
          host string
          port uint16
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
    """,
)

REMOVE_RAFT_VOTER = api(
    81,
    "RemoveRaftVoter",
    versions=(0, 0),
    flexible=0,
    request="""
        cluster_id string?
        voter_id int32
        voter_directory_id uuid
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
    """,
)
