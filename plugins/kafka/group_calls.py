"""What the APIs of consumer groups say about members and rebalances (`groups` draws the conclusions)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.plugins.kafka.groups import Group, Member

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.conversation import KafkaConversation, ObservedCall

__all__ = ["heartbeat_answered", "join_answered", "join_called", "leave_answered", "new_heartbeat_answered",
           "sync_answered"]  # fmt: skip

Read = tuple[Any, ...]

JOINS = 0
"""The epoch of a member that joins, in the new protocol; a negative one is a goodbye."""


def _member(heard: KafkaConversation, group: Group, member_id: bytes) -> Member:
    member = group.member(member_id, heard.client.name, heard.link.client.host, heard.now)
    if not member.client_id:
        member.client_id, member.host = heard.client.name, heard.link.client.host
    return member


# The classic protocol


def join_called(heard: KafkaConversation, call: ObservedCall, request: Read) -> None:
    name, member_id, _, _ = request
    group = heard.view.groups.find(name or b"", heard.now)
    if member_id in group.members:
        group.members[member_id].seen = heard.now
        group.disturbed("member_rejoined", heard.now)
    else:
        group.disturbed("member_joined", heard.now)


def join_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    _, error, generation, leader, member_id, members = response
    if error:
        heard.failed(call, error)
        return
    if call.request is None:
        return
    name, _, session_timeout, rebalance_timeout = call.request
    group = heard.view.groups.find(name or b"", heard.now)
    if leader == member_id:
        group.elected({member for (member,) in members or ()}, heard.now)
    member = _member(heard, group, member_id)
    member.timeout = max(session_timeout, rebalance_timeout or 0) / 1000
    if group.advanced(generation, heard.now):
        heard.rebalanced(group)


def sync_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    error = response[1]
    if error:
        heard.failed(call, error)
    if call.request is not None:
        name, generation, member_id = call.request
        group = heard.view.groups.find(name or b"", heard.now)
        if error:
            group.troubled(error, heard.now)
        elif generation == group.generation:
            _member(heard, group, member_id)
            group.settled(heard.now)


def heartbeat_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    error = response[1]
    if error:
        heard.failed(call, error)
    if call.request is not None:
        name, member_id = call.request
        group = heard.view.groups.find(name or b"", heard.now)
        if error:
            group.troubled(error, heard.now)
            if member_id in group.members:
                group.members[member_id].seen = heard.now
        else:
            _member(heard, group, member_id)
            group.calm(heard.now)


def leave_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    _, error, results = response
    if error:
        heard.failed(call, error)
    if call.request is None:
        return
    name, member_id, members = call.request
    group = heard.view.groups.find(name or b"", heard.now)
    leaving = [member_id] if members is None else [member for (member,) in members]
    codes = [error] * len(leaving) if results is None else [code for (code,) in results]
    for member, code in zip(leaving, codes, strict=False):
        if code:
            heard.failed(call, code)
        elif not error:
            group.left(member, heard.now)


# The new protocol (KIP-848), and that of share groups


def new_heartbeat_answered(heard: KafkaConversation, call: ObservedCall, response: Read) -> None:
    _, error, member_id, epoch, interval = response
    if error:
        heard.failed(call, error)
        return
    if call.request is None:
        return
    name, asked_id, asked_epoch = call.request
    group = heard.view.groups.find(name or b"", heard.now)
    member_id = member_id or asked_id
    if asked_epoch < JOINS:
        group.left(member_id, heard.now)
        return
    if member_id not in group.members and asked_epoch == JOINS:
        group.disturbed("member_joined", heard.now)
    member = _member(heard, group, member_id)
    member.epoch = epoch
    member.timeout = max(member.timeout, 3 * interval / 1000)
    if group.advanced(epoch, heard.now):
        heard.rebalanced(group)
    if all(other.epoch in (-1, group.generation) for other in group.members.values()):
        group.settled(heard.now)
