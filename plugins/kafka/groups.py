"""Consumer groups as the traffic shows them: members, generations, rebalances, committed offsets and lag.

Three protocols have groups. In the classic one all members join anew for every generation (JoinGroup, SyncGroup); in
that of KIP-848, and in share groups (KIP-932), each hears of the group's epoch in the answers to its heartbeats. None
of them says why a rebalance began, so that is concluded from the first sign of it:

==================== ==================================================================================================
``member_joined``    a new member asked to join
``member_left``      a member said goodbye
``member_expired``   members were told of a rebalance that nobody on this side began: one was not heard of for too long
``member_rejoined``  a member asked to join anew, without being told to: topics or partitions have changed
``assignment``       the epoch grew, and there was no other sign
==================== ==================================================================================================

A rebalance is counted when the new generation is seen, and its duration when members have their assignment.
"""

from __future__ import annotations

from collections.abc import Iterator

from l4proxy.plugins.kafka.stats import GroupPartitionStats, GroupStats, LagStats
from l4proxy.plugins.kafka.topics import Partition
from l4proxy.stats import OTHER
from l4proxy.stats_registry import StatsRegistry

__all__ = ["Group", "GroupOffset", "Groups", "Member"]

MAX_GROUPS = 20_000
MAX_TRANSACTIONS = 10_000
"""Transactions with offsets in them that may be open."""
DEFAULT_SESSION_TIMEOUT = 45.0
"""Seconds (``session.timeout.ms``, ``group.consumer.session.timeout.ms``)."""
CALM = 1.0
"""Seconds that a sign of a rebalance stands, if heartbeats are answered as if there were none."""
REBALANCE_IN_PROGRESS = 27
GRACE = 5.0
"""Seconds that a member is kept longer than its coordinator would: what is seen here is not all that it sees."""


class Member:
    """One member. ``epoch`` is that of the new protocol, -1 in the classic one; ``is_heard``: it has spoken itself."""

    __slots__ = ("client_id", "epoch", "host", "is_heard", "seen", "timeout")

    def __init__(self, client_id: str, host: str, at: float) -> None:
        self.client_id = client_id
        self.host = host
        self.seen = at
        self.timeout = DEFAULT_SESSION_TIMEOUT
        self.epoch = -1
        self.is_heard = False


class GroupOffset:
    """What a group has committed of one partition."""

    __slots__ = ("_lag", "_stats", "committed", "partition", "seen")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.committed = -1
        self.seen = 0.0
        self._stats: GroupPartitionStats | None = None
        self._lag: LagStats | None = None

    @property
    def lag(self) -> int | None:
        """Records that are still to be read; None while the partition's end is not known."""
        end = self.partition.end
        return None if end < 0 or self.committed < 0 else max(end - self.committed, 0)

    def collect(self, group: str, registry: StatsRegistry) -> None:
        topic = self.partition.topic.label
        if self._stats is not None and self._stats.label_values[1] not in (topic, OTHER):
            self.discard(registry)  # the topic's name was not known before
        labels = {"group": group, "topic": topic, "partition": str(self.partition.index)}
        if self._stats is None:
            self._stats = registry.group(GroupPartitionStats, **labels)
        if OTHER in self._stats.label_values:
            return  # a gauge that several share says nothing
        self._stats.consumer_group_committed_offset = self.committed
        self._stats.seen_at = self.seen
        lag = self.lag
        if lag is not None:
            if self._lag is None:
                self._lag = registry.group(LagStats, **labels)
            self._lag.consumer_group_lag = lag

    def discard(self, registry: StatsRegistry) -> None:
        for stats in (self._stats, self._lag):
            if stats is not None:
                registry.discard(stats)
        self._stats = self._lag = None


