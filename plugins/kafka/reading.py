"""What the observer reads of each API: no more than it has a use for.

Of responses that have no reading of their own, the error codes and the throttle time are read. Requests are read where
the response does not say what it is about.
"""

from __future__ import annotations

from l4proxy.protocols.kafka import lone
from l4proxy.protocols.kafka.apis import APIS, BY_NAME
from l4proxy.protocols.kafka.plan import Reading
from l4proxy.protocols.kafka.schema import Field
from l4proxy.protocols.kafka.walker import Walker

__all__ = ["READINGS", "error_selection"]

_REQUESTS = {
    "ApiVersions": "client_software_name client_software_version",
    "ConsumerGroupHeartbeat": "group_id member_id member_epoch",
    "DeleteGroups": "groups_names",
    "EndTxn": "transactional_id committed",
    "Heartbeat": "group_id member_id",
    "JoinGroup": "group_id member_id session_timeout_ms rebalance_timeout_ms",
    "LeaveGroup": "group_id member_id members(member_id)",
    "ListOffsets": "topics(name partitions(partition_index timestamp))",
    "OffsetCommit": "group_id topics(name topic_id partitions(partition_index committed_offset))",
    "OffsetDelete": "group_id",
    "OffsetFetch": "group_id",
    "Produce": lone.REQUEST,
    "SaslAuthenticate": "auth_bytes",
    "SaslHandshake": "mechanism",
    "ShareGroupHeartbeat": "group_id member_id member_epoch",
    "SyncGroup": "group_id generation_id member_id",
    "TxnOffsetCommit": "transactional_id group_id topics(name partitions(partition_index committed_offset))",
}
_PARTITIONS = "partitions(partition_index error_code)"
_HEARTBEAT = "throttle_time_ms error_code member_id member_epoch heartbeat_interval_ms"
_RESPONSES = {
    "ConsumerGroupHeartbeat": _HEARTBEAT,
    "CreateTopics": "throttle_time_ms topics(error_code name topic_id)",
    "DeleteGroups": "throttle_time_ms results(error_code group_id)",
    "DeleteTopics": "throttle_time_ms responses(error_code name topic_id)",
    "DescribeTopicPartitions": "throttle_time_ms topics(error_code name topic_id)",
    "EndTxn": "throttle_time_ms error_code",
    "Fetch": "throttle_time_ms error_code"
    " responses(topic topic_id partitions(partition_index error_code high_watermark records))",
    "Heartbeat": "throttle_time_ms error_code",
    "JoinGroup": "throttle_time_ms error_code generation_id leader member_id members(member_id)",
    "LeaveGroup": "throttle_time_ms error_code members(error_code)",
    "ListOffsets": "throttle_time_ms topics(name partitions(partition_index error_code offset))",
    "Metadata": "throttle_time_ms"
    " topics*(error_code name topic_id partitions(error_code partition_index leader_id leader_epoch))",
    "OffsetCommit": f"throttle_time_ms topics(name topic_id {_PARTITIONS})",
    "OffsetDelete": f"throttle_time_ms error_code topics(name {_PARTITIONS})",
    "OffsetFetch": "throttle_time_ms error_code"
    " topics(name partitions(partition_index error_code committed_offset))"
    " groups(error_code group_id topics(name topic_id partitions(partition_index error_code committed_offset)))",
    "Produce": lone.RESPONSE,
    "SaslAuthenticate": "error_code",
    "SaslHandshake": "error_code",
    "ShareFetch": "throttle_time_ms error_code"
    " responses(topic_id partitions(partition_index error_code acknowledge_error_code records))",
    "ShareGroupHeartbeat": _HEARTBEAT,
    "SyncGroup": "throttle_time_ms error_code",
    "TxnOffsetCommit": f"throttle_time_ms topics(name {_PARTITIONS})",
}


def error_selection(fields: tuple[Field, ...]) -> str:
    """The selection of every error code among these fields: ``error_code topics(partitions(error_code))``."""
    chosen = []
    for field in fields:
        if field.type == "struct":
            if inner := error_selection(field.fields):
                chosen.append(f"{field.name}({inner})")
        elif field.name.endswith("error_code"):
            chosen.append(field.name)
    return " ".join(chosen)


def _readings() -> dict[int, Reading]:
    found = {}
    for api in APIS.values():
        request, response = _REQUESTS.get(api.name), _RESPONSES.get(api.name)
        if response is None:
            has_throttle = any(field.name == "throttle_time_ms" for field in api.response.fields)
            response = f"{'throttle_time_ms ' * has_throttle}{error_selection(api.response.fields)}"
        found[api.key] = (
            Walker(api.request, request) if request else None,
            Walker(api.response, response) if response.strip() else None,
        )
    return found


READINGS = _readings()
assert all(name in BY_NAME for name in [*_REQUESTS, *_RESPONSES])
