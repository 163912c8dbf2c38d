"""What the single APIs say, for those that say something: records, offsets, groups, topics, who a client is.

Each function gets the conversation, the call, and what the walkers have read, in the order of `reading`. Requests are
looked at when their response has come, where that says whether they succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from l4proxy.plugins.kafka.group_calls import (
    heartbeat_answered,
    join_answered,
    join_called,
    leave_answered,
    new_heartbeat_answered,
    sync_answered,
)
from l4proxy.plugins.kafka.topics import Partition
from l4proxy.protocols.kafka.batches import Summary

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.conversation import KafkaConversation, ObservedCall

__all__ = ["ANSWERS", "CALLS", "ELEMENTS", "OnAnswer", "OnCall", "records_in"]

Read = tuple[Any, ...]
OnCall = Callable[["KafkaConversation", "ObservedCall", Read], None]
OnAnswer = Callable[["KafkaConversation", "ObservedCall", Read], None]

LATEST = -1
"""The timestamp that asks ListOffsets for the end of a partition."""


def any_answer(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    """A response of which nothing is read but error codes."""
    for code in error_codes(response[1:] if call.plan.has_throttle else response):
        heard.failed(call, code)


def error_codes(values: Any) -> Iterator[int]:
    """Every number that is not 0."""
    if isinstance(values, int):
        if values:
            yield values
    elif values is not None:
        for value in values:
            yield from error_codes(value)


# Records


def produce_unacknowledged(heard: KafkaConversation, call: ObservedCall, request: Read) -> None:
    """A Produce request with ``acks=0``: whatever becomes of it, nobody will hear."""
    heard.view.stats.requests_without_acks_total += 1
    for name, topic_id, partitions in request[1] or ():
        topic = heard.view.topics.find(name, topic_id)
        for index, summary in partitions or ():
            if summary is not None:
                _produced(heard, topic.partition(index), summary, -1)


def produce_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    asked, answer = call.request, response[1]
    if asked is not None and _are_single(asked[1], answer):
        ((name, topic_id, ((index, summary),)),) = asked[1]
        _acknowledged(heard, name, topic_id, index, summary, answer[0][2][0][2])
        return
    sent = _sent(call)
    for name, topic_id, partitions in answer or ():
        for index, error, base_offset in partitions or ():
            if error:
                heard.failed(call, error)
            else:
                _acknowledged(heard, name, topic_id, index, sent.get((name or topic_id, index)), base_offset)


def _are_single(asked: Any, answered: Any) -> bool:
    """Whether one partition was written to, and well: the most frequent case of all, which needs no looking up."""
    if not asked or not answered or len(asked) != 1 or len(answered) != 1:
        return False
    asked_name, asked_id, written = asked[0]
    name, topic_id, partitions = answered[0]
    if not written or not partitions or len(written) != 1 or len(partitions) != 1:
        return False
    index, error, _ = partitions[0]
    return not error and index == written[0][0] and name == asked_name and topic_id == asked_id


def _acknowledged(
    heard: KafkaConversation, name: bytes | None, topic_id: bytes | None, index: int, summary: Any, base_offset: int
) -> None:
    if summary is not None:
        topic = heard.view.topics.find(name, topic_id)
        _produced(heard, topic.partitions.get(index) or topic.partition(index), summary, base_offset)


def _sent(call: ObservedCall) -> dict[tuple[bytes, int], Summary | None]:
    """What a Produce request holds, by topic and partition."""
    if call.request is None:
        return {}
    return {
        (name or topic_id, index): summary
        for name, topic_id, partitions in call.request[1] or ()
        for index, summary in partitions or ()
    }


def records_in(call: ObservedCall) -> int:
    """The records in a request."""
    return sum(summary[0] for summary in _sent(call).values() if summary) if call.plan.name == "Produce" else 0


def _produced(heard: KafkaConversation, partition: Partition, summary: Summary, base_offset: int) -> None:
    records = partition.produced(summary, base_offset)
    heard.produced_records += records
    heard.client.stats.produced_records_total += records


def fetch_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    if heard.is_follower:
        heard.view.stats.follower_fetches_total += 1
        return
    _, error, topics = response
    if error:
        heard.failed(call, error)
    records = size = 0
    find = heard.view.topics.find
    for name, topic_id, partitions in topics or ():
        topic = None
        for index, code, end, summary in partitions or ():
            if code:
                heard.failed(call, code)
                continue
            if topic is None:
                topic = find(name, topic_id)
            partition = topic.partitions.get(index) or topic.partition(index)
            if end > partition.end:
                partition.end = end
            if summary is not None and summary[5]:
                records += partition.fetched(summary)
                size += summary[5]
    if not size and not error:
        heard.view.stats.idle_fetches_total += 1
    heard.fetched_records += records
    heard.client.stats.fetched_records_total += records


def share_fetch_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    _, error, topics = response
    if error:
        heard.failed(call, error)
    records = size = 0
    for topic_id, partitions in topics or ():
        for index, code, acknowledged, summary in partitions or ():
            for failure in (code, acknowledged):
                if failure:
                    heard.failed(call, failure)
            if not code and summary is not None and summary[5]:
                records += heard.view.topics.find(None, topic_id).partition(index).fetched(summary)
                size += summary[5]
    if not size and not error:
        heard.view.stats.idle_fetches_total += 1
    heard.fetched_records += records
    heard.client.stats.fetched_records_total += records


def list_offsets_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    asked = {
        (name, index)
        for name, partitions in (call.request or ((),))[0] or ()
        for index, timestamp in partitions or ()
        if timestamp == LATEST
    }
    for name, partitions in response[1] or ():
        for index, error, offset in partitions or ():
            if error:
                heard.failed(call, error)
            elif offset is not None and offset >= 0 and (name, index) in asked:
                partition = heard.view.topics.find(name).partition(index)
                partition.end = max(partition.end, offset)


# Offsets of groups


def offset_commit_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    if call.request is None:
        return
    group_name, topics = call.request
    offsets = _offsets(topics)
    group = heard.view.groups.find(group_name or b"", heard.now)
    for name, topic_id, partitions in response[1] or ():
        for index, error in partitions or ():
            if error:
                heard.failed(call, error)
                group.troubled(error, heard.now)
            elif (name or topic_id, index) in offsets:
                partition = heard.view.topics.find(name, topic_id).partition(index)
                group.commit(partition, offsets[name or topic_id, index], heard.now)
                group.stats.committed_offsets_total += 1


def txn_offset_commit_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    if call.request is None:
        return
    transactional_id, group, topics = call.request
    offsets = _offsets((name, None, partitions) for name, partitions in topics or ())
    for name, partitions in response[1] or ():
        for index, error in partitions or ():
            if error:
                heard.failed(call, error)
            elif (name, index) in offsets:
                partition = heard.view.topics.find(name).partition(index)
                heard.view.groups.pend(transactional_id, group, partition, offsets[name, index])


def _offsets(topics: Any) -> dict[tuple[bytes, int], int]:
    return {
        (name or topic_id, index): offset
        for name, topic_id, partitions in topics or ()
        for index, offset in partitions or ()
    }


def end_txn_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    error = response[1]
    if error:
        heard.failed(call, error)
    elif call.request is not None:
        transactional_id, committed = call.request
        heard.view.groups.ended(transactional_id, committed, heard.now)


def offset_fetch_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    _, error, topics, groups = response
    if error:
        heard.failed(call, error)
    if groups is None and call.request is not None:
        groups = [(0, call.request[0], [(name, None, partitions) for name, partitions in topics or ()])]
    for code, group_name, group_topics in groups or ():
        if code:
            heard.failed(call, code)
        for name, topic_id, partitions in group_topics or ():
            for index, failure, offset in partitions or ():
                if failure:
                    heard.failed(call, failure)
                elif offset >= 0 and group_name:
                    partition = heard.view.topics.find(name, topic_id).partition(index)
                    heard.view.groups.find(group_name, heard.now).commit(partition, offset, heard.now)


def delete_groups_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    for error, name in response[1] or ():
        if error:
            heard.failed(call, error)
        else:
            heard.view.groups.forget(name)


def offset_delete_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    _, error, topics = response
    if error:
        heard.failed(call, error)
    group = heard.view.groups.known(call.request[0]) if call.request else None
    for name, partitions in topics or ():
        for index, code in partitions or ():
            if code:
                heard.failed(call, code)
            elif group is not None and (topic := heard.view.topics.known(name, None)) is not None:
                group.drop([topic.partition(index)])


# Topics, and who leads their partitions


def metadata_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    for topic in response[1] or ():
        metadata_topic(heard, call, topic)


def metadata_topic(heard: KafkaConversation, call: ObservedCall, element: Read) -> None:
    error, name, topic_id, layout = element
    if error:
        heard.failed(call, error)
    if name is None or error:
        return
    topic = heard.view.topics.learn(name, topic_id)
    if layout == topic.layout and not topic.has_errors:
        return
    for index, before, now in topic.lead(layout):
        heard.notice("leader_changed", f"{topic.name}/{index} is led by broker {now}, not by {before} any more")
    for code, _, _, _ in layout:
        if code:
            heard.failed(call, code)


def named_topics_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    """CreateTopics, DescribeTopicPartitions: topics with their names and ids."""
    for error, name, topic_id in response[1] or ():
        if error:
            heard.failed(call, error)
        elif name is not None:
            heard.view.topics.learn(name, topic_id)


def delete_topics_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    for error, name, topic_id in response[1] or ():
        if error:
            heard.failed(call, error)
        else:
            topic = heard.view.topics.forget(name, topic_id)
            if topic is not None:
                heard.view.groups.topic_gone(list(topic.partitions.values()))


# Who a client is


def api_versions_called(heard: KafkaConversation, call: ObservedCall, request: Read) -> None:
    name, version = request
    if name:
        heard.introduced(name, version or b"")


def sasl_handshake_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    (error,) = response
    if error:
        heard.failed(call, error)
        heard.refused((call.request or (b"",))[0] or b"")


def sasl_authenticate_called(heard: KafkaConversation, call: ObservedCall, request: Read) -> None:
    heard.authenticating(request[0] or b"")
    call.request = None  # nobody else needs to see what is in it


def sasl_authenticate_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    (error,) = response
    if error:
        heard.failed(call, error)
    heard.authenticated(error)


CALLS: dict[str, OnCall] = {
    "ApiVersions": api_versions_called,
    "JoinGroup": join_called,
    "SaslAuthenticate": sasl_authenticate_called,
}
ANSWERS: dict[str, OnAnswer] = {
    "ConsumerGroupHeartbeat": new_heartbeat_answered,
    "CreateTopics": named_topics_answered,
    "DeleteGroups": delete_groups_answered,
    "DeleteTopics": delete_topics_answered,
    "DescribeTopicPartitions": named_topics_answered,
    "EndTxn": end_txn_answered,
    "Fetch": fetch_answered,
    "Heartbeat": heartbeat_answered,
    "JoinGroup": join_answered,
    "LeaveGroup": leave_answered,
    "ListOffsets": list_offsets_answered,
    "Metadata": metadata_answered,
    "OffsetCommit": offset_commit_answered,
    "OffsetDelete": offset_delete_answered,
    "OffsetFetch": offset_fetch_answered,
    "Produce": produce_answered,
    "SaslAuthenticate": sasl_authenticate_answered,
    "SaslHandshake": sasl_handshake_answered,
    "ShareFetch": share_fetch_answered,
    "ShareGroupHeartbeat": new_heartbeat_answered,
    "SyncGroup": sync_answered,
    "TxnOffsetCommit": txn_offset_commit_answered,
}
ELEMENTS: dict[str, OnAnswer] = {"Metadata": metadata_topic}
