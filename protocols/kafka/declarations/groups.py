"""Consumer groups, classic and new (KIP-848), and their offsets."""

from __future__ import annotations

from l4proxy.protocols.kafka.api import api

__all__ = [
    "CONSUMER_GROUP_DESCRIBE",
    "CONSUMER_GROUP_HEARTBEAT",
    "DELETE_GROUPS",
    "DESCRIBE_GROUPS",
    "FIND_COORDINATOR",
    "HEARTBEAT",
    "JOIN_GROUP",
    "LEAVE_GROUP",
    "LIST_GROUPS",
    "OFFSET_COMMIT",
    "OFFSET_DELETE",
    "OFFSET_FETCH",
    "STREAMS_GROUP_DESCRIBE",
    "STREAMS_GROUP_HEARTBEAT",
    "SYNC_GROUP",
]

OFFSET_COMMIT = api(
    8,
    "OffsetCommit",
    versions=(0, 10),
    flexible=8,
    request="""
        group_id string
        generation_id_or_member_epoch int32 1+
        member_id string                    1+
        group_instance_id string?           7+
        retention_time_ms int64             2-4
        topics []
          name string                       0-9
          topic_id uuid                     10+
          partitions []
            partition_index int32
            committed_offset int64
            committed_leader_epoch int32    6+
            commit_timestamp int64          1
            committed_metadata string?
    """,
    response="""
        throttle_time_ms int32     3+
        topics []
          name string              0-9
          topic_id uuid            10+
          partitions []
            partition_index int32
            error_code int16
    """,
)

OFFSET_FETCH = api(
    9,
    "OffsetFetch",
    versions=(0, 10),
    flexible=6,
    request="""
        group_id string            0-7
        topics []?                 0-7
          name string
          partition_indexes []int32
        groups []                  8+
          group_id string
          member_id string?        9+
          member_epoch int32       9+
          topics []?
            name string            8-9
            topic_id uuid          10+
            partition_indexes []int32
        require_stable bool        7+
    """,
    response="""
        throttle_time_ms int32           3+
        topics []                        0-7
          name string
          partitions []
            partition_index int32
            committed_offset int64
            committed_leader_epoch int32 5-7
            metadata string?
            error_code int16
        error_code int16                 2-7
        groups []                        8+
          group_id string
          topics []
            name string                  8-9
            topic_id uuid                10+
            partitions []
              partition_index int32
              committed_offset int64
              committed_leader_epoch int32
              metadata string?
              error_code int16
          error_code int16
    """,
)

FIND_COORDINATOR = api(
    10,
    "FindCoordinator",
    versions=(0, 6),
    flexible=3,
    request="""
        key string                 0-3
        key_type int8              1+
        coordinator_keys []string  4+
    """,
    response="""
        throttle_time_ms int32     1+
        error_code int16           0-3
        error_message string?      1-3
        node_id int32              0-3
        host string                0-3
        port int32                 0-3
        coordinators []            4+
          key string
          node_id int32
          host string
          port int32
          error_code int16
          error_message string?
    """,
)

JOIN_GROUP = api(
    11,
    "JoinGroup",
    versions=(0, 9),
    flexible=6,
    request="""
        group_id string
        session_timeout_ms int32
        rebalance_timeout_ms int32 1+
        member_id string
        group_instance_id string?  5+
        protocol_type string
        protocols []
          name string
          metadata bytes
        reason string?             8+
    """,
    response="""
        throttle_time_ms int32      2+
        error_code int16
        generation_id int32
        protocol_type string?       7+
        protocol_name string?
        leader string
        skip_assignment bool        9+
        member_id string
        members []
          member_id string
          group_instance_id string? 5+
          metadata bytes
    """,
)

HEARTBEAT = api(
    12,
    "Heartbeat",
    versions=(0, 4),
    flexible=4,
    request="""
        group_id string
        generation_id int32
        member_id string
        group_instance_id string?  3+
    """,
    response="""
        throttle_time_ms int32     1+
        error_code int16
    """,
)

LEAVE_GROUP = api(
    13,
    "LeaveGroup",
    versions=(0, 5),
    flexible=4,
    request="""
        group_id string
        member_id string           0-2
        members []                 3+
          member_id string
          group_instance_id string?
          reason string?           5+
    """,
    response="""
        throttle_time_ms int32     1+
        error_code int16
        members []                 3+
          member_id string
          group_instance_id string?
          error_code int16
    """,
)

