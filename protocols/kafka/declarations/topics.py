"""Topics, their partitions, and configurations."""

from __future__ import annotations

from l4proxy.protocols.kafka.api import api

__all__ = [
    "ALTER_CONFIGS",
    "ALTER_PARTITION_REASSIGNMENTS",
    "ALTER_REPLICA_LOG_DIRS",
    "CREATE_PARTITIONS",
    "CREATE_TOPICS",
    "DELETE_TOPICS",
    "DESCRIBE_CONFIGS",
    "DESCRIBE_LOG_DIRS",
    "ELECT_LEADERS",
    "INCREMENTAL_ALTER_CONFIGS",
    "LIST_CONFIG_RESOURCES",
    "LIST_PARTITION_REASSIGNMENTS",
]

CREATE_TOPICS = api(
    19,
    "CreateTopics",
    versions=(0, 7),
    flexible=5,
    request="""
        topics []
          name string
          num_partitions int32
          replication_factor int16
          assignments []
            partition_index int32
            broker_ids []int32
          configs []
            name string
            value string?
        timeout_ms int32
        validate_only bool         1+
    """,
    response="""
        throttle_time_ms int32          2+
        topics []
          name string
          topic_id uuid                 7+
          error_code int16
          error_message string?         1+
          topic_config_error_code int16 5+ @0
          num_partitions int32          5+
          replication_factor int16      5+
          configs []?                   5+
            name string
            value string?
            read_only bool
            config_source int8
            is_sensitive bool
    """,
)

DELETE_TOPICS = api(
    20,
    "DeleteTopics",
    versions=(0, 6),
    flexible=4,
    request="""
        topics []                  6+
          name string?
          topic_id uuid
        topic_names []string       0-5
        timeout_ms int32
    """,
    response="""
        throttle_time_ms int32     1+
        responses []
          name string?
          topic_id uuid            6+
          error_code int16
          error_message string?    5+
    """,
)

DESCRIBE_CONFIGS = api(
    32,
    "DescribeConfigs",
    versions=(0, 4),
    flexible=4,
    request="""
        resources []
          resource_type int8
          resource_name string
          configuration_keys []string?
        include_synonyms bool      1+
        include_documentation bool 3+
    """,
    response="""
        throttle_time_ms int32
        results []
          error_code int16
          error_message string?
          resource_type int8
          resource_name string
          configs []
            name string
            value string?
            read_only bool
            is_default bool        0
            config_source int8     1+
            is_sensitive bool
            synonyms []            1+
              name string
              value string?
              source int8
            config_type int8       3+
            documentation string?  3+
    """,
)

ALTER_CONFIGS = api(
    33,
    "AlterConfigs",
    versions=(0, 2),
    flexible=2,
    request="""
        resources []
          resource_type int8
          resource_name string
          configs []
            name string
            value string?
        validate_only bool
    """,
    response="""
        throttle_time_ms int32
        responses []
          error_code int16
          error_message string?
          resource_type int8
          resource_name string
    """,
)

ALTER_REPLICA_LOG_DIRS = api(
    34,
    "AlterReplicaLogDirs",
    versions=(0, 2),
    flexible=2,
    request="""
        dirs []
          path string
          topics []
            name string
            partitions []int32
    """,
    response="""
        throttle_time_ms int32
        results []
          topic_name string
          partitions []
            partition_index int32
            error_code int16
    """,
)

DESCRIBE_LOG_DIRS = api(
    35,
    "DescribeLogDirs",
    versions=(0, 4),
    flexible=2,
    request="""
        topics []?
          topic string
          partitions []int32
    """,
    response="""
        throttle_time_ms int32
        error_code int16           3+
        results []
          error_code int16
          log_dir string
          topics []
            name string
            partitions []
              partition_index int32
              partition_size int64
              offset_lag int64
              is_future_key bool
          total_bytes int64        4+
          usable_bytes int64       4+
    """,
)

CREATE_PARTITIONS = api(
    37,
    "CreatePartitions",
    versions=(0, 3),
    flexible=2,
    request="""
        topics []
          name string
          count int32
          assignments []?
            broker_ids []int32
        timeout_ms int32
        validate_only bool
    """,
    response="""
        throttle_time_ms int32
        results []
          name string
          error_code int16
          error_message string?
    """,
)

ELECT_LEADERS = api(
    43,
    "ElectLeaders",
    versions=(0, 2),
    flexible=2,
    request="""
        election_type int8         1+
        topic_partitions []?
          topic string
          partitions []int32
        timeout_ms int32
    """,
    response="""
        throttle_time_ms int32
        error_code int16           1+
        replica_election_results []
          topic string
          partition_result []
            partition_id int32
            error_code int16
            error_message string?
    """,
)

INCREMENTAL_ALTER_CONFIGS = api(
    44,
    "IncrementalAlterConfigs",
    versions=(0, 1),
    flexible=1,
    request="""
        resources []
          resource_type int8
          resource_name string
          configs []
            name string
            config_operation int8
            value string?
        validate_only bool
    """,
    response="""
        throttle_time_ms int32
        responses []
          error_code int16
          error_message string?
          resource_type int8
          resource_name string
    """,
)

ALTER_PARTITION_REASSIGNMENTS = api(
    45,
    "AlterPartitionReassignments",
    versions=(0, 1),
    flexible=0,
    request="""
        timeout_ms int32
        allow_replication_factor_change bool 1+
        topics []
          name string
          partitions []
            partition_index int32
            replicas []int32?
    """,
    response="""
        throttle_time_ms int32
        allow_replication_factor_change bool 1+
        error_code int16
        error_message string?
        responses []
          name string
          partitions []
            partition_index int32
            error_code int16
            error_message string?
    """,
)

LIST_PARTITION_REASSIGNMENTS = api(
    46,
    "ListPartitionReassignments",
    versions=(0, 0),
    flexible=0,
    request="""
        timeout_ms int32
        topics []?
          name string
          partition_indexes []int32
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        topics []
          name string
          partitions []
            partition_index int32
            replicas []int32
            adding_replicas []int32
            removing_replicas []int32
    """,
)

LIST_CONFIG_RESOURCES = api(
    74,
    "ListConfigResources",
    versions=(0, 1),
    flexible=0,
    request="""
        resource_types []int8      1+
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        config_resources []
          resource_name string
          resource_type int8       1+
    """,
)