class Group:
    """One group. ``generation`` is the classic protocol's, or the new one's epoch; -1 before it was seen."""

    __slots__ = ("_counted", "_registry", "_since", "generation", "label", "members", "name", "offsets", "reason",
                 "seen", "stats")  # fmt: skip

    def __init__(self, name: str, label: str, registry: StatsRegistry, at: float) -> None:
        self.name = name
        self.label = label
        self.members: dict[bytes, Member] = {}
        self.offsets: dict[Partition, GroupOffset] = {}
        self.generation = -1
        self.reason = ""
        """Why a rebalance goes on; empty when none does."""
        self.seen = at
        self.stats = registry.group(GroupStats, group=label)
        self._registry = registry
        self._since = 0.0
        self._counted = False

    # Rebalances

    def disturbed(self, reason: str, at: float) -> None:
        """A sign of a rebalance; the first one names the reason."""
        if not self.reason:
            self.reason = reason
            self._since = at
            self._counted = False

    def advanced(self, generation: int, at: float) -> bool:
        """A member has this generation now. Return whether it is news."""
        if generation <= self.generation:
            return False
        self.generation = generation
        self.disturbed("assignment", at)
        if not self._counted:
            self._counted = True
            self.stats.rebalances_total.add(self.reason)
        return True

    def settled(self, at: float) -> None:
        """Members have their assignments, or go on as before."""
        if self.reason:
            if self._counted:
                self.stats.rebalance_seconds.record(at - self._since)
            self.reason = ""

    def troubled(self, error: int, at: float) -> None:
        """A member was told this error. Who is told of a rebalance that nobody on this side began is not its cause."""
        if error == REBALANCE_IN_PROGRESS:
            self.disturbed("member_expired", at)

    def calm(self, at: float) -> None:
        """A member's heartbeat was answered: whatever began has not led to a rebalance."""
        if self.reason and not self._counted and at - self._since > CALM:
            self.reason = ""

    # Members

    def member(self, member_id: bytes, client_id: str, host: str, at: float) -> Member:
        """A member has spoken."""
        member = self.members.get(member_id)
        if member is None:
            member = self.members[member_id] = Member(client_id, host, at)
        member.is_heard = True
        member.seen = at
        self.seen = at
        return member

    def left(self, member_id: bytes, at: float) -> None:
        if self.members.pop(member_id, None) is not None and self.members:
            self.disturbed("member_left", at)

    def elected(self, members: set[bytes], at: float) -> None:
        """The leader of a classic generation was told who is in it. Nobody else is, whoever was before."""
        for gone in self.members.keys() - members:
            del self.members[gone]
        for member_id in members - self.members.keys():
            self.members[member_id] = Member("", "", at)

    def expire(self, at: float) -> None:
        """Forget members that were not heard of for as long as their coordinator would wait."""
        gone = [member_id for member_id, member in self.members.items() if at - member.seen > member.timeout + GRACE]
        for member_id in gone:
            del self.members[member_id]
        if gone and self.members:
            self.disturbed("member_expired", at)

    # Offsets

    def commit(self, partition: Partition, offset: int, at: float) -> None:
        found = self.offsets.get(partition)
        if found is None:
            found = self.offsets[partition] = GroupOffset(partition)
        found.committed = offset
        found.seen = at

    def drop(self, partitions: list[Partition]) -> None:
        for partition in partitions:
            offset = self.offsets.pop(partition, None)
            if offset is not None:
                offset.discard(self._registry)

    def collect(self, at: float) -> None:
        self.expire(at)
        # Whom others have named is left to the process that hears of it: of several, each counts its own.
        self.stats.consumer_group_members = sum(member.is_heard for member in self.members.values())
        self.stats.consumer_group_generation = max(self.generation, 0)
        for offset in self.offsets.values():
            offset.collect(self.label, self._registry)

    def discard(self) -> None:
        self.drop(list(self.offsets))
        self._registry.discard(self.stats)

    @property
    def lag(self) -> int:
        """Over all partitions whose end is known."""
        return sum(offset.lag or 0 for offset in self.offsets.values())


class Groups:
    """All groups that were seen, and the offsets that wait in open transactions."""

    def __init__(self, registry: StatsRegistry, prefix: str) -> None:
        registry.declare(LagStats)
        self._registry = registry
        self._prefix = prefix
        self._by_name: dict[bytes, Group] = {}
        self._pending: dict[bytes, list[tuple[bytes, Partition, int]]] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._by_name.values())

    def find(self, name: bytes, at: float) -> Group:
        group = self._by_name.get(name)
        if group is None:
            text = name.decode(errors="backslashreplace")
            if len(self._by_name) >= MAX_GROUPS:
                name, text = OTHER.encode(), OTHER
            group = self._by_name.setdefault(name, Group(text, self._prefix + text, self._registry, at))
        group.seen = at
        return group

    def known(self, name: bytes) -> Group | None:
        return self._by_name.get(name)

    def forget(self, name: bytes) -> None:
        group = self._by_name.pop(name, None)
        if group is not None:
            group.discard()

    def topic_gone(self, partitions: list[Partition]) -> None:
        for group in self:
            group.drop(partitions)

    # Offsets in transactions (KIP-98): they hold when the transaction is committed

    def pend(self, transactional_id: bytes, group: bytes, partition: Partition, offset: int) -> None:
        if transactional_id in self._pending or len(self._pending) < MAX_TRANSACTIONS:
            self._pending.setdefault(transactional_id, []).append((group, partition, offset))

    def ended(self, transactional_id: bytes, committed: bool, at: float) -> None:
        for name, partition, offset in self._pending.pop(transactional_id, ()):
            if committed:
                group = self.find(name, at)
                group.commit(partition, offset, at)
                group.stats.committed_offsets_total += 1

    def collect(self, at: float, forget_after: float) -> None:
        for name, group in list(self._by_name.items()):
            if not group.members and forget_after and at - group.seen > forget_after:
                self.forget(name)
            else:
                group.collect(at)
