"""Share groups (KIP-932), with the state that their coordinators keep."""

from __future__ import annotations

from l4proxy.protocols.kafka.api import api

__all__ = [
    "ALTER_SHARE_GROUP_OFFSETS",
    "DELETE_SHARE_GROUP_OFFSETS",
    "DELETE_SHARE_GROUP_STATE",
    "DESCRIBE_SHARE_GROUP_OFFSETS",
    "INITIALIZE_SHARE_GROUP_STATE",
    "READ_SHARE_GROUP_STATE",
    "READ_SHARE_GROUP_STATE_SUMMARY",
    "SHARE_ACKNOWLEDGE",
    "SHARE_FETCH",
    "SHARE_GROUP_DESCRIBE",
    "SHARE_GROUP_HEARTBEAT",
    "WRITE_SHARE_GROUP_STATE",
]

SHARE_GROUP_HEARTBEAT = api(
    76,
    "ShareGroupHeartbeat",
    versions=(1, 1),
    flexible=0,
    request="""
        group_id string
        member_id string
        member_epoch int32
        rack_id string?
        subscribed_topic_names []string?
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

SHARE_GROUP_DESCRIBE = api(
    77,
    "ShareGroupDescribe",
    versions=(1, 1),
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
            rack_id string?
            member_epoch int32
            client_id string
            client_host string
            subscribed_topic_names []string
            assignment {}
              topic_partitions []
                topic_id uuid
                topic_name string
                partitions []int32
          authorized_operations int32
    """,
)

SHARE_FETCH = api(
    78,
    "ShareFetch",
    versions=(1, 1),
    flexible=0,
    request="""
        group_id string?
        member_id string?
        share_session_epoch int32
        max_wait_ms int32
        min_bytes int32
        max_bytes int32
        max_records int32             1+
        batch_size int32              1+
        topics []
          topic_id uuid
          partitions []
            partition_index int32
            acknowledgement_batches []
              first_offset int64
              last_offset int64
              acknowledge_types []int8
        forgotten_topics_data []
          topic_id uuid
          partitions []int32
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        acquisition_lock_timeout_ms int32 1+
        responses []
          topic_id uuid
          partitions []
            partition_index int32
            error_code int16
            error_message string?
            acknowledge_error_code int16
            acknowledge_error_message string?
            current_leader {}
              leader_id int32
              leader_epoch int32
            records records?
            acquired_records []
              first_offset int64
              last_offset int64
              delivery_count int16
        node_endpoints []
          node_id int32
          host string
          port int32
          rack string?
    """,
)

SHARE_ACKNOWLEDGE = api(
    79,
    "ShareAcknowledge",
    versions=(1, 1),
    flexible=0,
    request="""
        group_id string?
        member_id string?
        share_session_epoch int32
        topics []
          topic_id uuid
          partitions []
            partition_index int32
            acknowledgement_batches []
              first_offset int64
              last_offset int64
              acknowledge_types []int8
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        responses []
          topic_id uuid
          partitions []
            partition_index int32
            error_code int16
            error_message string?
            current_leader {}
              leader_id int32
              leader_epoch int32
        node_endpoints []
          node_id int32
          host string
          port int32
          rack string?
    """,
)

INITIALIZE_SHARE_GROUP_STATE = api(
    83,
    "InitializeShareGroupState",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        topics []
          topic_id uuid
          partitions []
            partition int32
            state_epoch int32
            start_offset int64
    """,
    response="""
        results []
          topic_id uuid
          partitions []
            partition int32
            error_code int16
            error_message string?
    """,
)

READ_SHARE_GROUP_STATE = api(
    84,
    "ReadShareGroupState",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        topics []
          topic_id uuid
          partitions []
            partition int32
            leader_epoch int32
    """,
    response="""
        results []
          topic_id uuid
          partitions []
            partition int32
            error_code int16
            error_message string?
            state_epoch int32
            start_offset int64
            state_batches []
              first_offset int64
              last_offset int64
              delivery_state int8
              delivery_count int16
    """,
)

WRITE_SHARE_GROUP_STATE = api(
    85,
    "WriteShareGroupState",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        topics []
          topic_id uuid
          partitions []
            partition int32
            state_epoch int32
            leader_epoch int32
            start_offset int64
            state_batches []
              first_offset int64
              last_offset int64
              delivery_state int8
              delivery_count int16
    """,
    response="""
        results []
          topic_id uuid
          partitions []
            partition int32
            error_code int16
            error_message string?
    """,
)

DELETE_SHARE_GROUP_STATE = api(
    86,
    "DeleteShareGroupState",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        topics []
          topic_id uuid
          partitions []
            partition int32
    """,
    response="""
        results []
          topic_id uuid
          partitions []
            partition int32
            error_code int16
            error_message string?
    """,
)

READ_SHARE_GROUP_STATE_SUMMARY = api(
    87,
    "ReadShareGroupStateSummary",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        topics []
          topic_id uuid
          partitions []
            partition int32
            leader_epoch int32
    """,
    response="""
        results []
          topic_id uuid
          partitions []
            partition int32
            error_code int16
            error_message string?
            state_epoch int32
            leader_epoch int32
            start_offset int64
    """,
)

DESCRIBE_SHARE_GROUP_OFFSETS = api(
    90,
    "DescribeShareGroupOffsets",
    versions=(0, 0),
    flexible=0,
    request="""
        groups []
          group_id string
          topics []?
            topic_name string
            partitions []int32
    """,
    response="""
        throttle_time_ms int32
        groups []
          group_id string
          topics []
            topic_name string
            topic_id uuid
            partitions []
              partition_index int32
              start_offset int64
              leader_epoch int32
              error_code int16
              error_message string?
          error_code int16
          error_message string?
    """,
)

ALTER_SHARE_GROUP_OFFSETS = api(
    91,
    "AlterShareGroupOffsets",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        topics []
          topic_name string
          partitions []
            partition_index int32
            start_offset int64
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        responses []
          topic_name string
          topic_id uuid
          partitions []
            partition_index int32
            error_code int16
            error_message string?
    """,
)

DELETE_SHARE_GROUP_OFFSETS = api(
    92,
    "DeleteShareGroupOffsets",
    versions=(0, 0),
    flexible=0,
    request="""
        group_id string
        topics []
          topic_name string
    """,
    response="""
        throttle_time_ms int32
        error_code int16
        error_message string?
        responses []
          topic_name string
          topic_id uuid
          error_code int16
          error_message string?
    """,
)
