"""What is offered where there are routes names no broker that is not renumbered, and no topic by a number."""

from __future__ import annotations

from collections.abc import Iterator

from l4proxy.plugins.kafka_proxy.routing import HIDDEN, OFFERED, ROUTED, STRAIGHT
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.names import newest_by_name
from l4proxy.protocols.kafka.schema import Field

BROKERS = {
    "node_id", "broker_id", "broker_ids", "leader_id", "leader", "controller_id", "replica_nodes", "isr_nodes", "isr",
    "offline_replicas", "preferred_read_replica", "replicas", "adding_replicas", "removing_replicas", "replica_id",
    "eligible_leader_replicas", "last_known_elr", "node_endpoints",
}  # fmt: skip
HANDLED = {
    "Metadata": {"node_id", "controller_id", "leader_id", "replica_nodes", "isr_nodes", "offline_replicas"},
    "FindCoordinator": {"node_id"},
    "DescribeCluster": {"broker_id", "controller_id"},
    "Produce": {"node_endpoints", "node_id", "leader_id"},
    "CreateTopics": {"broker_ids"},
    "CreatePartitions": {"broker_ids"},
}
OF_BROKERS_AMONG_THEMSELVES = {"replica_id"}


def named(fields: tuple[Field, ...], version: int) -> Iterator[str]:
    for field in fields:
        if field.exists(version):
            if field.type in ("int32", "struct"):
                yield field.name
            yield from named(field.fields, version)


def test_brokers_are_renumbered_wherever_they_are_named() -> None:
    for api in BY_NAME.values():
        if api.name in HIDDEN or not api.is_declared:
            continue
        first, last = OFFERED.get(api.name) or (api.first, newest_by_name(api))
        for version in range(first, last + 1):
            fields = (*api.request.fields, *api.response.fields)
            found = BROKERS & set(named(fields, version)) - OF_BROKERS_AMONG_THEMSELVES
            assert found <= HANDLED.get(api.name, set()), (api.name, version)


def test_every_api_is_one_of_the_three() -> None:
    assert not ROUTED & STRAIGHT
    assert set(BY_NAME) == ROUTED | STRAIGHT | HIDDEN
    assert set(OFFERED) <= ROUTED | STRAIGHT