SYNC_GROUP = api(
    14,
    "SyncGroup",
    versions=(0, 5),
    flexible=4,
    request="""
        group_id string
        generation_id int32
        member_id string
        group_instance_id string?  3+
        protocol_type string?      5+
        protocol_name string?      5+
        assignments []
          member_id string
          assignment bytes
    """,
    response="""
        throttle_time_ms int32     1+
        error_code int16
        protocol_type string?      5+
        protocol_name string?      5+
        assignment bytes
    """,
)

DESCRIBE_GROUPS = api(
    15,
    "DescribeGroups",
    versions=(0, 6),
    flexible=5,
    request="""
        groups []string
        include_authorized_operations bool 3+
    """,
    response="""
        throttle_time_ms int32        1+
        groups []
          error_code int16
          error_message string?       6+
          group_id string
          group_state string
          protocol_type string
          protocol_data string
          members []
            member_id string
            group_instance_id string? 4+
            client_id string
            client_host string
            member_metadata bytes
            member_assignment bytes
          authorized_operations int32 3+
    """,
)

LIST_GROUPS = api(
    16,
    "ListGroups",
    versions=(0, 5),
    flexible=3,
    request="""
        states_filter []string     4+
        types_filter []string      5+
    """,
    response="""
        throttle_time_ms int32     1+
        error_code int16
        groups []
          group_id string
          protocol_type string
          group_state string       4+
          group_type string        5+
    """,
)

DELETE_GROUPS = api(
    42,
    "DeleteGroups",
    versions=(0, 2),
    flexible=2,
    request="""
        groups_names []string
    """,
    response="""
        throttle_time_ms int32
        results []
          group_id string
          error_code int16
    """,
)

OFFSET_DELETE = api(
    47,
    "OffsetDelete",
    versions=(0, 0),
    flexible=None,
    request="""
        group_id string
        topics []
          name string
          partitions []
            partition_index int32
    """,
    response="""
        error_code int16
        throttle_time_ms int32
        topics []
          name string
          partitions []
            partition_index int32
            error_code int16
    """,
)

CONSUMER_GROUP_HEARTBEAT = api(
    68,
    "ConsumerGroupHeartbeat",
    versions=(0, 1),
    flexible=0,
    request="""
        group_id string
        member_id string
        member_epoch int32
        instance_id string?
        rack_id string?
        rebalance_timeout_ms int32
        subscribed_topic_names []string?
        subscribed_topic_regex string? 1+
        server_assignor string?
        topic_partitions []?
          topic_id uuid
          partitions []int32
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        member_id string?
        member_epoch int32
        heartbeat_interval_ms int32
        assignment {}?
          topic_partitions []
            topic_id uuid
            partitions []int32
    """,
)

CONSUMER_GROUP_DESCRIBE = api(
    69,
    "ConsumerGroupDescribe",
    versions=(0, 1),
    flexible=0,
    request="""
        group_ids []string
        include_authorized_operations bool
    """,
    response="""
        throttle_time_ms int32
        groups []
          error_code int16
          error_message string?
          group_id string
          group_state string
          group_epoch int32
          assignment_epoch int32
          assignor_name string
          members []
            member_id string
            instance_id string?
            rack_id string?
            member_epoch int32
            client_id string
            client_host string
            subscribed_topic_names []string
            subscribed_topic_regex string?
            assignment {}
              topic_partitions []
                topic_id uuid
                topic_name string
                partitions []int32
            target_assignment {}
              topic_partitions []
                topic_id uuid
                topic_name string
                partitions []int32
            member_type int8       1+
          authorized_operations int32
    """,
)

STREAMS_GROUP_HEARTBEAT = api(
    88,
    "StreamsGroupHeartbeat",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        member_id string
        member_epoch int32
        ...
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        ...
    """,
)

STREAMS_GROUP_DESCRIBE = api(
    89,
    "StreamsGroupDescribe",
    versions=(0, 0),
    flexible=0,
    request="""
        group_ids []string
        ...
    """,
    response="""
        throttle_time_ms int32
        ...
    """,
)
